//! What was issued, what of it was revoked, and the revocation lists, in SQLite.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use time::OffsetDateTime;

use super::rows::{nanoseconds, serial, time};
use crate::trust::Serial;

/// A workload's certificate, as far as it has to be known to be revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedRecord {
    /// Its serial number.
    pub serial: Serial,
    /// The serial number of the intermediate that signed it.
    pub issuer: Serial,
    /// The SPIFFE ID in it.
    pub identity: String,
    /// Its last second.
    pub not_after: OffsetDateTime,
}

/// A certificate that was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationRecord {
    /// Which.
    pub certificate: IssuedRecord,
    /// When.
    pub revoked_at: OffsetDateTime,
}

/// The newest revocation list of an intermediate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlRecord {
    /// The serial number of the intermediate.
    pub issuer: Serial,
    /// Rises with each list of the intermediate (RFC 5280 §5.2.3).
    pub number: u32,
    /// The list in DER.
    pub der: Vec<u8>,
}

pub(super) fn note(transaction: &Transaction<'_>, issued: &[IssuedRecord]) -> rusqlite::Result<()> {
    let mut save = transaction.prepare_cached(
        "INSERT OR REPLACE INTO issued (serial, issuer, identity, not_after) VALUES (?1, ?2, ?3, ?4)",
    )?;
    issued.iter().try_for_each(|it| {
        let (serial, issuer) = (it.serial.to_string(), it.issuer.to_string());
        save.execute(params![serial, issuer, it.identity, nanoseconds(it.not_after)]).map(drop)
    })
}

pub(super) fn find(connection: &Connection, serial: &Serial) -> rusqlite::Result<Option<IssuedRecord>> {
    let select = "SELECT serial, issuer, identity, not_after FROM issued WHERE serial = ?1";
    connection.query_row(select, [serial.to_string()], issued).optional()
}

pub(super) fn of_identity(connection: &Connection, identity: &str) -> rusqlite::Result<Vec<IssuedRecord>> {
    let mut select = connection.prepare(
        "SELECT serial, issuer, identity, not_after FROM issued WHERE identity = ?1 ORDER BY not_after, serial",
    )?;
    select.query_map([identity], issued)?.collect()
}

pub(super) fn revoke(transaction: &Transaction<'_>, revoked: &[RevocationRecord]) -> rusqlite::Result<()> {
    let mut save = transaction.prepare_cached(
        "INSERT OR IGNORE INTO revocation (serial, issuer, identity, not_after, revoked_at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    revoked.iter().try_for_each(|RevocationRecord { certificate: it, revoked_at }| {
        let (serial, issuer) = (it.serial.to_string(), it.issuer.to_string());
        let times = (nanoseconds(it.not_after), nanoseconds(*revoked_at));
        save.execute(params![serial, issuer, it.identity, times.0, times.1]).map(drop)
    })
}

pub(super) fn revocations(connection: &Connection) -> rusqlite::Result<Vec<RevocationRecord>> {
    let mut select = connection.prepare(
        "SELECT serial, issuer, identity, not_after, revoked_at FROM revocation ORDER BY revoked_at, serial",
    )?;
    select.query_map([], |row| Ok(RevocationRecord { certificate: issued(row)?, revoked_at: time(row, 4)? }))?.collect()
}

pub(super) fn save_crls(transaction: &Transaction<'_>, crls: &[CrlRecord]) -> rusqlite::Result<()> {
    let mut save =
        transaction.prepare_cached("INSERT OR REPLACE INTO crl (issuer, number, der) VALUES (?1, ?2, ?3)")?;
    crls.iter().try_for_each(|it| save.execute(params![it.issuer.to_string(), it.number, it.der]).map(drop))
}

pub(super) fn crls(connection: &Connection) -> rusqlite::Result<Vec<CrlRecord>> {
    let mut select = connection.prepare("SELECT issuer, number, der FROM crl")?;
    select
        .query_map([], |row| Ok(CrlRecord { issuer: serial(row, 0)?, number: row.get(1)?, der: row.get(2)? }))?
        .collect()
}

/// Forgets what ended at `end` or before.
pub(super) fn forget(transaction: &Transaction<'_>, end: OffsetDateTime) -> rusqlite::Result<usize> {
    let revoked = transaction.execute("DELETE FROM revocation WHERE not_after <= ?1", [nanoseconds(end)])?;
    Ok(revoked + transaction.execute("DELETE FROM issued WHERE not_after <= ?1", [nanoseconds(end)])?)
}

fn issued(row: &Row<'_>) -> rusqlite::Result<IssuedRecord> {
    Ok(IssuedRecord {
        serial: serial(row, 0)?,
        issuer: serial(row, 1)?,
        identity: row.get(2)?,
        not_after: time(row, 3)?,
    })
}
