//! The file: made, opened, and refused where it is no good store.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use super::StoreError;
use super::migration::{FIRST, VERSION, migrate};

/// Says in the file's header that it is ours ("csgn"), so that no other program's database is taken for a damaged one of ours.
const APPLICATION_ID: i64 = 0x6373_676e;

/// Makes the file under another name and moves it into place when it is whole. A file under its right name is therefore either good or
/// damaged, and never one that somebody was about to make.
pub(super) fn create(path: &Path) -> Result<(), StoreError> {
    let new = path.with_extension("new");
    let failed = |error: std::io::Error| StoreError::failed("make", &new, error);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    // SQLite gives its side files the mode of the main file.
    OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new).map_err(failed)?;
    let made = Connection::open(&new).and_then(|mut connection| {
        connection.pragma_update(None, "synchronous", "FULL")?;
        let transaction = connection.transaction()?;
        transaction.execute_batch(FIRST)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", 1)?;
        transaction.commit()?;
        migrate(&mut connection, 1)?;
        connection.close().map_err(|(_, error)| error)
    });
    made.map_err(|error| explain("make", &new, error))?;
    fs::rename(&new, path).map_err(|error| StoreError::failed("make", path, error))?;
    sync_directory(path)
}

/// Makes a rename to `path` durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| StoreError::failed("make", path, error))
}

pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    if fs::metadata(path).map_err(|error| StoreError::failed("open", path, error))?.len() == 0 {
        return Err(StoreError::damaged(path, "it is empty"));
    }
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        // What is deleted or overwritten here is key material.
        connection.pragma_update(None, "secure_delete", "ON")?;
        Ok(connection)
    };
    open().map_err(|error| explain("open", path, error))
}

/// Refuses what is damaged, too new, or not ours. Returns the format.
pub(super) fn check(path: &Path, connection: &Connection) -> Result<i64, StoreError> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let read = || -> rusqlite::Result<(i64, i64, String)> {
        let sound = connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
        Ok((number("application_id")?, number("user_version")?, sound))
    };
    match read().map_err(|error| explain("read", path, error))? {
        (application, ..) if application != APPLICATION_ID => {
            Err(StoreError::damaged(path, "it is not a countersign store"))
        }
        (_, version, _) if version > VERSION => {
            Err(StoreError::TooNew { path: path.to_owned(), found: version, known: VERSION })
        }
        (_, version, _) if version < 1 => Err(StoreError::damaged(path, format!("it has format {version}"))),
        (.., sound) if sound != "ok" => Err(StoreError::damaged(path, sound)),
        (_, version, _) => Ok(version),
    }
}

pub(super) fn explain(action: &'static str, path: &Path, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::damaged(path, error),
        _ => StoreError::failed(action, path, error),
    }
}
