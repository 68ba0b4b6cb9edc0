//! What goes over the admin API: JSON with camelCase keys. Times are RFC 3339 in UTC, serials lower-case hexadecimal.
//!
//! A field that a client does not know is ignored, one that the server leaves out has a default, so that a client and a server
//! of neighbouring versions understand one another.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod authority;
mod certificates;

pub use authority::{
    AuthorityRequest, BundleDocument, BundleStatus, ImportAuthorityRequest, ImportBundleRequest, RemoveBundleRequest,
    RootStatus,
};
pub use certificates::{
    CertificateEvent, CertificateStatus, Condition, ExportCertificateRequest, ExportedCertificate, IssuerStatus,
    RenewCertificatesRequest,
};

/// The longest that `POST /v1/rotate/workload` and `GET /v1/adoption` wait for acknowledgements: 300 seconds.
pub const MAX_WAIT_SECONDS: u64 = 300;

/// `GET /v1/proxies`: one proxy, its identity and what it has acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyStatus {
    /// `namespace/name`.
    pub name: String,
    /// What the proxy calls itself. It is shown, never trusted.
    pub node_id: String,
    /// The authenticated SPIFFE ID; empty for a stream without TLS.
    pub identity: String,
    /// The `node.cluster` of its bootstrap.
    pub cluster: String,
    /// The version of Envoy.
    pub version: String,
    /// When its stream was opened.
    pub connected_since: String,
    /// One entry for each type the server knows.
    pub types: Vec<TypeStatus>,
}

/// What a proxy has of one resource type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TypeStatus {
    /// `CDS`, `LDS`, `EDS`, `RDS` or `SDS`.
    pub type_name: String,
    /// Whether the proxy has what it should have.
    pub state: TypeState,
    /// How many resources were sent.
    pub resources: usize,
    /// The version that was acknowledged last.
    pub version: String,
    /// Why the proxy refused the newest response, in its own words.
    pub error: Option<String>,
}

/// Whether a proxy has what it should have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TypeState {
    /// The newest version is acknowledged.
    Synced,
    /// The newest version is sent and not acknowledged.
    Stale,
    /// The proxy refused the newest version and keeps the one before.
    Rejected,
    /// The proxy has not asked, or there is nothing for it.
    #[default]
    NotSent,
}

impl TypeState {
    /// As it is written in JSON, with a space for the underscore.
    pub fn label(self) -> &'static str {
        match self {
            Self::Synced => "SYNCED",
            Self::Stale => "STALE",
            Self::Rejected => "REJECTED",
            Self::NotSent => "NOT SENT",
        }
    }
}

/// `GET /v1/secrets`: one certificate that a proxy holds. Each root of a bundle is an entry of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretStatus {
    /// The proxy, as `namespace/name`.
    pub node: String,
    /// The name in SDS: `default`, `ROOTCA`, or one that policy gives, such as `kubernetes://gateway`.
    pub name: String,
    /// What it is.
    pub r#type: SecretType,
    /// How far it has come.
    pub status: SecretState,
    /// Whether now is between `notBefore` and `notAfter`. `None`, with the rest empty: the certificate is in a file of the proxy's own
    /// machine, or the secret is not served any more.
    pub valid: Option<bool>,
    /// The certificate's serial number.
    pub serial: String,
    /// End of validity.
    pub not_after: String,
    /// Start of validity.
    pub not_before: String,
}

/// What a secret is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecretType {
    /// A secret that is not served any more, and that the proxy still holds.
    #[default]
    Unknown,
    /// A certificate chain with its key; the serial is the leaf's.
    #[serde(rename = "Cert Chain")]
    CertChain,
    /// A trust anchor.
    #[serde(rename = "CA")]
    Ca,
}

impl SecretType {
    /// As it is written in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::CertChain => "Cert Chain",
            Self::Ca => "CA",
        }
    }
}

/// How far a secret has come on its way to a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SecretState {
    /// Acknowledged.
    Active,
    /// Sent, and not acknowledged.
    #[default]
    Warming,
    /// Refused by the proxy.
    Rejected,
}

impl SecretState {
    /// As it is written in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Warming => "WARMING",
            Self::Rejected => "REJECTED",
        }
    }
}

/// `GET /v1/adoption`: who has acknowledged a secret, and who has not?
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AdoptionRequest {
    /// Its name in SDS.
    pub secret: String,
    /// The version that everyone should have; without it, each proxy what it is served now.
    #[serde(default)]
    pub version: Option<String>,
    /// How long to wait until all have it, at most [`MAX_WAIT_SECONDS`]; without it the answer comes at once.
    #[serde(default)]
    pub wait_seconds: Option<u64>,
}

/// The answer to an [`AdoptionRequest`]. It is about the proxies that are connected and are served a secret of that name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AdoptionStatus {
    /// The secret's name.
    pub secret: String,
    /// The version that was asked for.
    pub version: Option<String>,
    /// Whether every one that uses it has acknowledged it.
    pub complete: bool,
    /// How many streams of proxies have acknowledged it.
    pub acknowledged: usize,
    /// Who has not.
    pub missing: Vec<MissingProxy>,
    /// Who has had the time to ask for it, and has not: it does not use it. `namespace/name` each.
    pub unused: Vec<String>,
    /// How many proxies that were here before are not connected. What they hold may be old, and they may come back.
    pub away: usize,
}

/// A proxy that has not acknowledged what it should.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MissingProxy {
    /// The proxy, as `namespace/name`.
    pub node: String,
    /// What the proxy calls itself. It is shown, never trusted.
    pub node_id: String,
    /// The authenticated SPIFFE ID.
    pub identity: String,
    /// How far it is.
    pub state: AdoptionState,
    /// The same in words.
    pub reason: String,
    /// The version that it has instead.
    pub version: Option<String>,
    /// The serial number of the certificate in that, or of each root.
    pub serial: Option<String>,
}

/// How far a proxy is with what it should have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AdoptionState {
    /// It has not asked for it yet.
    #[default]
    NotAsked,
    /// It was sent, and is not acknowledged.
    Waiting,
    /// The proxy refused it.
    Rejected,
    /// The proxy has another version, and this one has not been sent.
    Behind,
}

impl AdoptionState {
    /// As it is written in JSON, with a space for the underscore.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotAsked => "NOT ASKED",
            Self::Waiting => "WAITING",
            Self::Rejected => "REJECTED",
            Self::Behind => "BEHIND",
        }
    }
}

/// `POST /v1/rotate/workload`: new certificates before their time. One of `all`, `namespace`, and `workloads` with at least one
/// name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RotateRequest {
    /// `namespace/name` each.
    pub workloads: Vec<String>,
    /// Every connected workload.
    pub all: bool,
    /// Every connected workload of this namespace.
    pub namespace: Option<String>,
    /// Hand the certificates out over this many seconds, at most [`MAX_WAIT_SECONDS`], instead of at once.
    pub spread_seconds: Option<u64>,
    /// How long to wait for acknowledgements, at most [`MAX_WAIT_SECONDS`]; without it the answer comes at once.
    pub wait_seconds: Option<u64>,
}

/// The answer to a [`RotateRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RotateReport {
    /// One entry for each workload that got a new certificate.
    pub rotated: Vec<RotatedWorkload>,
}

/// A workload with a new certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RotatedWorkload {
    /// `namespace/name`.
    pub workload: String,
    /// The new certificate's serial number.
    pub serial: String,
    /// Whether every proxy of the workload had acknowledged it when the wait was over.
    pub acknowledged: bool,
    /// Whether a proxy of the workload is connected. If not, it is given the certificate when it comes.
    pub connected: bool,
}

/// `GET /v1/rotate/root`, and the answer to a [`RootRotationRequest`]: the root rotation that is under way, or the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RootRotationStatus {
    /// `none`, `prepared`, `distributing`, `activating`, `retiring`, `done`; after an abort `reverting`, `withdrawing`, `aborted`.
    pub step: String,
    /// Whether it stays where it is until somebody resumes it.
    pub paused: bool,
    /// Whether it does not wait for proxies that are away, and for certificates that may still be used.
    pub force: bool,
    /// The serial number of the root that it began with.
    pub old_root: String,
    /// The serial number of the root that takes its place.
    pub new_root: String,
    /// When it began.
    pub started_at: String,
    /// When it came to this step.
    pub step_since: String,
    /// Who or what this step waits for.
    pub waiting: Vec<WaitingFor>,
}

/// Who or what a step waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WaitingFor {
    /// `namespace/name`; `None`: no proxy in particular.
    pub proxy: Option<String>,
    /// Why.
    pub reason: String,
}

/// `POST /v1/rotate/root`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RootRotationRequest {
    /// What to do.
    pub action: RootRotationAction,
    /// With `start`, `resume` and `abort`: do not wait for proxies that are away, nor for certificates that may still be used.
    #[serde(default)]
    pub force: bool,
    /// With `start`: make the new root, and wait for `resume`.
    #[serde(default)]
    pub paused: bool,
}

/// What to do with a root rotation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RootRotationAction {
    /// Begin one.
    #[default]
    Start,
    /// Stay at this step.
    Pause,
    /// Go on.
    Resume,
    /// Go back to how it was.
    Abort,
}

/// `GET /v1/rollout`, and the answer to a [`ModeChangeRequest`]: the ports that are on their way to another mTLS mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ModeChangeStatus {
    /// The step of the ports that are furthest behind: `accepting`, `switching` or `closing`; empty where no port is on its way.
    pub step: String,
    /// When the first of them set out.
    pub started_at: String,
    /// When one of them last came to another step.
    pub step_since: String,
    /// The ports.
    pub ports: Vec<PortInTransit>,
    /// Who is waited for.
    pub waiting: Vec<WaitingFor>,
}

/// A port that is on its way to another mTLS mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PortInTransit {
    /// `namespace/name`.
    pub workload: String,
    /// The workload's port.
    pub port: u16,
    /// Where from, where to, and how far it is.
    #[serde(flatten)]
    pub change: ModeChange,
}

/// Where from, where to, and how far a port is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ModeChange {
    /// What it served before: `DISABLE`, `PERMISSIVE` or `STRICT`.
    pub from: String,
    /// What the policy says.
    pub to: String,
    /// `accepting`: it begins to take both. `switching`: its clients begin to do what the policy says. `closing`: it begins to take
    /// that alone.
    pub step: String,
}

/// `POST /v1/rollout`: takes the next step now, if nobody is late.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ModeChangeRequest {
    /// Whoever is late. Requests from or to those may fail.
    pub force: bool,
}

/// The answer to `POST /v1/rotate/intermediate`: the one that signs from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IntermediateReport {
    /// The intermediate.
    pub intermediate: AuthorityStatus,
    /// Whether another one is to follow, as soon as every proxy has its revocation list.
    pub waiting: bool,
}

/// `POST /v1/revoke`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokeRequest {
    /// The serial number of a certificate, or a SPIFFE ID for all that it has.
    pub target: String,
}

/// The answer to a [`RevokeRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RevokeReport {
    /// The certificates, those among them that were revoked before too.
    pub revoked: Vec<RevokedCertificate>,
    /// How many connections to this server were ended.
    pub connections_ended: usize,
    /// Whether proxies are given revocation lists. If not, they believe what is revoked until it ends.
    pub lists: bool,
}

/// `GET /v1/revocations`: a certificate that is revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RevokedCertificate {
    /// Its serial number.
    pub serial: String,
    /// The SPIFFE ID in it.
    pub identity: String,
    /// When it would have ended.
    pub not_after: String,
    /// When it was revoked.
    pub revoked_at: String,
}

/// `POST /v1/bootstrap`: a certificate for a workload's connection to this server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BootstrapRequest {
    /// `namespace/name`.
    pub workload: String,
    /// A PKCS #10 request in PEM. Its public key and signature are used; the names in the certificate come from the server.
    pub csr: String,
}

/// The answer to a [`BootstrapRequest`]. It holds nothing secret: the key has never left the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BootstrapMaterial {
    /// `namespace/name`.
    pub workload: String,
    /// The SPIFFE ID in the certificate.
    pub identity: String,
    /// The trust domain of that ID.
    pub trust_domain: String,
    /// The certificate and its intermediates, leaf first, PEM.
    pub certificate_chain: String,
    /// The roots by which the server is verified, PEM.
    pub roots: String,
    /// `host:port` of the xDS server.
    pub xds_address: String,
    /// The SPIFFE ID that the xDS server must present.
    pub server_identity: String,
    /// The workload's service account.
    pub service_account: String,
    /// The workload's namespace.
    pub namespace: String,
    /// The workload's labels.
    pub labels: BTreeMap<String, String>,
}

/// The longest that a join token may live: 24 hours, in seconds.
pub const MAX_TOKEN_SECONDS: u64 = 24 * 3600;

/// `POST /v1/tokens`: a join token for a new node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenRequest {
    /// `namespace/name` of the workload that the node is for.
    pub workload: String,
    /// How long it may be used, 1 to [`MAX_TOKEN_SECONDS`].
    pub ttl_seconds: u64,
}

/// The answer to a [`TokenRequest`]: the only time that the token is shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NewToken {
    /// The token. Whoever has it can become the workload, once.
    pub token: String,
    /// What it is called from now on.
    #[serde(flatten)]
    pub status: TokenStatus,
}

impl std::fmt::Debug for NewToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewToken").field("status", &self.status).finish_non_exhaustive()
    }
}

/// `GET /v1/tokens`: one join token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenStatus {
    /// What `countersign token revoke` takes.
    pub id: String,
    /// `namespace/name`.
    pub workload: String,
    /// The SPIFFE ID that its user gets.
    pub identity: String,
    /// Whether it can be used.
    pub state: TokenState,
    /// When it was made.
    pub created_at: String,
    /// From when on it is of no use.
    pub expires_at: String,
    /// When it was used.
    pub used_at: Option<String>,
}

/// Whether a join token can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TokenState {
    /// Yes, once.
    #[default]
    Usable,
    /// It was.
    Used,
    /// It was not, and it is too late.
    Expired,
}

impl TokenState {
    /// As it is written in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Usable => "USABLE",
            Self::Used => "USED",
            Self::Expired => "EXPIRED",
        }
    }
}

/// `POST /v1/tokens/revoke`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokeTokenRequest {
    /// Which.
    pub id: String,
}

/// `GET /v1/status`: the server itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerStatus {
    /// The server's version.
    pub version: String,
    /// The trust domain it issues for.
    pub trust_domain: String,
    /// Whether it serves policy and certificates.
    pub ready: bool,
    /// The policy that is served, and what is wrong with newer ones.
    pub policy: PolicyStatus,
    /// The root that signs intermediates.
    pub root: AuthorityStatus,
    /// The intermediate that signs workload certificates.
    pub intermediate: AuthorityStatus,
    /// How many proxies are connected.
    pub proxies: usize,
    /// Where xDS is served.
    pub xds_address: String,
    /// Ports on their way to another mTLS mode.
    pub mode_change: ModeChangeSummary,
}

/// Ports on their way to another mTLS mode, in short.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ModeChangeSummary {
    /// As in [`ModeChangeStatus`].
    pub step: String,
    /// How many ports.
    pub ports: usize,
    /// How many proxies are waited for.
    pub waiting: usize,
}

/// The policy that is served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyStatus {
    /// Rises by one with each policy set that is taken into service.
    pub generation: u64,
    /// Files in the set.
    pub files: usize,
    /// Objects in the set.
    pub objects: usize,
    /// What is allowed and probably not meant.
    pub warnings: Vec<String>,
    /// Why the newest files are not served; empty when they are.
    pub rejected: Vec<String>,
}

/// A root or an intermediate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthorityStatus {
    /// The certificate's serial number.
    pub serial: String,
    /// End of validity.
    pub not_after: String,
}

/// The body of every answer that is not a success.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// What went wrong.
    pub error: String,
    /// What to do about it; may be empty.
    pub help: String,
}

/// Whether `text` is `namespace/name`, each of 1 to 253 lower-case letters, digits, `-` and `.`: what names a workload or a
/// proxy in this API. Nothing else reaches a path, a log line or a file name.
pub fn is_workload_name(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    let part = |p: &str| (1..=253).contains(&p.len()) && p.bytes().all(legal);
    text.split_once('/').is_some_and(|(namespace, name)| part(namespace) && part(name))
}

/// Whether `text` is a service's host, or a short name of one: 1 to 253 letters, digits, `-`, `_`, `.` and `*`.
pub fn is_host(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'*');
    (1..=253).contains(&text.len()) && text.bytes().all(legal)
}
