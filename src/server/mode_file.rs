//! The file in the data directory with what every port serves: there whole, or not at all.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::rollout::{BadModeRecord, ModeRecord, ModeRollout};

/// Its name.
const NAME: &str = "modes.json";

/// What the names of files begin with that are not whole yet. Those who write others here have names of their own.
const UNFINISHED: &str = ".new-modes-";

/// Where what every port serves is kept.
#[derive(Clone, Debug)]
pub(super) struct ModeFile(PathBuf);

/// Why the file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ModeFileError {
    /// The system said no.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It was changed, or written by a newer version.
    #[error(
        "{} cannot be read: {source}. It says which mTLS mode every port serves. Put it back as it was, or remove it: then the policy \
         is served in one step, and clients that are not told in time fail for a moment",
        path.display()
    )]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: BadModeRecord,
    },
}

impl ModeFile {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self(data_dir.join(NAME))
    }

    /// Removes what a server has left that was killed while it wrote. Nobody else writes now: the directory is this server's.
    pub(super) fn sweep(&self) -> Result<(), ModeFileError> {
        let directory = self.0.parent().unwrap_or(Path::new("."));
        let sweep = || -> std::io::Result<()> {
            for entry in std::fs::read_dir(directory)? {
                let entry = entry?;
                if entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
                    std::fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        };
        sweep().map_err(|source| ModeFileError::Io { path: self.0.clone(), source })
    }

    /// What was kept last; `None` before the first time.
    pub(super) fn read(&self) -> Result<Option<ModeRollout>, ModeFileError> {
        let text = match std::fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ModeFileError::Io { path: self.0.clone(), source }),
        };
        let rollout = ModeRecord::from_json(&text).and_then(ModeRollout::try_from);
        rollout.map(Some).map_err(|source| ModeFileError::Bad { path: self.0.clone(), source })
    }

    /// Keeps it. When this returns `Ok`, it survives a crash of the machine.
    pub(super) fn write(&self, rollout: &ModeRollout) -> Result<(), ModeFileError> {
        self.replace(&ModeRecord::from(rollout).to_json())
            .map_err(|source| ModeFileError::Io { path: self.0.clone(), source })
    }

    fn replace(&self, content: &[u8]) -> std::io::Result<()> {
        let directory = self.0.parent().unwrap_or(Path::new("."));
        let mode = std::fs::Permissions::from_mode(0o600);
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).permissions(mode).tempfile_in(directory)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(&self.0).map_err(|error| error.error)?;
        // The new name is in the directory, which is written for itself.
        File::open(directory)?.sync_all()
    }
}
