//! Where the hierarchy is kept. The embedded default is SQLite; the trait is what a store shared between replicas will implement.

mod backup;
mod certificates;
mod connection;
mod encryption;
mod error;
mod federation;
mod migration;
mod revocation;
mod rotation;
mod rows;
mod seal;
mod sqlite;
mod tokens;

use std::fmt;

use time::OffsetDateTime;
use zeroize::Zeroizing;

pub use backup::{backup, restore};
pub use certificates::CertificateRecord;
pub use error::StoreError;
pub use federation::FederatedRecord;
pub use revocation::{CrlRecord, IssuedRecord, RevocationRecord};
pub use rotation::{RotationRecord, RotationStep};
pub use seal::{KEY_VARIABLE, KeyEncryptionKey, SealError};
pub use sqlite::SqliteStore;

use super::Serial;
use crate::identity::TrustDomain;

/// A durable store. When a function that writes returns `Ok`, what it wrote survives a crash of the process and of the machine; when
/// it returns an error, nothing of it was written.
pub trait Store: Send + Sync + fmt::Debug {
    /// Everything that is kept.
    fn load(&self) -> Result<Contents, StoreError>;

    /// Founds a mesh: its trust domain and first authorities. An error if there is one already.
    fn found(&self, trust_domain: &TrustDomain, authorities: &[AuthorityRecord]) -> Result<(), StoreError>;

    /// Changes the authorities and the step of the rotation that asks for it: all or nothing.
    fn change(&self, change: &Change) -> Result<(), StoreError>;

    /// Remembers that this authority may have signed something that is valid until then.
    fn reserve(&self, authority: &Serial, until: OffsetDateTime) -> Result<(), StoreError>;

    /// Remembers that these workloads' proxies were connected at `at`.
    fn save_seen(&self, workloads: &[String], at: OffsetDateTime) -> Result<(), StoreError>;

    /// Keeps these certificates, each in place of an older one of the same workload, and that they were issued: all or none.
    fn save_workloads(&self, workloads: &[WorkloadRecord], issued: &[IssuedRecord]) -> Result<(), StoreError>;

    /// Forgets workload certificates that have expired at `now`, and that those were issued or revoked which had at `end`. How many
    /// there were.
    fn forget_expired(&self, now: OffsetDateTime, end: OffsetDateTime) -> Result<usize, StoreError>;

    /// Forgets when the proxies of workloads were connected that were last at `before` or earlier. How many there were.
    fn forget_seen(&self, before: OffsetDateTime) -> Result<usize, StoreError>;

    /// Remembers that these certificates were issued.
    fn note_issued(&self, issued: &[IssuedRecord]) -> Result<(), StoreError>;

    /// The certificate with this serial number.
    fn find_issued(&self, serial: &Serial) -> Result<Option<IssuedRecord>, StoreError>;

    /// Every certificate of this identity, the first to end first.
    fn issued_to(&self, identity: &str) -> Result<Vec<IssuedRecord>, StoreError>;

    /// Remembers that these are revoked: all or none.
    fn revoke(&self, revoked: &[RevocationRecord]) -> Result<(), StoreError>;

    /// Keeps these revocation lists, each in place of its issuer's older one.
    fn save_crls(&self, crls: &[CrlRecord]) -> Result<(), StoreError>;

    /// Keeps the bundle of another trust domain, in place of an older one of it.
    fn save_federated(&self, bundle: &FederatedRecord) -> Result<(), StoreError>;

    /// Forgets the bundle of another trust domain. Whether there was one.
    fn remove_federated(&self, trust_domain: &TrustDomain) -> Result<bool, StoreError>;

    /// Keeps a join token.
    fn add_join_token(&self, token: &JoinTokenRecord) -> Result<(), StoreError>;

    /// Every join token, used and expired ones too, the oldest first.
    fn join_tokens(&self) -> Result<Vec<JoinTokenRecord>, StoreError>;

    /// The join token whose secret has this digest.
    fn find_join_token(&self, digest: &[u8; 32]) -> Result<Option<JoinTokenRecord>, StoreError>;

    /// Marks a token as used, if it is neither used nor expired. Whether it did: of all who try, one is told `true`, ever.
    fn consume_join_token(&self, digest: &[u8; 32], now: OffsetDateTime) -> Result<bool, StoreError>;

    /// Forgets tokens that could not be used any more at `before`. How many there were.
    fn forget_join_tokens(&self, before: OffsetDateTime) -> Result<usize, StoreError>;

    /// Forgets a token. Whether there was one.
    fn remove_join_token(&self, id: &str) -> Result<bool, StoreError>;

    /// Keeps a key (PKCS #8) whose certificate somebody else is to sign, in place of an older one for the same cluster.
    fn keep_authority_request(&self, cluster: &str, key: &[u8], now: OffsetDateTime) -> Result<(), StoreError>;

    /// That key.
    fn authority_request(&self, cluster: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError>;

    /// What is kept of Certificates.
    fn certificates(&self) -> Result<Vec<CertificateRecord>, StoreError>;

    /// Keeps these Certificates, each in place of an older one of its name, and forgets those (`namespace/name`): all or none.
    fn save_certificates(&self, keep: &[CertificateRecord], forget: &[String]) -> Result<(), StoreError>;
}

/// A join token as it is kept: its secret is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinTokenRecord {
    /// Names it to operators. It tells nothing about the secret.
    pub id: String,
    /// The SHA-256 of the secret.
    pub digest: [u8; 32],
    /// `namespace/name` of the workload it is for.
    pub workload: String,
    /// The identity that its user gets.
    pub identity: String,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// From when on it is of no use.
    pub expires_at: OffsetDateTime,
    /// When it was used.
    pub used_at: Option<OffsetDateTime>,
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
    /// The root rotation that is under way, or the last one.
    pub rotation: Option<RotationRecord>,
    /// When a proxy of each workload was last connected.
    pub seen: Vec<(String, OffsetDateTime)>,
    /// What was revoked, the oldest first.
    pub revocations: Vec<RevocationRecord>,
    /// The newest revocation list of each intermediate.
    pub crls: Vec<CrlRecord>,
    /// The bundles of other trust domains.
    pub federated: Vec<FederatedRecord>,
    /// The number of our own bundle as others are shown it: it rises with each change.
    pub bundle_sequence: u64,
}

/// What is written together when the hierarchy changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// New authorities.
    pub add: Vec<AuthorityRecord>,
    /// Authorities that are there already, and what becomes of them.
    pub standings: Vec<(Serial, Standing)>,
    /// The rotation's step from now on, if that changes.
    pub rotation: Option<RotationRecord>,
    /// The number of our own bundle from now on, if the roots that others are shown change.
    pub bundle_sequence: Option<u64>,
}

/// What an authority is for, at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it signs.
    pub state: AuthorityState,
    /// Whether a root is in the trust bundle. Of an intermediate it says nothing.
    pub trusted: bool,
}

/// Whether an authority signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorityState {
    /// Not yet.
    Prepared,
    /// Now. There is one of each kind.
    Active,
    /// No more.
    Retired,
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
    /// The certificate in DER, and behind it those between it and its root, where there are any.
    pub certificate: Vec<u8>,
    /// The key: PKCS #8 in DER. Empty if it is kept elsewhere.
    pub key: Zeroizing<Vec<u8>>,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// Its serial number.
    pub serial: Serial,
    /// What it is for.
    pub standing: Standing,
    /// Nothing that it has signed for a workload is valid after this. It may be later than the last expiry, never earlier.
    pub issued_until: OffsetDateTime,
}

impl fmt::Debug for AuthorityRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, cluster, created_at, standing, .. } = self;
        write!(f, "AuthorityRecord({kind:?} of {cluster}, {created_at}, {standing:?})")
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
