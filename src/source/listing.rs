//! The policy files of a directory at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::policy::{MAX_FILE_BYTES, Origin, PolicyError};

/// How deeply sub-directories are followed; a tree of policies that is deeper is a mistake (or a mount loop).
const MAX_DEPTH: usize = 16;
/// How many files one source may have.
const MAX_FILES: usize = 20_000;

/// What stands in the directory, without its content.
#[derive(Default)]
pub(super) struct Listing {
    /// The files by their name relative to the root, so in the order in which they are read.
    files: BTreeMap<String, PathBuf>,
    /// Directories in which a change means a change of the set, symlinks resolved.
    pub(super) directories: BTreeSet<PathBuf>,
    /// What could not be listed.
    pub(super) errors: Vec<PolicyError>,
    /// Changes whenever a file is written, replaced, added or removed.
    pub(super) stamp: [u8; 32],
}

/// The files' content.
pub(super) struct Content {
    /// (name relative to the root, text). Wiped when dropped, since a Secret may be in it.
    pub(super) files: Vec<(String, Zeroizing<String>)>,
    /// By name: SHA-256 of the text.
    pub(super) hashes: BTreeMap<String, [u8; 32]>,
    /// What could not be read.
    pub(super) errors: Vec<PolicyError>,
    /// SHA-256 over names, hashes and errors.
    pub(super) hash: [u8; 32],
}

impl Content {
    /// Files that hold no document: no bytes, or blank lines and comments only.
    pub(super) fn empty_files(&self) -> BTreeSet<String> {
        self.files.iter().filter(|(_, text)| is_empty(text)).map(|(name, _)| name.clone()).collect()
    }
}

/// Whether there is nothing in a text but blank lines, comments and document markers (YAML 1.2 §9.1).
fn is_empty(text: &str) -> bool {
    let nothing = |line: &str| line.is_empty() || line.starts_with('#') || line == "---" || line == "...";
    text.trim_start_matches('\u{feff}').lines().all(|line| nothing(line.trim()))
}

/// Lists the `*.yaml`, `*.yml` and `*.json` files under `root`. Symlinks are followed. Names that begin with a dot are left
/// out: editors' temporary files, and the `..data` of a kubelet volume, whose files are reached by symlinks beside it.
///
/// # Errors
/// The root itself cannot be read. Anything below it that cannot is in [`Listing::errors`].
pub(super) fn list(root: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    let mut hash = Sha256::new();
    let real = fs::canonicalize(root)?;
    let entries = fs::read_dir(&real)?;
    listing.directories.insert(real.clone());
    listing.walk(entries, "", &mut vec![real], &mut hash);
    listing.stamp = hash.finalize().into();
    Ok(listing)
}

impl Listing {
    fn walk(&mut self, entries: fs::ReadDir, prefix: &str, way: &mut Vec<PathBuf>, hash: &mut Sha256) {
        // The order of a directory is not defined; the stamp must not depend on it.
        let mut sorted = BTreeMap::new();
        for entry in entries {
            match entry {
                Ok(entry) => drop(sorted.insert(entry.file_name(), entry.path())),
                Err(error) => self.fail(prefix, &format!("the directory cannot be read: {error}")),
            }
        }
        for (name, path) in sorted {
            let Some(name) = name.to_str() else {
                self.fail(&format!("{prefix}{}", name.to_string_lossy()), "the file's name is not UTF-8");
                continue;
            };
            if !name.starts_with('.') {
                self.entry(&path, name, format!("{prefix}{name}"), way, hash);
            }
        }
    }

    fn entry(&mut self, path: &Path, name: &str, full: String, way: &mut Vec<PathBuf>, hash: &mut Sha256) {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            // Removed since the directory was read; that is a change of its own, and comes next.
            Err(_) if fs::symlink_metadata(path).is_err() => return,
            Err(error) if is_policy(name) => return self.fail(&full, &format!("the file cannot be read: {error}")),
            Err(_) => return,
        };
        if metadata.is_dir() {
            self.directory(path, &full, way, hash);
        } else if is_policy(name) {
            self.file(path, full, &metadata, hash);
        }
    }

    fn directory(&mut self, path: &Path, full: &str, way: &mut Vec<PathBuf>, hash: &mut Sha256) {
        let opened = fs::canonicalize(path).and_then(|real| Ok((fs::read_dir(&real)?, real)));
        match opened {
            Ok((_, real)) if way.contains(&real) => self.fail(full, "a symlink leads back into its own directory"),
            Ok(_) if way.len() >= MAX_DEPTH => self.fail(full, &format!("more than {MAX_DEPTH} directories deep")),
            Ok((entries, real)) => {
                self.directories.insert(real.clone());
                way.push(real);
                self.walk(entries, &format!("{full}/"), way, hash);
                way.pop();
            }
            Err(error) => self.fail(full, &format!("the directory cannot be read: {error}")),
        }
    }

    fn file(&mut self, path: &Path, full: String, metadata: &Metadata, hash: &mut Sha256) {
        if !metadata.is_file() {
            return self.fail(&full, "not a regular file");
        }
        if self.files.len() >= MAX_FILES {
            if self.files.len() == MAX_FILES && self.errors.len() < MAX_FILES {
                self.fail(&full, &format!("more than {MAX_FILES} files"));
            }
            return;
        }
        hash.update(full.as_bytes());
        for number in [metadata.dev(), metadata.ino(), metadata.len()] {
            hash.update(number.to_le_bytes());
        }
        for number in [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()] {
            hash.update(number.to_le_bytes());
        }
        // A symlink's target lives elsewhere; writes to it are seen there.
        if let Ok(real) = fs::canonicalize(path)
            && let Some(parent) = real.parent()
        {
            self.directories.insert(parent.to_owned());
        }
        self.files.insert(full, path.to_owned());
    }

    fn fail(&mut self, name: &str, message: &str) {
        self.errors.push(io_error(name, message));
    }

    /// Whether there is nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.errors.is_empty()
    }

    /// Reads every file, 4 MiB at most each, checked before anything is read.
    pub(super) fn read(&self) -> Content {
        let mut content =
            Content { files: Vec::new(), hashes: BTreeMap::new(), errors: self.errors.clone(), hash: [0; 32] };
        let mut hash = Sha256::new();
        for (name, path) in &self.files {
            match read_file(path) {
                Ok(text) => {
                    hash.update((name.len() as u64).to_le_bytes());
                    hash.update(name.as_bytes());
                    let of_text: [u8; 32] = Sha256::digest(text.as_bytes()).into();
                    hash.update(of_text);
                    content.hashes.insert(name.clone(), of_text);
                    content.files.push((name.clone(), text));
                }
                Err(message) => content.errors.push(io_error(name, &message)),
            }
        }
        for error in &content.errors {
            hash.update(b"error");
            hash.update(error.to_string().as_bytes());
        }
        content.hash = hash.finalize().into();
        content
    }
}

fn is_policy(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| matches!(extension.to_str(), Some("yaml" | "yml" | "json")))
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, String> {
    let unreadable = |error: io::Error| format!("the file cannot be read: {error}");
    let file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let too_large = |length: u64| format!("the file has {length} bytes, the limit is {MAX_FILE_BYTES}");
    if length > MAX_FILE_BYTES as u64 {
        return Err(too_large(length));
    }
    // Room for all of it at once: a growing buffer would leave copies of a Secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 1));
    file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(too_large(bytes.len() as u64));
    }
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            drop(Zeroizing::new(error.into_bytes()));
            Err(format!("the file is not UTF-8 text: a wrong byte at offset {good}"))
        }
    }
}

/// An error about a file as a whole.
pub(super) fn io_error(name: &str, message: &str) -> PolicyError {
    PolicyError::new(Origin::new(name, 1, 1), "", message)
}
