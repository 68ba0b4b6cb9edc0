//! The embedded store: one SQLite file, readable by its owner only.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::connection::{check, connect, create, explain};
use super::migration::migrate;
use super::rows::{nanoseconds, rotation, state_name, time};
use super::seal::{KeyEncryptionKey, SealError, Sealer};
use super::{
    AuthorityRecord, CertificateRecord, Change, Contents, CrlRecord, FederatedRecord, IssuedRecord, JoinTokenRecord,
    RevocationRecord, Store, StoreError, WorkloadRecord, federation, revocation, tokens,
};
use crate::identity::TrustDomain;
use crate::trust::Serial;

/// A store in one file (WAL, `synchronous=FULL`: what is committed survives a power cut). Times are nanoseconds since 1970 in UTC.
#[derive(Debug)]
pub struct SqliteStore {
    pub(super) path: PathBuf,
    connection: Mutex<Connection>,
    pub(super) sealer: Sealer,
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

    pub(super) fn sealed(&self, error: SealError) -> StoreError {
        StoreError::Sealed { path: self.path.clone(), reason: error }
    }

    pub(super) fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic within a transaction has rolled it back; the connection is as good as before.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write<T>(&self, run: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let mut connection = self.connection();
        let result = connection.transaction().and_then(|transaction| {
            let value = run(&transaction)?;
            transaction.commit()?;
            Ok(value)
        });
        result.map_err(|error| explain("write", &self.path, error))
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
            let sequence = connection.query_row("SELECT bundle_sequence FROM mesh", [], |row| row.get::<_, i64>(0));
            Ok(Contents {
                rotation,
                seen,
                revocations: revocation::revocations(&connection)?,
                crls: revocation::crls(&connection)?,
                federated: federation::all(&connection)?,
                // A new mesh's is 1.
                bundle_sequence: sequence.optional()?.map_or(1, i64::cast_unsigned),
                ..Contents::default()
            })
        };
        let contents = read().map_err(|error| explain("read", &self.path, error))?;
        Ok(Contents { trust_domain, authorities, workloads, ..contents })
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
            if let Some(sequence) = change.bundle_sequence {
                transaction.execute("UPDATE mesh SET bundle_sequence = ?1", [sequence.cast_signed()])?;
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

    fn forget_seen(&self, before: OffsetDateTime) -> Result<usize, StoreError> {
        self.write(|transaction| transaction.execute("DELETE FROM seen WHERE at <= ?1", [nanoseconds(before)]))
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

    fn save_federated(&self, bundle: &FederatedRecord) -> Result<(), StoreError> {
        self.write(|transaction| federation::save(transaction, bundle))
    }

    fn remove_federated(&self, trust_domain: &TrustDomain) -> Result<bool, StoreError> {
        self.write(|transaction| federation::remove(transaction, trust_domain))
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

    fn forget_join_tokens(&self, before: OffsetDateTime) -> Result<usize, StoreError> {
        self.write(|transaction| tokens::forget(transaction, before))
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

    fn certificates(&self) -> Result<Vec<CertificateRecord>, StoreError> {
        self.certificate_records(&self.connection(), &self.sealer)
    }

    fn save_certificates(&self, keep: &[CertificateRecord], forget: &[String]) -> Result<(), StoreError> {
        self.write(|transaction| {
            for name in forget {
                transaction.execute("DELETE FROM certificate WHERE certificate = ?1", [name])?;
            }
            keep.iter().try_for_each(|it| self.save_certificate(transaction, it))
        })
    }
}
