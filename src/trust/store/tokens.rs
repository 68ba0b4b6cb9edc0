//! Join tokens in SQLite.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use time::OffsetDateTime;

use super::JoinTokenRecord;
use super::rows::{nanoseconds, time};

const COLUMNS: &str = "id, digest, workload, identity, created_at, expires_at, used_at";

pub(super) fn add(transaction: &Transaction<'_>, token: &JoinTokenRecord) -> rusqlite::Result<()> {
    let (created_at, expires_at) = (nanoseconds(token.created_at), nanoseconds(token.expires_at));
    transaction.execute(
        "INSERT INTO join_token (id, digest, workload, identity, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![token.id, token.digest, token.workload, token.identity, created_at, expires_at],
    )?;
    Ok(())
}

pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<JoinTokenRecord>> {
    let mut select = connection.prepare(&format!("SELECT {COLUMNS} FROM join_token ORDER BY created_at, id"))?;
    select.query_map([], record)?.collect()
}

pub(super) fn find(connection: &Connection, digest: &[u8; 32]) -> rusqlite::Result<Option<JoinTokenRecord>> {
    let select = format!("SELECT {COLUMNS} FROM join_token WHERE digest = ?1");
    connection.query_row(&select, [digest], record).optional()
}

/// One statement both looks and marks: whoever comes second finds nothing to mark.
pub(super) fn consume(transaction: &Transaction<'_>, digest: &[u8; 32], now: OffsetDateTime) -> rusqlite::Result<bool> {
    let marked = transaction.execute(
        "UPDATE join_token SET used_at = ?2 WHERE digest = ?1 AND used_at IS NULL AND expires_at > ?2",
        params![digest, nanoseconds(now)],
    )?;
    Ok(marked == 1)
}

/// A token that was used is known until then as well, so that operators see what became of it.
pub(super) fn forget(transaction: &Transaction<'_>, before: OffsetDateTime) -> rusqlite::Result<usize> {
    transaction.execute("DELETE FROM join_token WHERE expires_at <= ?1", [nanoseconds(before)])
}

pub(super) fn remove(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<bool> {
    Ok(transaction.execute("DELETE FROM join_token WHERE id = ?1", [id])? == 1)
}

fn record(row: &Row<'_>) -> rusqlite::Result<JoinTokenRecord> {
    let used_at = match row.get::<_, Option<i64>>(6)? {
        Some(_) => Some(time(row, 6)?),
        None => None,
    };
    Ok(JoinTokenRecord {
        id: row.get(0)?,
        digest: row.get(1)?,
        workload: row.get(2)?,
        identity: row.get(3)?,
        created_at: time(row, 4)?,
        expires_at: time(row, 5)?,
        used_at,
    })
}
