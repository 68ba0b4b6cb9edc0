//! A Unix socket that is there with its mode or not at all.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use super::listen::AdminError;

/// A bound socket. Dropping it removes the file, if it is still this one.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    place: Place,
}

/// The socket's file, removed on drop.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for Place {
    fn drop(&mut self) {
        let same = |m: std::fs::Metadata| (m.dev(), m.ino()) == self.inode;
        if std::fs::symlink_metadata(&self.path).is_ok_and(same) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Socket {
    /// Binds in a fresh 0700 directory beside `path`, sets the mode, and renames into place: nobody else can connect in
    /// between. A socket that is there already is replaced only if nobody answers on it.
    pub(crate) fn bind(path: &Path, mode: u32) -> Result<Self, AdminError> {
        let io = |source| AdminError::Socket { path: path.to_owned(), source };
        // The name it is bound by is shorter than the one that clients will use: both must fit into a sockaddr.
        std::os::unix::net::SocketAddr::from_pathname(path).map_err(io)?;
        refuse_if_alive(path)?;
        let parent = path.parent().unwrap_or(Path::new("."));
        let nursery = tempfile::Builder::new()
            .prefix(".s")
            .rand_bytes(4)
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(parent)
            .map_err(io)?;
        let newborn = nursery.path().join("s");
        let listener = UnixListener::bind(&newborn).map_err(io)?;
        std::fs::set_permissions(&newborn, std::fs::Permissions::from_mode(mode)).map_err(io)?;
        let metadata = std::fs::symlink_metadata(&newborn).map_err(io)?;
        std::fs::rename(&newborn, path).map_err(io)?;
        let place = Place { path: path.to_owned(), inode: (metadata.dev(), metadata.ino()) };
        Ok(Self { listener, place })
    }

    pub(crate) fn into_parts(self) -> (UnixListener, Place) {
        (self.listener, self.place)
    }
}

fn refuse_if_alive(path: &Path) -> Result<(), AdminError> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            let source = std::io::Error::other("there is a file of that name that is not a socket");
            Err(AdminError::Socket { path: path.to_owned(), source })
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            Err(AdminError::AlreadyRunning { path: path.to_owned() })
        }
        _ => Ok(()),
    }
}
