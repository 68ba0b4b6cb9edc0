//! Where the mesh's root comes from.

use serde::{Deserialize, Deserializer};

/// The mesh's own authorities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Authorities {
    /// The ClusterIssuer whose authority is the root; `None`: one that is made here.
    #[serde(deserialize_with = "issuer")]
    pub issuer: Option<String>,
}

/// `ClusterIssuer/NAME`.
fn issuer<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    let Some(text) = Option::<String>::deserialize(d)? else { return Ok(None) };
    let name = text.strip_prefix("ClusterIssuer/");
    let legal = |name: &&str| {
        (1..=253).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte))
    };
    let name = name.filter(legal).ok_or_else(|| {
        serde::de::Error::custom(format!("`{}` is not ClusterIssuer/NAME", text.chars().take(80).collect::<String>()))
    })?;
    Ok(Some(name.to_owned()))
}
