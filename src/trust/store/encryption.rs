//! Encryption at rest: turned on once, and proven with each start.

use rusqlite::{OptionalExtension, params};

use super::StoreError;
use super::connection::explain;
use super::rows::authority_row;
use super::seal::{KeyEncryptionKey, Sealer};
use super::sqlite::SqliteStore;

/// What the value is bound to by which a key-encryption key is known.
const PROOF: [&[u8]; 1] = [b"proof"];

impl SqliteStore {
    /// Refuses a wrong key, and none where there was one. Turns encryption on where there was none, and finishes that where a crash has
    /// come between.
    pub(super) fn prove_key(&self) -> Result<(), StoreError> {
        let select = "SELECT proof, clean FROM encryption";
        let proof =
            self.connection().query_row(select, [], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?))).optional();
        match (proof.map_err(|error| explain("read", &self.path, error))?, &self.sealer.0) {
            (None, None) => Ok(()),
            (Some(_), None) => Err(StoreError::Encrypted { path: self.path.clone() }),
            (Some((proof, clean)), Some(key)) => {
                key.open(&PROOF, &proof).map_err(|error| self.sealed(error))?;
                if clean { Ok(()) } else { self.clean() }
            }
            (None, Some(key)) => {
                self.encrypt(key)?;
                self.clean()
            }
        }
    }

    /// Encrypts everything that is in the clear, in one transaction.
    fn encrypt(&self, key: &KeyEncryptionKey) -> Result<(), StoreError> {
        let clear = Sealer::default();
        let connection = self.connection();
        let authorities = self.authorities(&connection, &clear)?;
        let workloads = self.workloads(&connection, &clear)?;
        let requests = self.requests(&connection, &clear)?;
        let certificates = self.certificate_records(&connection, &clear)?;
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
            for certificate in &certificates {
                self.save_certificate(transaction, certificate)?;
            }
            let proof = key.seal(&PROOF, b"countersign");
            transaction.execute("INSERT INTO encryption (one, proof, clean) VALUES (1, ?1, 0)", [proof])?;
            Ok(())
        })
    }

    /// Leaves no copy of what was in the clear in free pages or in the log, and remembers that it did: until then each start tries.
    fn clean(&self) -> Result<(), StoreError> {
        let connection = self.connection();
        let clean = || -> rusqlite::Result<()> {
            connection.execute_batch("VACUUM")?;
            // The first column: somebody reads the log, so it could not be cut off.
            let busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
            connection.execute("UPDATE encryption SET clean = ?1", [!busy])?;
            Ok(())
        };
        clean().map_err(|error| explain("clean", &self.path, error))
    }
}
