//! `credentials`, a link to a private directory, swapped by one rename as a kubelet does: Envoy watches the directory above
//! and reads certificate and key of one generation, never of two.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::Path;

use super::{BootstrapError, Key};
use crate::admin::api::BootstrapMaterial;

/// The link's name.
pub(super) const LINK: &str = "credentials";
/// What the directories behind it are called, before a number.
const GENERATION: &str = ".credentials-";
/// The link on its way to its place.
const NEXT: &str = ".credentials.next";

/// Keeps other bootstraps out of `directory` while the answer lives.
pub(super) fn lock(directory: &Path) -> Result<File, BootstrapError> {
    let file = File::open(directory).map_err(BootstrapError::at(directory))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|e| BootstrapError::at(directory)(e.into()))?;
    Ok(file)
}

/// Writes a new generation, puts the link on it, and removes the others: a key that nobody uses is better gone. What a killed
/// process left half written goes with them.
pub(super) fn swap(directory: &Path, material: &BootstrapMaterial, key: &Key) -> Result<(), BootstrapError> {
    let link = directory.join(LINK);
    if std::fs::symlink_metadata(&link).is_ok_and(|found| !found.is_symlink()) {
        return Err(BootstrapError::Occupied { path: link });
    }
    let old = generations(directory)?;
    let name = format!("{GENERATION}{}", old.iter().max().map_or(1, |n| n + 1));
    let fresh = directory.join(&name);
    DirBuilder::new().mode(0o700).create(&fresh).map_err(BootstrapError::at(&fresh))?;
    private(&fresh.join("cert.pem"), material.certificate_chain.as_bytes())?;
    private(&fresh.join("key.pem"), key.pem().as_bytes())?;
    private(&fresh.join("roots.pem"), material.roots.as_bytes())?;

    let next = directory.join(NEXT);
    match std::fs::remove_file(&next) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(BootstrapError::at(&next)(e)),
        _ => {}
    }
    symlink(&name, &next).map_err(BootstrapError::at(&next))?;
    std::fs::rename(&next, &link).map_err(BootstrapError::at(&link))?;
    for number in old {
        let path = directory.join(format!("{GENERATION}{number}"));
        std::fs::remove_dir_all(&path).map_err(BootstrapError::at(&path))?;
    }
    Ok(())
}

fn private(path: &Path, content: &[u8]) -> Result<(), BootstrapError> {
    let at = || BootstrapError::at(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(at())?;
    file.write_all(content).map_err(at())?;
    file.sync_all().map_err(at())
}

fn generations(directory: &Path) -> Result<Vec<u64>, BootstrapError> {
    let entries = std::fs::read_dir(directory).map_err(BootstrapError::at(directory))?;
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.strip_prefix(GENERATION)?.parse().ok();
    Ok(entries.filter_map(|entry| entry.ok().and_then(number)).collect())
}
