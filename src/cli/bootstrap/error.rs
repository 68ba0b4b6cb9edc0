//! Why a bootstrap could not be written.

use std::path::{Path, PathBuf};

/// Why a bootstrap could not be written.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// A file or directory could not be read or written.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Envoy's configuration is UTF-8, the path is not.
    #[error("{} is not UTF-8, so it cannot be named in Envoy's configuration; choose another directory", path.display())]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// There is something at `DIR/credentials` that this command has not made.
    #[error("{} is there and is not a link; move it away or choose another --output", path.display())]
    Occupied {
        /// The path.
        path: PathBuf,
    },
    /// There are no credentials to renew.
    #[error("{} cannot be read ({source}): run `countersign bootstrap` into that directory first", path.display())]
    NotBootstrapped {
        /// What was looked for.
        path: PathBuf,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// Making or using the key failed.
    #[error("the cryptographic library could not {0}")]
    Key(&'static str),
    /// What the server sent would leave the Envoy without a connection, or with one to the wrong server.
    #[error("the server sent {0}; nothing was written")]
    Material(String),
    /// An xDS address that cannot be dialled.
    #[error("`{address}` is not an address to dial: {reason}; give one with --xds-address HOST:PORT")]
    Address {
        /// As given or sent.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl BootstrapError {
    /// Wraps an error of the system with the file it is about.
    pub(super) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
