//! Why a certificate is not issued.

use time::OffsetDateTime;

/// Why an issuer cannot sign, in cert-manager's words. It waits until somebody changes that; no key byte is in the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// There is no such issuer.
    #[error("{kind} {name} not found")]
    NotFound {
        /// `Issuer` or `ClusterIssuer`.
        kind: &'static str,
        /// Its name; an Issuer's with its namespace.
        name: String,
    },
    /// Its Secret is not there.
    #[error("secret {0} not found")]
    NoSecret(String),
    /// Its Secret is not an authority's.
    #[error("secret {secret}: {reason}")]
    Unusable {
        /// `namespace/name`.
        secret: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Its Secret comes, directly or not, from what it would sign.
    #[error("secret {0} is issued by way of this Certificate itself: no authority can begin like that")]
    Circle(String),
}

/// Why signing has failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// What the authority signs ends with it.
    #[error("the authority ends at {0}: what it signs now would end before it could be renewed")]
    AuthorityEnds(OffsetDateTime),
    /// `rotationPolicy: Never`, and a key that the spec does not ask for.
    #[error(
        "the existing key does not match spec.privateKey, and rotationPolicy is Never: set it to Always, or put a key that matches into the Secret"
    )]
    CannotRegenerateKey,
    /// What the libraries say.
    #[error("{0}")]
    Crypto(String),
}

impl SigningError {
    pub(super) fn crypto(error: impl std::fmt::Display) -> Self {
        Self::Crypto(error.to_string())
    }
}
