//! The certificate hierarchy: root → intermediate of this cluster → workload certificates, and where they are kept.
//!
//! [`Trust`] is the whole of it for the server. Time comes in as an argument everywhere, so that a test can live through years;
//! what is handed out has been written to the [`Store`] before, so that a crash at any point loses nothing that anybody has seen.
//! The functions block (they sign, and wait for the disk): call them off the async threads.

pub mod tls;

#[cfg(fuzzing)]
pub mod fuzzing;

mod authority;
mod brought;
mod bundle;
mod certificate;
mod certificates;
mod change;
mod crl;
mod csr;
mod error;
mod exchange;
mod federation;
mod following;
mod grace;
mod hierarchy;
mod issuance;
mod key;
mod leaf;
mod leaf_names;
mod orders;
mod revocation;
mod seen;
mod serial;
mod store;
mod template;
mod tokens;
mod upstream;

use std::time::Duration;

pub use authority::AuthorityInfo;
pub use brought::{Brought, import_authority, request_authority};
pub use bundle::{Root, TrustBundle};
pub(crate) use certificate::pem_block;
pub use certificate::{IssuedChain, WorkloadCertificate};
pub use change::{Maintained, Roots};
pub use csr::CsrError;
pub use error::TrustError;
pub use exchange::BundleError;
pub use federation::{FederatedBundle, Federation, PublishedBundle};
pub use following::{Relation, last_of};
pub use issuance::{Requested, Trust};
pub use key::KeyAlgorithm;
pub use leaf_names::LeafNames;
pub use revocation::Revoke;
pub use serial::{Serial, SerialError};
pub use store::{
    AuthorityKind, AuthorityRecord, AuthorityState, CertificateRecord, Change, Contents, CrlRecord, FederatedRecord,
    IssuedRecord, JoinTokenRecord, KEY_VARIABLE, KeyEncryptionKey, RevocationRecord, RotationRecord, RotationStep,
    SealError, SqliteStore, Standing, Store, StoreError, WorkloadRecord, backup, restore,
};
pub use upstream::{Keys, Upstream};

use crate::identity::{SpiffeId, TrustDomain};

/// What the hierarchy is to look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The trust domain of every identity issued here.
    pub trust_domain: TrustDomain,
    /// The cluster whose intermediate signs. Several clusters may share a root.
    pub cluster: String,
    /// Lifetime of the root.
    pub root_ttl: Duration,
    /// Lifetime of an intermediate. It never outlives the root.
    pub intermediate_ttl: Duration,
    /// An intermediate's successor is made this long before it ends, or at half of its life if that is later.
    pub intermediate_prepare: Duration,
    /// The successor signs from this long before the end on, or from the last sixth of its life if that is later.
    pub intermediate_activate: Duration,
    /// Lifetime of a workload certificate. It never outlives the intermediate.
    pub workload_ttl: Duration,
    /// The keys of new authorities.
    pub authority_key: KeyAlgorithm,
    /// What new authorities are called; by default after the trust domain and the cluster.
    pub authority_name: Option<AuthorityName>,
    /// The keys of workload certificates.
    pub workload_key: KeyAlgorithm,
    /// How far `notBefore` is set back, for peers whose clocks are behind.
    pub clock_skew: Duration,
    /// How long after its end a certificate may be renewed. For so long it can be revoked, too.
    pub renewal_grace: Duration,
    /// Whether proxies are given revocation lists.
    pub lists: Lists,
}

/// The name of an authority (RFC 5280 §4.1.2.6). A serial number is added to it, so that no two are called the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorityName {
    /// Countries, by their two letters.
    pub country: Vec<String>,
    /// Organizations.
    pub organization: Vec<String>,
    /// The common name.
    pub common_name: String,
}

/// Whether proxies are given revocation lists. Who has one list demands one of every issuer that it meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lists {
    /// While something is revoked, and all roots have their key here, so that every intermediate below them is known here.
    #[default]
    Auto,
    /// While something is revoked: no other intermediate is below the roots, even if a root's key is elsewhere.
    Always,
    /// Never. What is revoked is refused here; between proxies it is good until it ends.
    Never,
}

impl std::str::FromStr for Lists {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            other => Err(format!("`{other}` is none of `auto`, `always` and `never`")),
        }
    }
}

/// The identity of the server itself, which the xDS clients of the trust domain expect.
pub fn server_identity(trust_domain: &TrustDomain) -> SpiffeId {
    SpiffeId::workload(trust_domain, "countersign", "countersign").expect("both names are fixed and valid")
}

#[cfg(test)]
mod tests;
