//! The names a peer's certificate must carry. A list of them is never empty, so no TLS context can be built without one.

use std::net::IpAddr;

use serde::Serialize;

/// One subject alternative name to look for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum San {
    /// A DNS name, exactly (RFC 6125: a wildcard in the certificate covers it).
    Dns(String),
    /// An IP address, exactly.
    Ip(IpAddr),
    /// A URI, exactly: a SPIFFE ID.
    Uri(String),
    /// The beginning of a URI: a trust domain, or a namespace of it. Ends in `/`, so that `spiffe://a` is not `spiffe://ab`.
    UriPrefix(String),
}

impl San {
    /// Reads a name as operators write it in `subjectAltNames`: with a scheme it is a URI, an address is an address, and
    /// all else is a DNS name.
    pub fn parse(text: &str) -> Self {
        if text.contains("://") {
            return Self::Uri(text.to_owned());
        }
        match text.parse() {
            Ok(ip) => Self::Ip(ip),
            Err(_) => Self::Dns(text.to_owned()),
        }
    }
}

/// Names of which the peer must carry at least one. Sorted, without duplicates, and never empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PeerNames(Vec<San>);

impl PeerNames {
    /// Exactly this name.
    pub fn only(san: San) -> Self {
        Self(vec![san])
    }

    /// All of `names`; `None` when there are none.
    pub fn any_of(names: impl IntoIterator<Item = San>) -> Option<Self> {
        let mut names: Vec<San> = names.into_iter().collect();
        names.sort();
        names.dedup();
        (!names.is_empty()).then_some(Self(names))
    }

    /// This name and the others.
    pub fn with(first: San, rest: impl IntoIterator<Item = San>) -> Self {
        let mut names = vec![first];
        names.extend(rest);
        names.sort();
        names.dedup();
        Self(names)
    }

    /// The names, in order. There is at least one.
    pub fn iter(&self) -> impl Iterator<Item = &San> {
        self.0.iter()
    }
}
