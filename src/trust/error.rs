//! What can go wrong.

use time::OffsetDateTime;

use super::{BundleError, CsrError, StoreError};
use crate::identity::TrustDomain;

/// Why nothing was issued, or why the hierarchy cannot be used. Holds no key material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The root is the upstream authority's, and is replaced there.
    #[error(
        "the root is the upstream authority's: put another certificate and key into its files, and it is replaced in steps"
    )]
    UpstreamRoot,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The certificate request.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// The store is another mesh's.
    #[error(
        "the store holds the authorities of trust domain {stored}, and the configuration says {configured}: a mesh cannot change its \
         trust domain in place. Configure {stored}, or start with an empty data directory"
    )]
    TrustDomain {
        /// What the store was made for.
        stored: TrustDomain,
        /// What the configuration says.
        configured: TrustDomain,
    },
    /// What would sign has expired.
    #[error("{subject} has expired at {at}, so nothing can be signed with it")]
    SignerExpired {
        /// The authority's name.
        subject: String,
        /// When it ended.
        at: OffsetDateTime,
    },
    /// The identity is not this trust domain's.
    #[error("{id} is not of trust domain {trust_domain}, and only that one's identities are issued here")]
    ForeignIdentity {
        /// What was asked for.
        id: String,
        /// What is issued here.
        trust_domain: TrustDomain,
    },
    /// The bundle of another trust domain, or our own, cannot be taken in or written.
    #[error("the trust bundle of {trust_domain} is refused: {reason}")]
    Bundle {
        /// Whose bundle.
        trust_domain: TrustDomain,
        /// Why.
        reason: BundleError,
    },
    /// A certificate or key of ours does not fit or cannot be read.
    #[error("{what} cannot be used: {reason}")]
    Material {
        /// Which.
        what: String,
        /// Why.
        reason: String,
    },
    /// The join token is unknown, used or expired. Which of these, nobody is told who has not made it.
    #[error("the join token is not valid: it is unknown, was used before, or has expired; ask for a new one")]
    JoinToken,
    /// The join token is good, and was made for another workload. It is not spent.
    #[error("the join token is for {made_for}, and not for {wanted}; it is not spent")]
    JoinTokenWorkload {
        /// The workload it was made for.
        made_for: String,
        /// The workload that the node wants to be.
        wanted: String,
    },
    /// Nothing to revoke.
    #[error(
        "no certificate {0} is valid, as far as is known here: a serial number is as `countersign secrets` shows it, an identity is a \
         SPIFFE ID"
    )]
    NotIssued(String),
    /// The certificate by which another one was asked for.
    #[error("the certificate that was shown is revoked, so nothing is issued for it")]
    Revoked,
    /// The key of an authority is not here.
    #[error(
        "the key of {subject} is kept elsewhere, so nothing can be signed with it: have an intermediate signed there (`countersign ca csr`, \
         then `countersign ca import`)"
    )]
    KeyElsewhere {
        /// The authority's name.
        subject: String,
    },
    /// A lifetime beyond what a certificate can say.
    #[error("the lifetime of {0} ends after the year 9999")]
    Lifetime(&'static str),
}

impl TrustError {
    pub(crate) fn material(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Material { what: what.into(), reason: reason.to_string() }
    }
}
