//! `credentials`, a link to a private directory, swapped by one rename as a kubelet does: Envoy watches the directory above
//! and reads certificate and key of one generation, never of two.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::Path;

use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::file::sync;
use super::{BootstrapError, Key};

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

/// The credentials that are in place, all of one generation.
#[derive(Clone, PartialEq, Eq)]
pub struct Held {
    /// The certificate and its intermediates in PEM, leaf first.
    pub chain: String,
    /// The key in PEM.
    pub key: Zeroizing<String>,
    /// The roots in PEM.
    pub roots: String,
    /// The certificate's serial number.
    pub serial: String,
    /// Its first second.
    pub not_before: OffsetDateTime,
    /// Its last.
    pub not_after: OffsetDateTime,
    /// When it was written here, within its life. Its first second is earlier, by as much as the server allows for clocks that are late:
    /// half of a short life may be over by then.
    pub since: OffsetDateTime,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("serial", &self.serial).field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl Held {
    /// Reads the generation that the link in `directory` is on.
    pub fn read(directory: &Path) -> Result<Self, BootstrapError> {
        let link = directory.join(LINK);
        let missing = |source| BootstrapError::NotBootstrapped { path: link.clone(), source };
        // Whoever replaces a generation waits for this lock, and so does not remove the files that are about to be read.
        let _lock = lock(directory).map_err(|_| missing(std::io::ErrorKind::NotFound.into()))?;
        let read = |name: &str| std::fs::read_to_string(link.join(name)).map_err(missing);
        let (chain, key, roots) = (read("cert.pem")?, Zeroizing::new(read("key.pem")?), read("roots.pem")?);
        let written = std::fs::metadata(link.join("cert.pem")).and_then(|it| it.modified()).map_err(missing)?;
        Self::new(chain, key, roots, written.into())
    }

    /// Puts others in their place: all of it by one rename, or nothing if they do not fit together.
    pub fn replace(directory: &Path, chain: &str, roots: &str, key: &Key) -> Result<Self, BootstrapError> {
        key.check_chain(chain)?;
        super::key::check_roots(roots)?;
        let held = Self::new(chain.to_owned(), key.pem(), roots.to_owned(), OffsetDateTime::now_utc())?;
        let _lock = lock(directory)?;
        swap(directory, chain, roots, key)?;
        Ok(held)
    }

    fn new(
        chain: String,
        key: Zeroizing<String>,
        roots: String,
        written: OffsetDateTime,
    ) -> Result<Self, BootstrapError> {
        let (serial, not_before, not_after) = super::key::leaf(&chain)?;
        let since = written.min(not_after).max(not_before);
        Ok(Self { chain, key, roots, serial, not_before, not_after, since })
    }
}

/// Writes a new generation, puts the link on it, and removes the others: a key that nobody uses is better gone. What a killed
/// process left half written goes with them.
pub(super) fn swap(directory: &Path, chain: &str, roots: &str, key: &Key) -> Result<(), BootstrapError> {
    let link = directory.join(LINK);
    if std::fs::symlink_metadata(&link).is_ok_and(|found| !found.is_symlink()) {
        return Err(BootstrapError::Occupied { path: link });
    }
    let old = generations(directory)?;
    let name = format!("{GENERATION}{}", old.iter().max().map_or(1, |n| n + 1));
    let fresh = directory.join(&name);
    DirBuilder::new().mode(0o700).create(&fresh).map_err(BootstrapError::at(&fresh))?;
    private(&fresh.join("cert.pem"), chain.as_bytes())?;
    private(&fresh.join("key.pem"), key.pem().as_bytes())?;
    private(&fresh.join("roots.pem"), roots.as_bytes())?;

    sync(&fresh)?;

    let next = directory.join(NEXT);
    match std::fs::remove_file(&next) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(BootstrapError::at(&next)(e)),
        _ => {}
    }
    symlink(&name, &next).map_err(BootstrapError::at(&next))?;
    std::fs::rename(&next, &link).map_err(BootstrapError::at(&link))?;
    // Only when the new ones are sure to be there after a power cut may the old ones go.
    sync(directory)?;
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
