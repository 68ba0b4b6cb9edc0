//! One Envoy process of the lab, from start to end. It never outlives its handle: dropping the handle kills it.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::LabError;
use super::envoy_admin::EnvoyAdmin;

/// How long Envoy may take to end after SIGTERM before it is killed.
const TERM_LIMIT: Duration = Duration::from_secs(5);
/// How much of the end of a log goes into an error.
const TAIL_BYTES: u64 = 8 << 10;
const TAIL_LINES: usize = 25;

/// What to start.
#[derive(Clone, Debug)]
pub struct EnvoyOptions {
    /// A name for messages, as in `production/client`.
    pub name: String,
    /// The program.
    pub binary: PathBuf,
    /// Its configuration file.
    pub config: PathBuf,
    /// Where the configuration puts the admin interface.
    pub admin: SocketAddr,
    /// Where its log goes; appended to.
    pub log: PathBuf,
}

/// A running Envoy. Killed on drop.
#[derive(Debug)]
pub struct EnvoyProcess {
    options: EnvoyOptions,
    child: Child,
    admin: EnvoyAdmin,
}

impl EnvoyProcess {
    /// Starts one and does not wait for it.
    pub fn start(options: EnvoyOptions) -> Result<Self, LabError> {
        let child = spawn(&options)?;
        let admin = EnvoyAdmin::new(options.name.clone(), options.admin);
        Ok(Self { options, child, admin })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Its admin interface.
    pub fn admin(&self) -> &EnvoyAdmin {
        &self.admin
    }

    /// Its process id; `None` after its end.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        &self.options.log
    }

    /// Waits until `/ready` answers LIVE: every cluster and listener that it was given is up, secrets included.
    pub async fn wait_ready(&mut self, limit: Duration) -> Result<Duration, LabError> {
        let started = Instant::now();
        let mut state = String::from("no answer yet");
        loop {
            if let Some(status) = self.ended()? {
                return Err(self.exited(status));
            }
            match self.admin.ready().await {
                Ok(None) => return Ok(started.elapsed()),
                Ok(Some(not_yet)) => state = not_yet,
                Err(_) => {}
            }
            if started.elapsed() >= limit {
                let EnvoyOptions { name, log, .. } = self.options.clone();
                return Err(LabError::NotReady { name, waited: limit, state, tail: self.log_tail(), log });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// An error if it is not running any more.
    pub fn check_running(&mut self) -> Result<(), LabError> {
        match self.ended()? {
            Some(status) => Err(self.exited(status)),
            None => Ok(()),
        }
    }

    /// Ends it with SIGTERM (with SIGKILL after five seconds) and starts it again from the same configuration.
    pub async fn restart(&mut self) -> Result<(), LabError> {
        self.terminate().await?;
        self.start_again()
    }

    /// Starts it after [`terminate`](Self::terminate) or [`kill`](Self::kill).
    pub fn start_again(&mut self) -> Result<(), LabError> {
        self.child = spawn(&self.options)?;
        Ok(())
    }

    /// Ends it with SIGTERM, with SIGKILL after five seconds. Fine if it has ended already.
    pub async fn terminate(&mut self) -> Result<(), LabError> {
        let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) else { return Ok(()) };
        // The child has not been waited for, so the id is still its own.
        let _ = kill_process(pid, Signal::TERM);
        match tokio::time::timeout(TERM_LIMIT, self.child.wait()).await {
            Ok(ended) => ended.map(drop).map_err(|source| self.spawn_error(source)),
            Err(_) => self.kill().await,
        }
    }

    /// Ends it with SIGKILL, as a crash would. Fine if it has ended already.
    pub async fn kill(&mut self) -> Result<(), LabError> {
        self.child.kill().await.or_else(|e| match e.kind() {
            std::io::ErrorKind::InvalidInput => Ok(()),
            _ => Err(self.spawn_error(e)),
        })
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let read = || -> std::io::Result<String> {
            let mut file = std::fs::File::open(&self.options.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        match read() {
            Ok(text) => {
                let lines = text.lines().collect::<Vec<_>>();
                lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
            }
            Err(e) => format!("(not readable: {e})"),
        }
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, LabError> {
        self.child.try_wait().map_err(|source| self.spawn_error(source))
    }

    fn exited(&self, status: ExitStatus) -> LabError {
        let EnvoyOptions { name, log, .. } = self.options.clone();
        LabError::Exited { name, status: status.to_string(), tail: self.log_tail(), log }
    }

    fn spawn_error(&self, source: std::io::Error) -> LabError {
        spawn_error(&self.options, source)
    }
}

fn spawn_error(options: &EnvoyOptions, source: std::io::Error) -> LabError {
    LabError::Spawn { name: options.name.clone(), binary: options.binary.clone(), source }
}

fn spawn(options: &EnvoyOptions) -> Result<Child, LabError> {
    let log = OpenOptions::new().create(true).append(true).open(&options.log);
    let log = log.map_err(LabError::file("write", &options.log))?;
    Command::new(&options.binary)
        .arg("-c")
        .arg(&options.config)
        // A second Envoy with the default base id dies at once.
        .args(["--use-dynamic-base-id", "--concurrency", "1", "-l", "info"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        // Ctrl-C in a terminal goes to the whole process group; the lab ends its Envoys itself, in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| spawn_error(options, source))
}
