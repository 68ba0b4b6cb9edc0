//! Why the lab could not go on. A check that fails is not an error: it is a result, see [`Progress`](super::Progress).

use std::path::PathBuf;
use std::time::Duration;

use super::envoy_binary::LocateError;
use super::http::HttpError;

/// Why the lab, or one of its parts, could not go on.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// There is no Envoy to run.
    #[error(transparent)]
    Envoy(#[from] LocateError),
    /// A file or folder of the lab.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried, as in `write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An address that the lab needs.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not enough free ports.
    #[error("no free port on 127.0.0.1 from {first} to {last}; choose another --port-base")]
    NoPort {
        /// Where the search began.
        first: u16,
        /// Where it ended.
        last: u16,
    },
    /// Not one free range of loopback addresses.
    #[error("every loopback range tried, from {first} on, already has a listener; is an earlier lab still running?")]
    NoNetwork {
        /// The first range that was tried.
        first: String,
    },
    /// The Envoy process could not be started.
    #[error("cannot start Envoy {name} ({}): {source}", binary.display())]
    Spawn {
        /// Which of the lab's Envoys.
        name: String,
        /// The program.
        binary: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The Envoy process ended when it should have been running.
    #[error("Envoy {name} ended with {status}; the end of its log ({}):\n{tail}", log.display())]
    Exited {
        /// Which of the lab's Envoys.
        name: String,
        /// Its exit status.
        status: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// The Envoy process did not become ready.
    #[error("Envoy {name} is not ready after {waited:?} ({state}); the end of its log ({}):\n{tail}", log.display())]
    NotReady {
        /// Which of the lab's Envoys.
        name: String,
        /// How long it was waited for.
        waited: Duration,
        /// What `/ready` said last.
        state: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// Envoy's admin interface answered something unusable.
    #[error("admin interface of Envoy {name}: {reason}")]
    Admin {
        /// Which of the lab's Envoys.
        name: String,
        /// What was wrong.
        reason: String,
    },
    /// A request that the lab depends on.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The control plane.
    #[error("control plane: {0}")]
    ControlPlane(String),
    /// A certificate for a test client could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(String),
    /// Ctrl-C or a signal came before the lab was done.
    #[error("interrupted")]
    Interrupted,
}

impl LabError {
    /// For `map_err` around the file system: `LabError::file("write", path)`.
    pub fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
