//! The server under load: a child process, and what the system says of it.

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use countersign::admin::api::{RotateReport, RotateRequest, ServerStatus};
use countersign::cli::{Client, Server};

/// Where the server's log is in the run's directory.
pub const LOG: &str = "log/server.log";

/// How long it may take to start, with all policy read.
const START: Duration = Duration::from_secs(60);

/// A running server. It ends when this is dropped.
pub struct Process {
    child: Child,
    socket: PathBuf,
    /// Where xDS is.
    pub xds: std::net::SocketAddr,
}

impl Process {
    /// Starts `binary` on policy in `directory`/policy; its log goes to `directory`/log/server.log: not beside the policy, whose
    /// surroundings the server watches.
    pub async fn start(binary: &Path, directory: &Path, plaintext: bool) -> Result<Self, Box<dyn Error>> {
        fs::create_dir_all(directory.join("log"))?;
        let log = File::create(directory.join(LOG))?;
        let data = directory.join("data");
        // A few connections with thousands of streams each are a case of this program's own.
        fs::write(directory.join("countersign.yaml"), "xds:\n  limits:\n    streamsPerConnection: 65536\n")?;
        let mut command = Command::new(binary);
        command.args(["serve", "--config", "countersign.yaml"]).current_dir(directory);
        command.args(["--policy", "policy", "--data-dir", "data", "--xds", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        if plaintext {
            command.arg("--insecure-plaintext");
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        let mut process = Self { child, socket: data.join("admin.sock"), xds: ([127, 0, 0, 1], 0).into() };
        let started = Instant::now();
        loop {
            if let Ok(status) = process.status().await
                && status.ready
            {
                process.xds = status.xds_address.parse()?;
                return Ok(process);
            }
            if let Some(status) = process.child.try_wait()? {
                return Err(format!("the server ended ({status}); see {}", directory.join(LOG).display()).into());
            }
            if started.elapsed() > START {
                return Err("the server was not ready within a minute".into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A client of its admin API.
    pub fn admin(&self) -> Client {
        Client::new(Server::Unix(self.socket.clone()), None)
    }

    /// `GET /v1/status`.
    pub async fn status(&self) -> Result<ServerStatus, Box<dyn Error>> {
        Ok(self.admin().get("/v1/status").await?)
    }

    /// Gives one workload a new certificate.
    pub async fn rotate(&self, workload: String) -> Result<RotateReport, Box<dyn Error>> {
        let request = RotateRequest { workloads: vec![workload], ..Default::default() };
        Ok(self.admin().post("/v1/rotate/workload", &request, Duration::ZERO).await?)
    }

    /// Resident memory in KB.
    pub fn resident(&self) -> Result<u64, Box<dyn Error>> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).ok_or("smaps_rollup has no Rss")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Processor time used so far, in user and kernel mode.
    pub fn cpu(&self) -> Result<Duration, Box<dyn Error>> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The second field is the name in parentheses, which may hold anything; user and system time are 14 and 15.
        let (_, fields) = text.rsplit_once(')').ok_or("stat has no name")?;
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        // A tick is 10 ms for user space on every Linux.
        Ok(Duration::from_millis(ticks * 10))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
