//! Files that are there whole or not at all.

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
    file.persist(path).map_err(|e| BootstrapError::at(path)(e.error))?;
    Ok(true)
}
