//! The directory that everything private of the server is in.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The name of the API's socket in the data directory.
pub const ADMIN_SOCKET: &str = "admin.sock";

/// The name of the API's token in the data directory.
pub const ADMIN_TOKEN: &str = "admin.token";

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The system said no.
    #[error("cannot use the data directory {}: {source}", path.display())]
    Io {
        /// The directory, or the file in it.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others could replace the socket and the keys in it.
    #[error(
        "the data directory {} may be written by others (mode {mode:03o}), who could replace the keys in it; \
         `chmod go-w {}` or choose another",
        path.display(),
        path.display()
    )]
    Exposed {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else owns it.
    #[error("the data directory {} belongs to user {owner}, not to the user of this process; choose another", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The owner's user id.
        owner: u32,
    },
}

/// Makes `path` (mode 0700) with the directories above it, or checks that an existing one is ours and that nobody else may
/// write to it.
pub fn prepare(path: &Path) -> Result<(), DataDirError> {
    let io = |source| DataDirError::Io { path: path.to_owned(), source };
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(io)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(io(e)),
        _ => {}
    }
    let metadata = std::fs::metadata(path).map_err(io)?;
    if !metadata.is_dir() {
        return Err(io(std::io::ErrorKind::NotADirectory.into()));
    }
    let owner = metadata.uid();
    if owner != rustix::process::geteuid().as_raw() {
        return Err(DataDirError::Foreign { path: path.to_owned(), owner });
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(DataDirError::Exposed { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Puts `content` at `path` in one step, readable by the owner only. The file is never there with a wider mode or half written.
pub(super) fn write_private(path: &Path, content: &[u8]) -> Result<(), DataDirError> {
    let io = |source| DataDirError::Io { path: path.to_owned(), source };
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(std::fs::Permissions::from_mode(0o600))
        .tempfile_in(directory)
        .map_err(io)?;
    file.write_all(content).and_then(|()| file.as_file().sync_all()).map_err(io)?;
    file.persist(path).map_err(|e| io(e.error))?;
    Ok(())
}
