//! Why a command failed, in words that say what to do.

use std::io::ErrorKind;
use std::path::PathBuf;

use super::Server;
use super::bootstrap::BootstrapError;
use crate::enrollment::ClientError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Nobody listens there.
    #[error("no countersign server answers at {server}: {source}")]
    NoServer {
        /// Where it was looked for.
        server: Server,
        /// What the system said.
        source: std::io::Error,
    },
    /// It took the request and did not answer, or not in HTTP.
    #[error("the server at {server} gave no answer: {reason}")]
    NoAnswer {
        /// The server.
        server: Server,
        /// What happened instead.
        reason: String,
    },
    /// It answered that it could not, or would not.
    #[error("{error}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        error: String,
        /// What it advised; may be empty.
        help: String,
    },
    /// The token for http:// is not readable.
    #[error("cannot read the admin token {}: {source}", path.display())]
    Token {
        /// The token's file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that was named cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The command was done, and not everything came out as asked.
    #[error("{0}")]
    Incomplete(String),
    /// The policy directory cannot be read.
    #[error("cannot read the policy directory {}: {source}", directory.display())]
    Policy {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The policies in it would be refused.
    #[error("the policy set is refused: {0}")]
    BadPolicy(String),
    /// It is not in the policy set.
    #[error("{0}")]
    NoSuchThing(String),
    /// The bootstrap could not be written.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// A new certificate could not be had.
    #[error(transparent)]
    Enrollment(#[from] ClientError),
    /// The answer could not be printed.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

impl CliError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoServer { server: Server::Unix(_), source } if source.kind() == ErrorKind::PermissionDenied => Some(
                "the socket is for the server's own user: run this as that user, or use --server http://HOST:PORT with \
                 --token-file"
                    .into(),
            ),
            Self::NoServer { .. } => Some(
                "start one with `countersign serve`, or point elsewhere: --data-dir DIR for a server with another data \
                 directory, --server unix:PATH or http://HOST:PORT (or COUNTERSIGN_SERVER) for any other"
                    .into(),
            ),
            Self::Refused { help, .. } if !help.is_empty() => Some(help.clone()),
            Self::Refused { status: 401, .. } | Self::Token { .. } => {
                Some("name the file of that server's token with --token-file; the server writes it to DATA-DIR/admin.token".into())
            }
            Self::BadPolicy(_) => Some("countersign analyze DIR lists all that is wrong with it".into()),
            _ => None,
        }
    }

    /// 2 if the command was wrong, 1 if it could not be done.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused { status: 400 | 422, .. } => 2,
            _ => 1,
        }
    }
}
