//! What goes over the admin API: JSON with camelCase keys. Times are RFC 3339 in UTC, serials lower-case hexadecimal.
//!
//! A field that a client does not know is ignored, one that the server leaves out has a default, so that a client and a server
//! of neighbouring versions understand one another.

use serde::{Deserialize, Serialize};

mod authority;
mod mode_change;
mod node;
mod proxies;
mod revocation;
mod rotation;
mod status;
mod certificates;

pub use authority::{
    AuthorityRequest, BundleDocument, BundleStatus, ImportAuthorityRequest, ImportBundleRequest, RemoveBundleRequest,
    RootStatus,
};
pub use certificates::{
    CertificateEvent, CertificateStatus, Condition, ExportCertificateRequest, ExportedCertificate, IssuerStatus,
    RenewCertificatesRequest,
};
pub use mode_change::{ModeChange, ModeChangeRequest, ModeChangeStatus, PortInTransit};
pub use node::{
    BootstrapMaterial, BootstrapRequest, MAX_TOKEN_SECONDS, NewToken, RevokeTokenRequest, TokenRequest, TokenState,
    TokenStatus,
};
pub use proxies::{
    AdoptionRequest, AdoptionState, AdoptionStatus, MissingProxy, ProxyStatus, SecretState, SecretStatus, SecretType,
    TypeState, TypeStatus,
};
pub use revocation::{RevokeReport, RevokeRequest, RevokedCertificate};
pub use rotation::{
    IntermediateReport, RootRotationAction, RootRotationRequest, RootRotationStatus, RotateReport, RotateRequest,
    RotatedWorkload, WaitingFor,
};
pub use status::{AuthorityStatus, ModeChangeSummary, PolicyStatus, ServerStatus};

/// The longest that `POST /v1/rotate/workload` and `GET /v1/adoption` wait for acknowledgements: 300 seconds.
pub const MAX_WAIT_SECONDS: u64 = 300;

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
