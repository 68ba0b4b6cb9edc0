//! Certificates of operators' own authorities, as their controller keeps them, in SQLite.

use std::fmt;

use rusqlite::{Connection, Transaction, params};
use zeroize::Zeroizing;

use super::StoreError;
use super::connection::explain;
use super::seal::Sealer;
use super::sqlite::SqliteStore;

/// A Certificate and the Secret that was made for it. `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateRecord {
    /// `namespace/name` of the Certificate.
    pub certificate: String,
    /// What its controller remembers of it, as text. No secret is in it.
    pub state: String,
    /// The certificate and what is above it, as PEM; empty if nothing was issued yet.
    pub chain_pem: Vec<u8>,
    /// The authority, as PEM.
    pub ca_pem: Vec<u8>,
    /// The key, as PEM.
    pub key_pem: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for CertificateRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateRecord({})", self.certificate)
    }
}

/// What a key is bound to: it is of no use beside another certificate.
fn row<'a>(certificate: &'a str, chain: &'a [u8]) -> [&'a [u8]; 3] {
    [b"certificate", certificate.as_bytes(), chain]
}

impl SqliteStore {
    pub(super) fn certificate_records(
        &self,
        connection: &Connection,
        sealer: &Sealer,
    ) -> Result<Vec<CertificateRecord>, StoreError> {
        let read = || -> rusqlite::Result<Vec<(CertificateRecord, Vec<u8>)>> {
            let mut select = connection.prepare("SELECT certificate, state, chain, ca, key FROM certificate")?;
            let record = |row: &rusqlite::Row<'_>| {
                let (certificate, state, chain_pem, ca_pem) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
                let key_pem = Zeroizing::default();
                Ok((CertificateRecord { certificate, state, chain_pem, ca_pem, key_pem }, row.get(4)?))
            };
            select.query_map([], record)?.collect()
        };
        let records = read().map_err(|error| explain("read", &self.path, error))?;
        let open = |(record, key): (CertificateRecord, Vec<u8>)| {
            let key_pem = sealer.read(&row(&record.certificate, &record.chain_pem), key);
            Ok(CertificateRecord { key_pem: key_pem.map_err(|error| self.sealed(error))?, ..record })
        };
        records.into_iter().map(open).collect()
    }

    pub(super) fn save_certificate(
        &self,
        transaction: &Transaction<'_>,
        it: &CertificateRecord,
    ) -> rusqlite::Result<()> {
        let key = self.sealer.write(&row(&it.certificate, &it.chain_pem), &it.key_pem);
        let mut save = transaction.prepare_cached(
            "INSERT OR REPLACE INTO certificate (certificate, state, chain, ca, key) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        save.execute(params![it.certificate, it.state, it.chain_pem, it.ca_pem, key.as_slice()]).map(drop)
    }
}
