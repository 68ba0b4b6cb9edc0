//! The xDS Unix socket's file.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::admin::{AdminError, Place, Socket};

/// Why the socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum UnixSocketError {
    /// Somebody else could put a socket of his own in its place, and so be taken for the server.
    #[error(
        "the directory {} of xds.unix.path may be written by others (owner {owner}, mode {mode:04o}), who could put a \
         socket of their own there; use one that belongs to the server's user and is writable by nobody else",
        path.display()
    )]
    Exposed {
        /// The directory.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// There is no such directory, or it cannot be looked at.
    #[error("cannot use the directory {} of xds.unix.path: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It cannot be bound.
    #[error("xds.unix.path: {0}")]
    Bind(#[from] AdminError),
}

/// Binds the socket with this mode, in a directory that nobody else may write to.
pub(super) fn bind(path: &Path, mode: u32) -> Result<(UnixListener, Place), UnixSocketError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let at = |source| UnixSocketError::Directory { path: parent.to_owned(), source };
    let directory = std::fs::metadata(parent).map_err(at)?;
    let (owner, bits) = (directory.uid(), directory.mode() & 0o7777);
    let is_ours = owner == rustix::process::geteuid().as_raw() || owner == 0;
    // A sticky bit is no excuse: whoever may write there could be first after a restart.
    if !is_ours || bits & 0o022 != 0 {
        return Err(UnixSocketError::Exposed { path: parent.to_owned(), owner, mode: bits });
    }
    Ok(Socket::bind(path, mode)?.into_parts())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn threat_03_a_directory_that_others_may_write_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("xds.sock");
        for mode in [0o777, 0o1777, 0o770, 0o707] {
            std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let refused = bind(&path, 0o600).unwrap_err();
            assert!(refused.to_string().contains("may be written by others"), "{mode:o}: {refused}");
            assert!(!path.exists());
        }
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        for mode in [0o600, 0o660] {
            let (_listener, place) = bind(&path, mode).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, mode);
            drop(place);
            assert!(!path.exists());
        }
        assert!(matches!(bind(&path.join("x/y"), 0o600), Err(UnixSocketError::Directory { .. })));
    }
}
