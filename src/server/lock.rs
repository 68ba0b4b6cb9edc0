//! One server to a data directory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The file that is locked, in the data directory.
const LOCK: &str = "countersign.lock";

/// The data directory is this process's as long as this lives. The kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct DataDirLock {
    _file: File,
}

/// Why the data directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another server has it.
    #[error(
        "another countersign already serves from {0}: two servers on one data directory would sign with one key and \
         disagree. Stop the other one, or give this one a --data-dir of its own"
    )]
    Taken(PathBuf),
    /// The lock file cannot be made.
    #[error("cannot lock {0}: {1}")]
    Io(PathBuf, io::Error),
}

impl DataDirLock {
    pub(super) fn take(data_dir: &Path) -> Result<Self, LockError> {
        let path = data_dir.join(LOCK);
        let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = opened.map_err(|error| LockError::Io(path.clone(), error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::Taken(data_dir.to_owned())),
            Err(error) => Err(LockError::Io(path, error.into())),
        }
    }
}
