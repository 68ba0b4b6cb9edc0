//! Why the server cannot start.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{LockError, ModeFileError, UnixSocketError};
use crate::admin::{AdminError, DataDirError};
use crate::policy::Origin;
use crate::trust::{SealError, TrustError};

/// Why the server cannot start. Each says what to do where that is not plain.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Another server has it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The certificate hierarchy.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The authority above ours.
    #[error("{at}: UpstreamAuthority \"disk\": {message}")]
    Upstream {
        /// Where it is written.
        at: Origin,
        /// What is wrong.
        message: String,
    },
    /// The authorities of nodes.
    #[error("{at}: NodeAttestor \"x509pop\": {message}")]
    Attestor {
        /// Where it is written.
        at: Origin,
        /// What is wrong.
        message: String,
    },
    /// The key-encryption key.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The admin API.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The policy directory cannot be watched.
    #[error("cannot read policy from {}: {source}", directory.display())]
    Policy {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The xDS port cannot be had.
    #[error("cannot listen on {address} for xDS: {source}; choose another with --xds")]
    Xds {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// What every port serves.
    #[error(transparent)]
    Modes(#[from] ModeFileError),
    /// The Unix socket for xDS.
    #[error(transparent)]
    UnixSocket(#[from] UnixSocketError),
    /// A file that was named cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// One of the server's tasks has ended, which none should.
    #[error(
        "a part of the server has failed, as the lines before this one say; it ends, so that it can be started anew"
    )]
    Task,
    /// Signals cannot be caught.
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
}
