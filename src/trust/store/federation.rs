//! The bundles of other trust domains, in SQLite.

use rusqlite::{Connection, Row, Transaction, params};
use time::OffsetDateTime;

use super::rows::{nanoseconds, time};
use crate::identity::TrustDomain;

/// The bundle of another trust domain as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederatedRecord {
    /// Whose it is.
    pub trust_domain: TrustDomain,
    /// Its roots in DER, one behind the other.
    pub roots: Vec<u8>,
    /// The number that its publisher gave it.
    pub sequence: Option<u64>,
    /// How often its publisher asks to look again, in seconds.
    pub refresh_hint: Option<u64>,
    /// When it was taken in.
    pub imported_at: OffsetDateTime,
}

pub(super) fn save(transaction: &Transaction<'_>, it: &FederatedRecord) -> rusqlite::Result<()> {
    // SQLite's integers have a sign; the bits are what counts.
    let bits = |number: Option<u64>| number.map(u64::cast_signed);
    transaction.execute(
        "INSERT OR REPLACE INTO federated_bundle (trust_domain, roots, sequence, refresh_hint, imported_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            it.trust_domain.as_str(),
            it.roots,
            bits(it.sequence),
            bits(it.refresh_hint),
            nanoseconds(it.imported_at)
        ],
    )?;
    Ok(())
}

pub(super) fn remove(transaction: &Transaction<'_>, trust_domain: &TrustDomain) -> rusqlite::Result<bool> {
    let removed =
        transaction.execute("DELETE FROM federated_bundle WHERE trust_domain = ?1", [trust_domain.as_str()])?;
    Ok(removed == 1)
}

pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<FederatedRecord>> {
    let mut select =
        connection.prepare("SELECT trust_domain, roots, sequence, refresh_hint, imported_at FROM federated_bundle")?;
    select.query_map([], record)?.collect()
}

fn record(row: &Row<'_>) -> rusqlite::Result<FederatedRecord> {
    let unreadable = |error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error));
    let number = |column| row.get::<_, Option<i64>>(column).map(|number| number.map(i64::cast_unsigned));
    Ok(FederatedRecord {
        trust_domain: row.get_ref(0)?.as_str()?.parse().map_err(unreadable)?,
        roots: row.get(1)?,
        sequence: number(2)?,
        refresh_hint: number(3)?,
        imported_at: time(row, 4)?,
    })
}
