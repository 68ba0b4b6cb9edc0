//! Authorities from elsewhere: their files, and the way into the data directory of a server that does not run.

use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::config::Config;
use super::lock::DataDirLock;
use super::{STORE, ServerError, key_encryption_key, trust_settings};
use crate::admin;
use crate::trust::{self, AuthorityInfo, Brought, SqliteStore, TrustError};

/// The files of an authority, in PEM.
#[derive(Clone, Debug)]
pub struct AuthorityFiles {
    /// The authority first. Several files are read as one.
    pub chain: Vec<PathBuf>,
    /// The root.
    pub root: PathBuf,
    /// The key; `None` if it was made by [`authority_request`].
    pub key: Option<PathBuf>,
}

/// What the files hold. `Debug` shows no key.
pub struct AuthorityTexts {
    /// The chain, PEM.
    pub chain: String,
    /// The root, PEM.
    pub root: String,
    /// The key, PEM.
    pub key: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for AuthorityTexts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthorityTexts").finish_non_exhaustive()
    }
}

impl AuthorityFiles {
    /// Reads all of them.
    pub fn read(&self) -> Result<AuthorityTexts, ServerError> {
        let chain = self.chain.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
        let chain = chain.iter().map(|text| text.trim()).collect::<Vec<_>>().join("\n");
        let root = read(&self.root)?.to_string();
        Ok(AuthorityTexts { chain, root, key: self.key.as_deref().map(read).transpose()? })
    }

    /// The four files that Istio calls `cacerts`.
    pub fn cacerts(directory: &Path) -> Self {
        Self {
            chain: vec![directory.join("ca-cert.pem"), directory.join("cert-chain.pem")],
            root: directory.join("root-cert.pem"),
            key: Some(directory.join("ca-key.pem")),
        }
    }
}

/// Makes a key for an intermediate, keeps it in the data directory, and returns the request for its certificate in PEM.
pub fn authority_request(config: &Config) -> Result<String, ServerError> {
    let (_lock, store) = open(config)?;
    Ok(trust::request_authority(&store, &trust_settings(config), OffsetDateTime::now_utc())?)
}

/// Takes an authority into the data directory.
pub fn import_authority(config: &Config, brought: &AuthorityTexts) -> Result<AuthorityInfo, ServerError> {
    let AuthorityTexts { chain, root, key } = brought;
    let (_lock, store) = open(config)?;
    let brought = Brought { chain, root, key: key.as_ref().map(|key| key.as_str()) };
    Ok(trust::import_authority(&store, &trust_settings(config), brought, OffsetDateTime::now_utc())?)
}

fn open(config: &Config) -> Result<(DataDirLock, SqliteStore), ServerError> {
    admin::prepare_data_dir(&config.data_dir)?;
    let lock = DataDirLock::take(&config.data_dir)?;
    let store = SqliteStore::open_sealed(&config.store_file(STORE), key_encryption_key(config)?);
    Ok((lock, store.map_err(TrustError::from)?))
}

fn read(path: &Path) -> Result<Zeroizing<String>, ServerError> {
    let read = std::fs::read_to_string(path).map(Zeroizing::new);
    read.map_err(|source| ServerError::Read { path: path.to_owned(), source })
}
