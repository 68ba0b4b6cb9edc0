//! Authorities, rotations, workload certificates and requests as rows. Keys pass through the sealer on their way in and out.

use rusqlite::{Connection, Row, Transaction, params};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::connection::explain;
use super::seal::Sealer;
use super::sqlite::SqliteStore;
use super::{
    AuthorityKind, AuthorityRecord, AuthorityState, RotationRecord, RotationStep, Standing, StoreError, WorkloadRecord,
};
use crate::trust::Serial;

pub(super) fn authority_row(authority: &AuthorityRecord) -> [&[u8]; 2] {
    [b"authority", &authority.certificate]
}

fn workload_row<'a>(workload: &'a str, chain: &'a str) -> [&'a [u8]; 3] {
    [b"workload", workload.as_bytes(), chain.as_bytes()]
}

/// A key whose certificate somebody else is to sign: the cluster it is for, PKCS #8, and when it was made.
pub(super) type AuthorityRequest = (String, Zeroizing<Vec<u8>>, OffsetDateTime);

impl SqliteStore {
    pub(super) fn authorities(
        &self,
        connection: &Connection,
        sealer: &Sealer,
    ) -> Result<Vec<(i64, AuthorityRecord)>, StoreError> {
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

    pub(super) fn workloads(
        &self,
        connection: &Connection,
        sealer: &Sealer,
    ) -> Result<Vec<WorkloadRecord>, StoreError> {
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

    pub(super) fn requests(
        &self,
        connection: &Connection,
        sealer: &Sealer,
    ) -> Result<Vec<AuthorityRequest>, StoreError> {
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

    pub(super) fn insert_request(
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

    pub(super) fn insert_authority(
        &self,
        transaction: &Transaction<'_>,
        authority: &AuthorityRecord,
    ) -> rusqlite::Result<()> {
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

    pub(super) fn save_workload(&self, transaction: &Transaction<'_>, it: &WorkloadRecord) -> rusqlite::Result<()> {
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

pub(super) fn state_name(state: AuthorityState) -> &'static str {
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

pub(super) fn rotation(row: &Row<'_>) -> rusqlite::Result<RotationRecord> {
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
