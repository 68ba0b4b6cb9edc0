//! The embedded store: one SQLite file, readable by its owner only.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, Transaction, params};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::migration::{FIRST, VERSION, migrate};
use super::seal::{KeyEncryptionKey, SealError, Sealer};
use super::{
    AuthorityKind, AuthorityRecord, AuthorityState, Change, Contents, CrlRecord, IssuedRecord, JoinTokenRecord,
    RevocationRecord, RotationRecord, RotationStep, Standing, Store, StoreError, WorkloadRecord, revocation, tokens,
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
    sealer: Sealer,
}

impl SqliteStore {
    /// Opens the store, or makes one if there is no file. A file that is damaged, empty or not a store is an error. Keys are in the
    /// clear.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_sealed(path, None)
    }

    /// The same with keys encrypted by `key`. What was in the clear is encrypted at once. A store that was opened with a key once needs
    /// that key from then on.
    pub fn open_sealed(path: &Path, key: Option<KeyEncryptionKey>) -> Result<Self, StoreError> {
        if !path.try_exists().map_err(|error| StoreError::failed("look for", path, error))? {
            create(path)?;
        }
        fs::set_permissions(path, Permissions::from_mode(0o600))
            .map_err(|error| StoreError::failed("take away others' access to", path, error))?;
        let mut connection = connect(path)?;
        let version = check(path, &connection)?;
        migrate(&mut connection, version).map_err(|error| explain("bring up to date", path, error))?;
        let store = Self { path: path.to_owned(), connection: Mutex::new(connection), sealer: Sealer(key) };
        store.prove_key()?;
        Ok(store)
    }

    /// Whether keys are encrypted.
    pub fn is_sealed(&self) -> bool {
        self.sealer.0.is_some()
    }

    /// Refuses a wrong key, and none where there was one. Turns encryption on where there was none.
    fn prove_key(&self) -> Result<(), StoreError> {
        let select = "SELECT proof FROM encryption";
        let proof = self.connection().query_row(select, [], |row| row.get::<_, Vec<u8>>(0)).optional();
        match (proof.map_err(|error| explain("read", &self.path, error))?, &self.sealer.0) {
            (None, None) => Ok(()),
            (Some(_), None) => Err(StoreError::Encrypted { path: self.path.clone() }),
            (Some(proof), Some(key)) => match key.open(&PROOF, &proof) {
                Ok(_) => Ok(()),
                Err(error) => Err(self.sealed(error)),
            },
            (None, Some(key)) => self.encrypt(key),
        }
    }

    /// Encrypts everything that is in the clear, in one transaction, and leaves no copy in free pages or in the log.
    fn encrypt(&self, key: &KeyEncryptionKey) -> Result<(), StoreError> {
        let clear = Sealer::default();
        let connection = self.connection();
        let authorities = self.authorities(&connection, &clear)?;
        let workloads = self.workloads(&connection, &clear)?;
        let requests = self.requests(&connection, &clear)?;
        drop(connection);
        self.write(|transaction| {
            transaction.execute("DELETE FROM authority_request", [])?;
            for (cluster, pkcs8, created_at) in &requests {
                self.insert_request(transaction, cluster, pkcs8, *created_at)?;
            }
            for (id, authority) in &authorities {
                let sealed = self.sealer.write(&authority_row(authority), &authority.key);
                transaction.execute("UPDATE authority SET key = ?2 WHERE id = ?1", params![id, sealed.as_slice()])?;
            }
            for workload in &workloads {
                self.save_workload(transaction, workload)?;
            }
            let proof = key.seal(&PROOF, b"countersign");
            transaction.execute("INSERT INTO encryption (one, proof) VALUES (1, ?1)", [proof])?;
            Ok(())
        })?;
        let cleaned = self.connection().execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
        cleaned.map_err(|error| explain("clean", &self.path, error))
    }

    fn sealed(&self, error: SealError) -> StoreError {
        StoreError::Sealed { path: self.path.clone(), reason: error }
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
    sync_directory(path)
}

/// Makes a rename to `path` durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), StoreError> {
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

impl Store for SqliteStore {
    fn load(&self) -> Result<Contents, StoreError> {
        let connection = self.connection();
        let trust_domain = connection.query_row("SELECT trust_domain FROM mesh", [], |row| row.get::<_, String>(0));
        let trust_domain = trust_domain.optional().map_err(|error| explain("read", &self.path, error))?;
        let trust_domain = trust_domain.map(|text| text.parse()).transpose();
        let trust_domain = trust_domain.map_err(|error| StoreError::damaged(&self.path, error))?;
        let authorities = self.authorities(&connection, &self.sealer)?.into_iter().map(|(_, record)| record).collect();
        let workloads = self.workloads(&connection, &self.sealer)?;
        let read = || -> rusqlite::Result<_> {
            let mut rotations =
                connection.prepare("SELECT old, new, step, paused, force, started_at, step_at FROM rotation")?;
            let rotation = rotations.query_map([], rotation)?.next().transpose()?;
            let mut seen = connection.prepare("SELECT workload, at FROM seen")?;
            let seen = seen.query_map([], |row| Ok((row.get(0)?, time(row, 1)?)))?.collect::<rusqlite::Result<_>>()?;
            Ok((rotation, seen, revocation::revocations(&connection)?, revocation::crls(&connection)?))
        };
        let (rotation, seen, revocations, crls) = read().map_err(|error| explain("read", &self.path, error))?;
        Ok(Contents { trust_domain, authorities, workloads, rotation, seen, revocations, crls })
    }

    fn found(&self, trust_domain: &TrustDomain, authorities: &[AuthorityRecord]) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.execute("INSERT INTO mesh (one, trust_domain) VALUES (1, ?1)", [trust_domain.as_str()])?;
            authorities.iter().try_for_each(|authority| self.insert_authority(transaction, authority))
        })
    }

    fn change(&self, change: &Change) -> Result<(), StoreError> {
        self.write(|transaction| {
            change.add.iter().try_for_each(|authority| self.insert_authority(transaction, authority))?;
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

    fn save_workloads(&self, workloads: &[WorkloadRecord], issued: &[IssuedRecord]) -> Result<(), StoreError> {
        self.write(|transaction| {
            workloads.iter().try_for_each(|workload| self.save_workload(transaction, workload))?;
            revocation::note(transaction, issued)
        })
    }

    fn forget_expired(&self, now: OffsetDateTime, end: OffsetDateTime) -> Result<usize, StoreError> {
        self.write(|transaction| {
            let over = transaction.execute("DELETE FROM workload WHERE not_after <= ?1", [nanoseconds(now)])?;
            Ok(over + revocation::forget(transaction, end)?)
        })
    }

    fn note_issued(&self, issued: &[IssuedRecord]) -> Result<(), StoreError> {
        self.write(|transaction| revocation::note(transaction, issued))
    }

    fn find_issued(&self, serial: &Serial) -> Result<Option<IssuedRecord>, StoreError> {
        revocation::find(&self.connection(), serial).map_err(|error| explain("read", &self.path, error))
    }

    fn issued_to(&self, identity: &str) -> Result<Vec<IssuedRecord>, StoreError> {
        revocation::of_identity(&self.connection(), identity).map_err(|error| explain("read", &self.path, error))
    }

    fn revoke(&self, revoked: &[RevocationRecord]) -> Result<(), StoreError> {
        self.write(|transaction| revocation::revoke(transaction, revoked))
    }

    fn save_crls(&self, crls: &[CrlRecord]) -> Result<(), StoreError> {
        self.write(|transaction| revocation::save_crls(transaction, crls))
    }

    fn add_join_token(&self, token: &JoinTokenRecord) -> Result<(), StoreError> {
        self.write(|transaction| tokens::add(transaction, token))
    }

    fn join_tokens(&self) -> Result<Vec<JoinTokenRecord>, StoreError> {
        tokens::all(&self.connection()).map_err(|error| explain("read", &self.path, error))
    }

    fn find_join_token(&self, digest: &[u8; 32]) -> Result<Option<JoinTokenRecord>, StoreError> {
        tokens::find(&self.connection(), digest).map_err(|error| explain("read", &self.path, error))
    }

    fn consume_join_token(&self, digest: &[u8; 32], now: OffsetDateTime) -> Result<bool, StoreError> {
        self.write(|transaction| tokens::consume(transaction, digest, now))
    }

    fn remove_join_token(&self, id: &str) -> Result<bool, StoreError> {
        self.write(|transaction| tokens::remove(transaction, id))
    }

    fn keep_authority_request(&self, cluster: &str, key: &[u8], now: OffsetDateTime) -> Result<(), StoreError> {
        self.write(|transaction| self.insert_request(transaction, cluster, key, now))
    }

    fn authority_request(&self, cluster: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let requests = self.requests(&self.connection(), &self.sealer)?;
        Ok(requests.into_iter().find(|request| request.0 == cluster).map(|request| request.1))
    }
}

/// What the value is bound to by which a key-encryption key is known.
const PROOF: [&[u8]; 1] = [b"proof"];

fn authority_row(authority: &AuthorityRecord) -> [&[u8]; 2] {
    [b"authority", &authority.certificate]
}

fn workload_row<'a>(workload: &'a str, chain: &'a str) -> [&'a [u8]; 3] {
    [b"workload", workload.as_bytes(), chain.as_bytes()]
}

/// A key whose certificate somebody else is to sign: the cluster it is for, PKCS #8, and when it was made.
type AuthorityRequest = (String, Zeroizing<Vec<u8>>, OffsetDateTime);

impl SqliteStore {
    fn authorities(&self, connection: &Connection, sealer: &Sealer) -> Result<Vec<(i64, AuthorityRecord)>, StoreError> {
        let read = || -> rusqlite::Result<Vec<_>> {
            let mut select = connection
                .prepare("SELECT kind, cluster, certificate, key, created_at, serial, state, trusted, issued_until, id FROM authority ORDER BY id")?;
            select.query_map([], |row| Ok((row.get(9)?, authority(row)?)))?.collect()
        };
        let mut all: Vec<(i64, AuthorityRecord)> = read().map_err(|error| explain("read", &self.path, error))?;
        for (_, record) in &mut all {
            let kept = std::mem::take(&mut *record.key);
            record.key = sealer.read(&authority_row(record), kept).map_err(|error| self.sealed(error))?;
        }
        Ok(all)
    }

    fn workloads(&self, connection: &Connection, sealer: &Sealer) -> Result<Vec<WorkloadRecord>, StoreError> {
        let read = || -> rusqlite::Result<Vec<_>> {
            let mut select =
                connection.prepare("SELECT workload, chain, key, issued_at, renew_at, not_after FROM workload")?;
            select.query_map([], workload)?.collect()
        };
        let mut all: Vec<WorkloadRecord> = read().map_err(|error| explain("read", &self.path, error))?;
        for record in &mut all {
            let kept = std::mem::take(&mut *record.key_pem);
            let row = workload_row(&record.workload, &record.chain_pem);
            record.key_pem = sealer.read_text(&row, kept).map_err(|error| self.sealed(error))?;
        }
        Ok(all)
    }

    fn requests(&self, connection: &Connection, sealer: &Sealer) -> Result<Vec<AuthorityRequest>, StoreError> {
        let read = || -> rusqlite::Result<Vec<(String, Vec<u8>, OffsetDateTime)>> {
            let mut select = connection.prepare("SELECT cluster, key, created_at FROM authority_request")?;
            select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, time(row, 2)?)))?.collect()
        };
        let all = read().map_err(|error| explain("read", &self.path, error))?.into_iter();
        let opened = all.map(|(cluster, key, created_at)| {
            let key = sealer.read(&[b"request", cluster.as_bytes()], key).map_err(|error| self.sealed(error))?;
            Ok((cluster, key, created_at))
        });
        opened.collect()
    }

    fn insert_request(
        &self,
        transaction: &Transaction<'_>,
        cluster: &str,
        key: &[u8],
        now: OffsetDateTime,
    ) -> rusqlite::Result<()> {
        let sealed = self.sealer.write(&[b"request", cluster.as_bytes()], key);
        transaction.execute(
            "INSERT OR REPLACE INTO authority_request (cluster, key, created_at) VALUES (?1, ?2, ?3)",
            params![cluster, sealed.as_slice(), nanoseconds(now)],
        )?;
        Ok(())
    }

    fn insert_authority(&self, transaction: &Transaction<'_>, authority: &AuthorityRecord) -> rusqlite::Result<()> {
        let kind = match authority.kind {
            AuthorityKind::Root => "root",
            AuthorityKind::Intermediate => "intermediate",
        };
        let key = self.sealer.write(&authority_row(authority), &authority.key);
        transaction.execute(
            "INSERT INTO authority (kind, cluster, certificate, key, created_at, serial, state, trusted, issued_until)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                kind,
                authority.cluster,
                authority.certificate,
                key.as_slice(),
                nanoseconds(authority.created_at),
                authority.serial.to_string(),
                state_name(authority.standing.state),
                authority.standing.trusted,
                nanoseconds(authority.issued_until)
            ],
        )?;
        Ok(())
    }

    fn save_workload(&self, transaction: &Transaction<'_>, it: &WorkloadRecord) -> rusqlite::Result<()> {
        let mut save = transaction.prepare_cached(
            "INSERT OR REPLACE INTO workload (workload, chain, key, issued_at, renew_at, not_after) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let key = self.sealer.write_text(&workload_row(&it.workload, &it.chain_pem), &it.key_pem);
        let times = (nanoseconds(it.issued_at), nanoseconds(it.renew_at), nanoseconds(it.not_after));
        save.execute(params![it.workload, it.chain_pem, key.as_str(), times.0, times.1, times.2])?;
        Ok(())
    }
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

pub(super) fn serial(row: &Row<'_>, column: usize) -> rusqlite::Result<Serial> {
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

pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<OffsetDateTime> {
    let nanoseconds = i128::from(row.get::<_, i64>(column)?);
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
        .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, i64::MAX))
}
