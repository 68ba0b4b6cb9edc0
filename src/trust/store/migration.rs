//! The formats of the store: the first, and the steps from each to the next. A new file is made in the first format and takes every step,
//! so that an old file and a new one are alike.

use rusqlite::{Connection, Transaction};

/// The format that is written.
pub(super) const VERSION: i64 = 1 + STEPS.len() as i64;

type Step = fn(&Transaction<'_>) -> rusqlite::Result<()>;

/// What turns format `n + 1` into `n + 2`. Append only: files of every format are out there.
const STEPS: &[Step] = &[several_authorities, join_tokens_and_encryption];

/// The first format.
pub(super) const FIRST: &str = "
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

/// Takes the steps that a file of format `found` lacks, in one transaction: after a crash it is what it was.
pub(super) fn migrate(connection: &mut Connection, found: i64) -> rusqlite::Result<()> {
    let taken = usize::try_from(found - 1).unwrap_or(0);
    let Some(left) = STEPS.get(taken..).filter(|left| !left.is_empty()) else { return Ok(()) };
    let transaction = connection.transaction()?;
    for step in left {
        step(&transaction)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// 1 to 2: nothing yet in which the two differ.
fn several_authorities(_: &Transaction<'_>) -> rusqlite::Result<()> {
    Ok(())
}

/// 2 to 3: join tokens by the digest of their secret; a value by which the right key-encryption key is known; keys whose certificate
/// somebody else is to sign.
fn join_tokens_and_encryption(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "
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
        ",
    )
}
