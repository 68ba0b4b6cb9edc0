//! The name of a trust domain.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// SPIFFE ID §2.1 limits the name to that of a DNS name.
const MAX_LENGTH: usize = 255;

/// A trust domain's name: lower-case letters, digits, `.`, `-` and `_`, at most 255 bytes (SPIFFE ID §2.1). Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

/// Why a text is not the name of a trust domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustDomainError {
    /// There is none.
    #[error("a trust domain has a name, such as cluster.local")]
    Empty,
    /// It is longer than 255 bytes.
    #[error("a trust domain's name has at most {MAX_LENGTH} bytes")]
    TooLong,
    /// A character that no name has.
    #[error("{0:?} is not allowed in a trust domain: use lower-case letters, digits, '.', '-' and '_'")]
    Character(char),
}

impl TrustDomain {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `spiffe://<name>`: the identity of the domain itself, which its authorities carry.
    pub fn uri(&self) -> String {
        format!("spiffe://{self}")
    }
}

impl FromStr for TrustDomain {
    type Err = TrustDomainError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_allowed = |c: &char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_');
        match text.chars().find(|c| !is_allowed(c)) {
            Some(bad) => Err(TrustDomainError::Character(bad)),
            None if text.is_empty() => Err(TrustDomainError::Empty),
            None if text.len() > MAX_LENGTH => Err(TrustDomainError::TooLong),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
