//! `v1` `Secret` and `Namespace`.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

/// A `v1` `Secret`: `data` decoded from base64, `stringData` merged over it. `Debug` names the keys and never the values.
#[derive(Clone)]
pub struct Secret {
    /// `type`, such as `kubernetes.io/tls`; `Opaque` when absent.
    pub kind: String,
    /// The decoded values.
    pub data: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("kind", &self.kind).field("keys", &self.data.keys().collect::<Vec<_>>()).finish()
    }
}

/// A `v1` `Namespace`: its labels and annotations are in the metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespace;
