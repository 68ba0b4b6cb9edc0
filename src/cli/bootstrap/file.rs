//! Files that are there whole or not at all.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::BootstrapError;

/// Puts `content` at `path` by a rename, unless it is there already; says whether it did. These files hold no secret, and an
/// Envoy that runs as another user reads them: mode 0644.
pub(super) fn replace_if_changed(path: &Path, content: &str) -> Result<bool, BootstrapError> {
    if std::fs::read(path).is_ok_and(|old| old == content.as_bytes()) {
        return Ok(false);
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(std::fs::Permissions::from_mode(0o644))
        .tempfile_in(directory)
        .map_err(BootstrapError::at(path))?;
    file.write_all(content.as_bytes()).map_err(BootstrapError::at(path))?;
    // Without this the name may outlive a power cut, and the content not.
    file.as_file().sync_all().map_err(BootstrapError::at(path))?;
    file.persist(path).map_err(|e| BootstrapError::at(path)(e.error))?;
    sync(directory)?;
    Ok(true)
}

/// Makes the names in a directory durable.
pub(super) fn sync(directory: &Path) -> Result<(), BootstrapError> {
    File::open(directory).and_then(|it| it.sync_all()).map_err(BootstrapError::at(directory))
}
