//! The server itself.

use serde::{Deserialize, Serialize};

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
    /// As in [`ModeChangeStatus`](super::ModeChangeStatus).
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
