//! Copies of the store: made while a server runs, and put back while none does.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::StoreError;
use super::sqlite::{check, explain, sync_directory};

/// The side files that belong to a database, and to no other that comes in its place.
const SIDE_FILES: [&str; 2] = ["-wal", "-shm"];

/// Copies the store at `path` to `copy`, which must not exist: one moment of it, checked, whole, and readable by its owner only. A
/// server that runs goes on. Keys that are encrypted stay encrypted.
pub fn backup(path: &Path, copy: &Path) -> Result<(), StoreError> {
    if copy.try_exists().map_err(|error| StoreError::failed("look for", copy, error))? {
        return Err(StoreError::failed("write", copy, "there is a file already, and backups are not overwritten"));
    }
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .map_err(|error| explain("open", path, error))?;
    check(path, &connection)?;
    let new = side_file(copy, ".new");
    let _ = fs::remove_file(&new);
    // SQLite fills an empty file, and so leaves its mode as it is.
    let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new);
    let file = file.map_err(|error| StoreError::failed("make", &new, error))?;
    let name = new.to_str().ok_or_else(|| StoreError::failed("write", &new, "its name is not UTF-8"))?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(|error| explain("copy", path, error))?;
    file.sync_all().map_err(|error| StoreError::failed("write", &new, error))?;
    fs::rename(&new, copy).map_err(|error| StoreError::failed("write", copy, error))?;
    sync_directory(copy)
}

/// Puts the backup `copy` at `path`. A store that is there is moved aside with `force`, and an error without. Returns where it was
/// moved to. The caller has made sure that no server runs.
pub fn restore(
    copy: &Path,
    path: &Path,
    force: bool,
    now: time::OffsetDateTime,
) -> Result<Option<PathBuf>, StoreError> {
    examine(copy).map_err(|error| match error {
        // Of a store that is in use the message says to restore a backup, and this would be the backup.
        StoreError::Damaged { path, reason } => StoreError::NoBackup { path, reason },
        error => error,
    })?;
    let there = path.try_exists().map_err(|error| StoreError::failed("look for", path, error))?;
    if there && !force {
        let reason = "there is a store already; --force moves it aside";
        return Err(StoreError::failed("write", path, reason));
    }
    let new = side_file(path, ".restored");
    let _ = fs::remove_file(&new);
    let failed = |error: std::io::Error| StoreError::failed("write", &new, error);
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new).map_err(failed)?;
    std::io::copy(&mut File::open(copy).map_err(failed)?, &mut file).map_err(failed)?;
    file.sync_all().map_err(failed)?;

    let aside = there.then(|| side_file(path, &format!(".before-restore-{}", now.unix_timestamp())));
    if let Some(aside) = &aside {
        // The write-ahead log goes with its database: beside another one it would spoil it.
        for side in ["", SIDE_FILES[0], SIDE_FILES[1]] {
            match fs::rename(side_file(path, side), side_file(aside, side)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::failed("move aside", path, error));
                }
                _ => {}
            }
        }
    }
    for side in SIDE_FILES {
        let _ = fs::remove_file(side_file(path, side));
    }
    fs::rename(&new, path).map_err(|error| StoreError::failed("write", path, error))?;
    sync_directory(path)?;
    Ok(aside)
}

/// Whether this is a whole store.
fn examine(copy: &Path) -> Result<(), StoreError> {
    if !copy.is_file() {
        let reason = if copy.exists() { "it is not a file" } else { "there is no such file" };
        return Err(StoreError::NoBackup { path: copy.to_owned(), reason: reason.to_owned() });
    }
    let store = Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .map_err(|error| explain("open", copy, error))?;
    check(copy, &store).map(drop)
}

fn side_file(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
