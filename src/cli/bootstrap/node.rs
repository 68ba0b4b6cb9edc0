//! What a directory remembers so that its credentials can be renewed without an operator: where the server is, and who.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{BootstrapError, file};

/// The file's name.
const FILE: &str = "node.json";

/// How the credentials in a directory are renewed. Nothing of it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// `HOST:PORT` of the xDS server.
    pub xds_address: String,
    /// The SPIFFE ID that it must show.
    pub server_identity: String,
}

impl Node {
    /// Reads what `countersign bootstrap` has written into `directory`.
    pub fn read(directory: &Path) -> Result<Self, BootstrapError> {
        let path = directory.join(FILE);
        let text =
            std::fs::read(&path).map_err(|source| BootstrapError::NotBootstrapped { path: path.clone(), source })?;
        serde_json::from_slice(&text).map_err(|source| BootstrapError::NotBootstrapped { path, source: source.into() })
    }

    pub(super) fn write(&self, directory: &Path) -> Result<(), BootstrapError> {
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        file::replace_if_changed(&directory.join(FILE), &(text + "\n")).map(drop)
    }
}
