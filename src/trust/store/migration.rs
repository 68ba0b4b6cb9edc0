//! The formats of the store: the first, and the steps from each to the next. A new file is made in the first format and takes every step,
//! so that an old file and a new one are alike.

use rusqlite::{Connection, Transaction, params};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::super::certificate;
use super::IssuedRecord;
use super::rows::nanoseconds;

/// The format that is written.
pub(super) const VERSION: i64 = 1 + STEPS.len() as i64;

type Step = fn(&Transaction<'_>) -> rusqlite::Result<()>;

/// What turns format `n + 1` into `n + 2`. Append only: files of every format are out there.
const STEPS: &[Step] = &[several_authorities, join_tokens_and_encryption, revocations, federation, certificates];

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

/// 1 to 2: authorities that are prepared, active or retired, roots that are trusted or not, and the rotation between them. In format 1 the
/// newest of each kind signed.
fn several_authorities(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "
        ALTER TABLE authority ADD COLUMN serial TEXT NOT NULL DEFAULT '';
        ALTER TABLE authority ADD COLUMN state TEXT NOT NULL DEFAULT 'retired'
            CHECK (state IN ('prepared', 'active', 'retired'));
        ALTER TABLE authority ADD COLUMN trusted INTEGER NOT NULL DEFAULT 0 CHECK (trusted IN (0, 1));
        ALTER TABLE authority ADD COLUMN issued_until INTEGER NOT NULL DEFAULT 0;
        UPDATE authority SET state = 'active' WHERE id IN (SELECT max(id) FROM authority GROUP BY kind);
        UPDATE authority SET trusted = 1 WHERE kind = 'root' AND state = 'active';
        CREATE TABLE rotation (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            old TEXT NOT NULL,
            new TEXT NOT NULL,
            step TEXT NOT NULL,
            paused INTEGER NOT NULL CHECK (paused IN (0, 1)),
            force INTEGER NOT NULL CHECK (force IN (0, 1)),
            started_at INTEGER NOT NULL,
            step_at INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE seen (
            workload TEXT PRIMARY KEY,
            at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        INSERT INTO seen (workload, at) SELECT workload, issued_at FROM workload;
        ",
    )?;
    let mut authorities = transaction.prepare("SELECT id, certificate FROM authority")?;
    let authorities = authorities
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<(i64, Vec<u8>)>>>()?;
    for (id, der) in authorities {
        let unreadable =
            |error| rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Blob, Box::new(error));
        let facts = certificate::read(&CertificateDer::from(der)).map_err(unreadable)?;
        // Nobody has counted what was signed; nothing outlives its signer.
        transaction.execute(
            "UPDATE authority SET serial = ?2, issued_until = ?3 WHERE id = ?1",
            params![id, facts.serial.to_string(), nanoseconds(facts.not_after)],
        )?;
    }
    transaction.execute("CREATE UNIQUE INDEX authority_serial ON authority (serial)", [])?;
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

/// 3 to 4: what was issued, so that it can be revoked by its identity, what was, and the lists that say so. Of what was issued before, only
/// the certificates that are kept with their key are known.
fn revocations(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "
        CREATE TABLE issued (
            serial TEXT PRIMARY KEY,
            issuer TEXT NOT NULL,
            identity TEXT NOT NULL,
            not_after INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX issued_identity ON issued (identity);
        CREATE INDEX issued_not_after ON issued (not_after);
        CREATE TABLE revocation (
            serial TEXT PRIMARY KEY,
            issuer TEXT NOT NULL,
            identity TEXT NOT NULL,
            not_after INTEGER NOT NULL,
            revoked_at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE crl (
            issuer TEXT PRIMARY KEY,
            number INTEGER NOT NULL,
            der BLOB NOT NULL
        ) STRICT, WITHOUT ROWID;
        ",
    )?;
    let mut chains = transaction.prepare("SELECT chain FROM workload")?;
    let chains = chains.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    let unreadable = |error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error)
    };
    for chain in chains {
        let issued = issued(&chain).map_err(unreadable)?;
        super::revocation::note(transaction, &[issued])?;
    }
    Ok(())
}

/// 4 to 5: the bundles of other trust domains, and the number of our own; whether what was in the clear is gone without a trace.
fn federation(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "
        CREATE TABLE federated_bundle (
            trust_domain TEXT PRIMARY KEY,
            roots BLOB NOT NULL,
            sequence INTEGER,
            refresh_hint INTEGER,
            imported_at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        ALTER TABLE mesh ADD COLUMN bundle_sequence INTEGER NOT NULL DEFAULT 1;
        ALTER TABLE encryption ADD COLUMN clean INTEGER NOT NULL DEFAULT 0 CHECK (clean IN (0, 1));
        ",
    )
}

/// 5 to 6: Certificates of operators' own authorities.
fn certificates(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "
        CREATE TABLE certificate (
            certificate TEXT PRIMARY KEY,
            state TEXT NOT NULL,
            chain BLOB NOT NULL,
            ca BLOB NOT NULL,
            key BLOB NOT NULL
        ) STRICT, WITHOUT ROWID;
        ",
    )
}

fn issued(chain: &str) -> Result<IssuedRecord, Box<dyn std::error::Error + Send + Sync>> {
    let mut certificates = CertificateDer::pem_slice_iter(chain.as_bytes());
    let leaf = certificate::read(&certificates.next().ok_or("a chain is empty")??)?;
    let issuer = certificate::read(&certificates.next().ok_or("a chain lacks its issuer")??)?.serial;
    let identity = leaf.id.ok_or("a workload's certificate has no identity")?.to_string();
    Ok(IssuedRecord { serial: leaf.serial, issuer, identity, not_after: leaf.not_after })
}
