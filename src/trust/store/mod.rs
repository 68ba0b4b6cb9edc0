//! Where the hierarchy is kept. The embedded default is SQLite; the trait is what a store shared between replicas will implement.

mod error;
mod sqlite;

use std::fmt;

use time::OffsetDateTime;
use zeroize::Zeroizing;

pub use error::StoreError;
pub use sqlite::SqliteStore;

use crate::identity::TrustDomain;

/// A durable store. When a function that writes returns `Ok`, what it wrote survives a crash of the process and of the machine; when
/// it returns an error, nothing of it was written.
pub trait Store: Send + Sync + fmt::Debug {
    /// Everything that is kept.
    fn load(&self) -> Result<Contents, StoreError>;

    /// Founds a mesh: its trust domain and first authorities. An error if there is one already.
    fn found(&self, trust_domain: &TrustDomain, authorities: &[AuthorityRecord]) -> Result<(), StoreError>;

    /// Keeps one more authority.
    fn add_authority(&self, authority: &AuthorityRecord) -> Result<(), StoreError>;

    /// Keeps these certificates, each in place of an older one of the same workload: all or none.
    fn save_workloads(&self, workloads: &[WorkloadRecord]) -> Result<(), StoreError>;

    /// Forgets workload certificates that have expired at `now`. How many there were.
    fn forget_expired(&self, now: OffsetDateTime) -> Result<usize, StoreError>;
}

/// Everything that is kept.
#[derive(Debug, Default)]
pub struct Contents {
    /// `None`: nothing was founded yet.
    pub trust_domain: Option<TrustDomain>,
    /// Authorities, the oldest first.
    pub authorities: Vec<AuthorityRecord>,
    /// The newest certificate of each workload.
    pub workloads: Vec<WorkloadRecord>,
}

/// What an authority signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorityKind {
    /// Intermediates, and itself.
    Root,
    /// Workload certificates.
    Intermediate,
}

/// An authority as it is kept. `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorityRecord {
    /// What it signs.
    pub kind: AuthorityKind,
    /// The cluster it was made for.
    pub cluster: String,
    /// The certificate in DER.
    pub certificate: Vec<u8>,
    /// The key: PKCS #8 in DER.
    pub key: Zeroizing<Vec<u8>>,
    /// When it was made.
    pub created_at: OffsetDateTime,
}

impl fmt::Debug for AuthorityRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, cluster, created_at, .. } = self;
        write!(f, "AuthorityRecord({kind:?} of {cluster}, {created_at})")
    }
}

/// A workload's certificate as it is kept. `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct WorkloadRecord {
    /// `namespace/name`.
    pub workload: String,
    /// Leaf, then intermediate, as PEM.
    pub chain_pem: String,
    /// The key: PKCS #8 as PEM.
    pub key_pem: Zeroizing<String>,
    /// When it was issued.
    pub issued_at: OffsetDateTime,
    /// When it is to be replaced.
    pub renew_at: OffsetDateTime,
    /// Its last second.
    pub not_after: OffsetDateTime,
}

impl fmt::Debug for WorkloadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workload, issued_at, .. } = self;
        write!(f, "WorkloadRecord({workload}, {issued_at})")
    }
}
