//! The embedded store: one SQLite file, readable by its owner only.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, ErrorCode, Row, Transaction, params};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::migration::{FIRST, VERSION, migrate};
use super::{
    AuthorityKind, AuthorityRecord, AuthorityState, Change, Contents, RotationRecord, RotationStep, Standing, Store,
    StoreError, WorkloadRecord,
};
use crate::identity::TrustDomain;
use crate::trust::Serial;

/// Says in the file's header that it is ours ("csgn"), so that no other program's database is taken for a damaged one of ours.
const APPLICATION_ID: i64 = 0x6373_676e;
/// A store in one file (WAL, `synchronous=FULL`: what is committed survives a power cut). Times are nanoseconds since 1970 in UTC.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl SqliteStore {
    /// Opens the store, or makes one if there is no file. A file that is damaged, empty or not a store is an error.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.try_exists().map_err(|error| StoreError::failed("look for", path, error))? {
            create(path)?;
        }
        fs::set_permissions(path, Permissions::from_mode(0o600))
            .map_err(|error| StoreError::failed("take away others' access to", path, error))?;
        let mut connection = connect(path)?;
        let found = check(path, &connection)?;
        migrate(&mut connection, found).map_err(|error| explain("bring up to date", path, error))?;
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection) })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic within a transaction has rolled it back; the connection is as good as before.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<T>(&self, run: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let mut connection = self.connection();
        let result = connection.transaction().and_then(|transaction| {
            let value = run(&transaction)?;
            transaction.commit()?;
            Ok(value)
        });
        result.map_err(|error| explain("write", &self.path, error))
    }
}

/// Makes the file under another name and moves it into place when it is whole. A file under its right name is therefore either good or
/// damaged, and never one that somebody was about to make.
fn create(path: &Path) -> Result<(), StoreError> {
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
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| StoreError::failed("make", path, error))
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
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

/// The format of a file that can be used.
fn check(path: &Path, connection: &Connection) -> Result<i64, StoreError> {
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

fn explain(action: &'static str, path: &Path, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::damaged(path, error),
        _ => StoreError::failed(action, path, error),
    }
}

impl Store for SqliteStore {
    fn load(&self) -> Result<Contents, StoreError> {
        let connection = self.connection();
        let load = || -> rusqlite::Result<_> {
            let mut mesh = connection.prepare("SELECT trust_domain FROM mesh")?;
            let trust_domain = mesh.query_map([], |row| row.get::<_, String>(0))?.next().transpose()?;
            let mut authorities = connection.prepare(
                "SELECT kind, cluster, certificate, key, created_at, serial, state, trusted, issued_until FROM authority ORDER BY id",
            )?;
            let authorities = authorities.query_map([], authority)?.collect::<rusqlite::Result<_>>()?;
            let mut workloads =
                connection.prepare("SELECT workload, chain, key, issued_at, renew_at, not_after FROM workload")?;
            let workloads = workloads.query_map([], workload)?.collect::<rusqlite::Result<_>>()?;
            let mut rotations =
                connection.prepare("SELECT old, new, step, paused, force, started_at, step_at FROM rotation")?;
            let rotation = rotations.query_map([], rotation)?.next().transpose()?;
            let mut seen = connection.prepare("SELECT workload, at FROM seen")?;
            let seen = seen.query_map([], |row| Ok((row.get(0)?, time(row, 1)?)))?.collect::<rusqlite::Result<_>>()?;
            Ok((trust_domain, Contents { trust_domain: None, authorities, workloads, rotation, seen }))
        };
        let (trust_domain, contents) = load().map_err(|error| explain("read", &self.path, error))?;
        let trust_domain = trust_domain.map(|text| text.parse()).transpose();
        let trust_domain = trust_domain.map_err(|error| StoreError::damaged(&self.path, error))?;
        Ok(Contents { trust_domain, ..contents })
    }

    fn found(&self, trust_domain: &TrustDomain, authorities: &[AuthorityRecord]) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.execute("INSERT INTO mesh (one, trust_domain) VALUES (1, ?1)", [trust_domain.as_str()])?;
            authorities.iter().try_for_each(|authority| insert_authority(transaction, authority))
        })
    }

    fn change(&self, change: &Change) -> Result<(), StoreError> {
        self.write(|transaction| {
            change.add.iter().try_for_each(|authority| insert_authority(transaction, authority))?;
            for (serial, standing) in &change.standings {
                let changed = transaction.execute(
                    "UPDATE authority SET state = ?2, trusted = ?3 WHERE serial = ?1",
                    params![serial.to_string(), state_name(standing.state), standing.trusted],
                )?;
                if changed != 1 {
                    return Err(rusqlite::Error::StatementChangedRows(changed));
                }
            }
            let Some(it) = &change.rotation else { return Ok(()) };
            transaction.execute(
                "INSERT OR REPLACE INTO rotation (one, old, new, step, paused, force, started_at, step_at)
                 VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    it.old.to_string(),
                    it.new.to_string(),
                    it.step.name(),
                    it.paused,
                    it.force,
                    nanoseconds(it.started_at),
                    nanoseconds(it.step_at)
                ],
            )?;
            Ok(())
        })
    }

    fn reserve(&self, authority: &Serial, until: OffsetDateTime) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.execute(
                "UPDATE authority SET issued_until = max(issued_until, ?2) WHERE serial = ?1",
                params![authority.to_string(), nanoseconds(until)],
            )?;
            Ok(())
        })
    }

    fn save_seen(&self, workloads: &[String], at: OffsetDateTime) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut save = transaction.prepare_cached("INSERT OR REPLACE INTO seen (workload, at) VALUES (?1, ?2)")?;
            workloads.iter().try_for_each(|workload| save.execute(params![workload, nanoseconds(at)]).map(drop))
        })
    }

    fn save_workloads(&self, workloads: &[WorkloadRecord]) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut save = transaction.prepare_cached(
                "INSERT OR REPLACE INTO workload (workload, chain, key, issued_at, renew_at, not_after) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for it in workloads {
                let times = (nanoseconds(it.issued_at), nanoseconds(it.renew_at), nanoseconds(it.not_after));
                save.execute(params![it.workload, it.chain_pem, it.key_pem.as_str(), times.0, times.1, times.2])?;
            }
            Ok(())
        })
    }

    fn forget_expired(&self, now: OffsetDateTime) -> Result<usize, StoreError> {
        self.write(|transaction| transaction.execute("DELETE FROM workload WHERE not_after <= ?1", [nanoseconds(now)]))
    }
}

fn insert_authority(transaction: &Transaction<'_>, authority: &AuthorityRecord) -> rusqlite::Result<()> {
    let kind = match authority.kind {
        AuthorityKind::Root => "root",
        AuthorityKind::Intermediate => "intermediate",
    };
    transaction.execute(
        "INSERT INTO authority (kind, cluster, certificate, key, created_at, serial, state, trusted, issued_until)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            kind,
            authority.cluster,
            authority.certificate,
            authority.key.as_slice(),
            nanoseconds(authority.created_at),
            authority.serial.to_string(),
            state_name(authority.standing.state),
            authority.standing.trusted,
            nanoseconds(authority.issued_until)
        ],
    )?;
    Ok(())
}

fn authority(row: &Row<'_>) -> rusqlite::Result<AuthorityRecord> {
    let kind = match row.get_ref(0)?.as_str()? {
        "root" => AuthorityKind::Root,
        _ => AuthorityKind::Intermediate,
    };
    Ok(AuthorityRecord {
        kind,
        cluster: row.get(1)?,
        certificate: row.get(2)?,
        key: Zeroizing::new(row.get(3)?),
        created_at: time(row, 4)?,
        serial: serial(row, 5)?,
        standing: Standing {
            state: match row.get_ref(6)?.as_str()? {
                "prepared" => AuthorityState::Prepared,
                "active" => AuthorityState::Active,
                _ => AuthorityState::Retired,
            },
            trusted: row.get(7)?,
        },
        issued_until: time(row, 8)?,
    })
}

fn state_name(state: AuthorityState) -> &'static str {
    match state {
        AuthorityState::Prepared => "prepared",
        AuthorityState::Active => "active",
        AuthorityState::Retired => "retired",
    }
}

fn serial(row: &Row<'_>, column: usize) -> rusqlite::Result<Serial> {
    row.get_ref(column)?.as_str()?.parse().map_err(|error| unreadable(column, error))
}

fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

fn rotation(row: &Row<'_>) -> rusqlite::Result<RotationRecord> {
    let step = row.get_ref(2)?.as_str()?;
    Ok(RotationRecord {
        old: serial(row, 0)?,
        new: serial(row, 1)?,
        step: RotationStep::from_name(step)
            .ok_or_else(|| unreadable(2, std::io::Error::other(format!("no step is called {step}"))))?,
        paused: row.get(3)?,
        force: row.get(4)?,
        started_at: time(row, 5)?,
        step_at: time(row, 6)?,
    })
}

fn workload(row: &Row<'_>) -> rusqlite::Result<WorkloadRecord> {
    Ok(WorkloadRecord {
        workload: row.get(0)?,
        chain_pem: row.get(1)?,
        key_pem: Zeroizing::new(row.get(2)?),
        issued_at: time(row, 3)?,
        renew_at: time(row, 4)?,
        not_after: time(row, 5)?,
    })
}

/// Enough until the year 2262; a later expiry is kept as that, which only makes it be looked at sooner.
pub(super) fn nanoseconds(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos()).unwrap_or(i64::MAX)
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<OffsetDateTime> {
    let nanoseconds = i128::from(row.get::<_, i64>(column)?);
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
        .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, i64::MAX))
}
