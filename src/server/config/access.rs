//! Who is let in by other means than a client certificate, and who is an operator.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de::Error};

use crate::identity::{SpiffeId, TokenHash, UnixUser};

/// A bearer token, by its hash, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Token {
    /// The token's SHA-256.
    #[serde(deserialize_with = "hash")]
    pub sha256: TokenHash,
    /// Who has it.
    #[serde(deserialize_with = "spiffe_id")]
    pub identity: SpiffeId,
}

/// The Unix socket that Envoys on this machine connect to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Unix {
    /// The socket; `None` for no such listener.
    #[serde(deserialize_with = "path")]
    pub path: Option<PathBuf>,
    /// The socket's permission bits: who may connect at all.
    #[serde(deserialize_with = "mode")]
    pub mode: u32,
    /// Who is who, in order.
    pub identities: Vec<UnixIdentity>,
}

/// Processes of this user are this identity.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnixIdentity {
    /// The user id.
    pub uid: u32,
    /// The group id, if it matters.
    #[serde(default)]
    pub gid: Option<u32>,
    /// Who that is.
    #[serde(deserialize_with = "spiffe_id")]
    pub identity: SpiffeId,
}

impl Default for Unix {
    fn default() -> Self {
        Self { path: None, mode: 0o600, identities: Vec::new() }
    }
}

impl From<&UnixIdentity> for UnixUser {
    fn from(entry: &UnixIdentity) -> Self {
        Self { uid: entry.uid, gid: entry.gid, identity: entry.identity.clone() }
    }
}

fn hash<'de, D: Deserializer<'de>>(d: D) -> Result<TokenHash, D::Error> {
    // The text is not repeated: who put the token itself here by mistake is not to find it in the log as well.
    String::deserialize(d)?.parse().map_err(D::Error::custom)
}

fn spiffe_id<'de, D: Deserializer<'de>>(d: D) -> Result<SpiffeId, D::Error> {
    parse_id(&String::deserialize(d)?).map_err(D::Error::custom)
}

pub(super) fn spiffe_ids<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<SpiffeId>, D::Error> {
    let texts = Vec::<String>::deserialize(d)?;
    texts.iter().map(|text| parse_id(text)).collect::<Result<_, _>>().map_err(D::Error::custom)
}

fn parse_id(text: &str) -> Result<SpiffeId, String> {
    text.parse().map_err(|error| format!("`{text}` is not a workload's SPIFFE ID: {error}"))
}

fn path<'de, D: Deserializer<'de>>(d: D) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(d)?;
    Ok((!text.is_empty()).then(|| text.into()))
}

fn mode<'de, D: Deserializer<'de>>(d: D) -> Result<u32, D::Error> {
    let text = String::deserialize(d)?;
    match u32::from_str_radix(&text, 8) {
        Ok(mode @ (0o600 | 0o660)) => Ok(mode),
        _ => Err(D::Error::custom(format!(
            "`{text}` is not a mode of this socket: \"0600\" for the server's own user, \"0660\" for its group too"
        ))),
    }
}
