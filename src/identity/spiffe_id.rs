//! SPIFFE IDs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{TrustDomain, TrustDomainError};

const SCHEME: &str = "spiffe://";
/// SPIFFE ID §2.3.
const MAX_LENGTH: usize = 2048;

/// `spiffe://<trust domain>/<path>`: the identity of a workload (SPIFFE ID §2). It always has a path: the identity of a trust domain
/// alone is no workload's. Cheap to clone; two are equal when their texts are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    uri: Arc<str>,
    trust_domain: TrustDomain,
}

/// Why a text is not a workload's SPIFFE ID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeIdError {
    /// Another scheme, or none; the scheme is lower case.
    #[error("a SPIFFE ID starts with {SCHEME}")]
    Scheme,
    /// The name of the trust domain.
    #[error("{0}")]
    TrustDomain(#[from] TrustDomainError),
    /// Nothing after the trust domain.
    #[error("a workload's SPIFFE ID has a path, as in {SCHEME}cluster.local/ns/default/sa/default")]
    NoPath,
    /// An empty segment: `//`, or a `/` at the end.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// `.` or `..`.
    #[error("the path has the relative segment {0:?}")]
    Relative(String),
    /// A character that no segment has. Percent escapes are none either.
    #[error("{0:?} is not allowed in the path: use letters, digits, '.', '-' and '_'")]
    Character(char),
    /// It is longer than 2048 bytes.
    #[error("a SPIFFE ID has at most {MAX_LENGTH} bytes")]
    TooLong,
}

impl SpiffeId {
    /// The identity of a service account, as Istio writes it: `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
    pub fn workload(trust_domain: &TrustDomain, namespace: &str, service_account: &str) -> Result<Self, SpiffeIdError> {
        for segment in [namespace, service_account] {
            check_segment(segment)?;
        }
        format!("{SCHEME}{trust_domain}/ns/{namespace}/sa/{service_account}").parse()
    }

    /// The whole of it.
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// Whose it is.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The path, with its leading `/`.
    pub fn path(&self) -> &str {
        &self.uri[SCHEME.len() + self.trust_domain.as_str().len()..]
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_LENGTH {
            return Err(SpiffeIdError::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeIdError::Scheme)?;
        let (domain, path) = match rest.split_once('/') {
            Some((domain, path)) => (domain.parse()?, path),
            None => return Err(rest.parse::<TrustDomain>().map_or_else(Into::into, |_| SpiffeIdError::NoPath)),
        };
        path.split('/').try_for_each(check_segment)?;
        Ok(Self { uri: text.into(), trust_domain: domain })
    }
}

fn check_segment(segment: &str) -> Result<(), SpiffeIdError> {
    let is_allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match segment {
        "" => Err(SpiffeIdError::EmptySegment),
        "." | ".." => Err(SpiffeIdError::Relative(segment.to_owned())),
        _ => segment.chars().find(|c| !is_allowed(c)).map_or(Ok(()), |bad| Err(SpiffeIdError::Character(bad))),
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}
