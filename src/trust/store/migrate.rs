//! The formats of the store, each made from the one before.

use rusqlite::Connection;

/// What makes each format out of the one before it; the first out of an empty file. A step that has been released is never changed.
const STEPS: [&str; 3] = [FORMAT_1, FORMAT_2, FORMAT_3];

/// The format that is written.
pub(super) const VERSION: i64 = STEPS.len() as i64;

const FORMAT_1: &str = "
    CREATE TABLE mesh (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        trust_domain TEXT NOT NULL
    ) STRICT;
    CREATE TABLE authority (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL CHECK (kind IN ('root', 'intermediate')),
        cluster TEXT NOT NULL,
        certificate BLOB NOT NULL,
        key BLOB NOT NULL,
        created_at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE workload (
        workload TEXT PRIMARY KEY,
        chain TEXT NOT NULL,
        key TEXT NOT NULL,
        issued_at INTEGER NOT NULL,
        renew_at INTEGER NOT NULL,
        not_after INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX workload_not_after ON workload (not_after);
";

const FORMAT_2: &str = "";

/// Join tokens by the digest of their secret; a value by which the right key-encryption key is known; keys whose certificate somebody
/// else is to sign.
const FORMAT_3: &str = "
    CREATE TABLE join_token (
        id TEXT PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE,
        workload TEXT NOT NULL,
        identity TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        used_at INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE encryption (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        proof BLOB NOT NULL
    ) STRICT;
    CREATE TABLE authority_request (
        cluster TEXT PRIMARY KEY,
        key BLOB NOT NULL,
        created_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// Brings the store from format `from` to [`VERSION`], one transaction a step. A crash leaves one of the formats between, from which
/// the next start goes on.
pub(super) fn migrate(connection: &mut Connection, from: i64) -> rusqlite::Result<()> {
    for (version, step) in (1..).zip(STEPS).filter(|(version, _)| *version > from) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}
