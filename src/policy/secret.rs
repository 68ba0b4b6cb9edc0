//! `v1` `Secret` and `Namespace`.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use super::Located;
use super::fields::Entries;
use super::report::Report;

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

/// A Secret's own fields. The values are borrowed from the parsed file, so no copy of them is left behind.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "Kubernetes' fields that are only known")]
pub(super) struct RawSecret<'n> {
    api_version: Option<IgnoredAny>,
    kind: Option<IgnoredAny>,
    metadata: Option<IgnoredAny>,
    r#type: Option<String>,
    #[serde(borrow, default)]
    data: Entries<Located<&'n str>>,
    #[serde(borrow, default)]
    string_data: Entries<Located<&'n str>>,
    immutable: Option<IgnoredAny>,
}

/// A Namespace's own fields, none of which the mesh reads.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "Kubernetes' fields that are only known")]
pub(super) struct RawNamespace {
    api_version: Option<IgnoredAny>,
    kind: Option<IgnoredAny>,
    metadata: Option<IgnoredAny>,
    spec: Option<IgnoredAny>,
    status: Option<IgnoredAny>,
}

/// Decodes a Secret's values. Errors name the key, and say nothing of the value.
pub(super) fn check(raw: RawSecret<'_>, report: &Report) -> Secret {
    let mut data = BTreeMap::new();
    for (key, value) in raw.data.0 {
        let field = format!("data[{:?}]", key.value);
        // As in Go's decoder, which Kubernetes uses, line breaks within the base64 text are allowed.
        let text: Zeroizing<String> =
            Zeroizing::new(value.value.chars().filter(|c| !matches!(c, '\r' | '\n')).collect());
        match STANDARD.decode(text.as_bytes()) {
            Ok(bytes) => {
                data.insert(key.value, Zeroizing::new(bytes));
            }
            Err(_) if text.starts_with('<') && text.ends_with('>') => {
                let help = "this is a placeholder: put the output of `base64 -w0 FILE` in its place";
                report.error_with_help(&value.at, &field, "not base64", help);
            }
            Err(_) => {
                let help = "encode the value with `base64 -w0`, or put it in stringData as it is";
                report.error_with_help(&value.at, &field, "not base64", help);
            }
        }
    }
    for (key, value) in raw.string_data.0 {
        data.insert(key.value, Zeroizing::new(value.value.as_bytes().to_vec()));
    }
    Secret { kind: raw.r#type.unwrap_or_else(|| "Opaque".to_owned()), data }
}
