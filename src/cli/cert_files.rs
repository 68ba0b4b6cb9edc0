//! A Certificate's files in a directory, all replaced at once as a kubelet does it: `tls.crt`, `tls.key` and `ca.crt` are links through
//! `..data`, which is a link to a private directory, and one rename moves that.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::admin::api::ExportedCertificate;

const DATA: &str = "..data";
const NEXT: &str = "..data_next";
const GENERATION: &str = "..generation-";
const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";
const AUTHORITY: &str = "ca.crt";

/// Why it could not be done, and where.
type Failed = (PathBuf, io::Error);

/// Writes the files, unless they are there. Whether it did. A key is readable by its owner only (0600), in a directory of the same kind.
pub(super) fn write(directory: &Path, exported: &ExportedCertificate) -> Result<bool, Failed> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| (path, error)
    };
    let ExportedCertificate { tls_crt, tls_key, ca_crt } = exported;
    let files = [(CHAIN, tls_crt), (KEY, tls_key), (AUTHORITY, ca_crt)];
    std::fs::create_dir_all(directory).map_err(at(directory))?;
    let link = directory.join(DATA);
    let is_there = |(name, content): &(&str, &String)| {
        std::fs::read(directory.join(name)).is_ok_and(|old| old == content.as_bytes())
    };
    if files.iter().all(is_there) {
        return Ok(false);
    }
    let old = generations(directory).map_err(at(directory))?;
    let name = format!("{GENERATION}{}", old.iter().max().map_or(1, |number| number + 1));
    let fresh = directory.join(&name);
    DirBuilder::new().mode(0o700).create(&fresh).map_err(at(&fresh))?;
    for (name, content) in files {
        let path = fresh.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let written = file.and_then(|mut file| file.write_all(content.as_bytes()).and_then(|()| file.sync_all()));
        written.map_err(at(&path))?;
    }
    sync(&fresh).map_err(at(&fresh))?;
    replace_link(Path::new(&name), &directory.join(NEXT), &link).map_err(at(&link))?;
    for (name, _) in files {
        let (path, target) = (directory.join(name), Path::new(DATA).join(name));
        if std::fs::read_link(&path).is_ok_and(|found| found == target) {
            continue;
        }
        if std::fs::symlink_metadata(&path).is_ok_and(|found| !found.is_symlink()) {
            let error = io::Error::new(
                io::ErrorKind::AlreadyExists,
                "it was not written here; remove it, or export into another directory",
            );
            return Err((path, error));
        }
        replace_link(&target, &directory.join(NEXT), &path).map_err(at(&path))?;
    }
    // Only when the new ones are sure to be there after a power cut may the old ones go.
    sync(directory).map_err(at(directory))?;
    for number in old {
        let path = directory.join(format!("{GENERATION}{number}"));
        std::fs::remove_dir_all(&path).map_err(at(&path))?;
    }
    Ok(true)
}

fn replace_link(target: &Path, next: &Path, link: &Path) -> io::Result<()> {
    match std::fs::remove_file(next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(target, next)?;
    std::fs::rename(next, link)
}

fn generations(directory: &Path) -> io::Result<Vec<u64>> {
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.strip_prefix(GENERATION)?.parse().ok();
    Ok(std::fs::read_dir(directory)?.filter_map(|entry| entry.ok().and_then(number)).collect())
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
