//! Certificates and authorities that are replaced before their time.

use serde::{Deserialize, Serialize};

use super::status::AuthorityStatus;

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
    /// Hand the certificates out over this many seconds, at most [`MAX_WAIT_SECONDS`](super::MAX_WAIT_SECONDS), instead of at once.
    pub spread_seconds: Option<u64>,
    /// How long to wait for acknowledgements, at most [`MAX_WAIT_SECONDS`](super::MAX_WAIT_SECONDS); without it the answer comes at once.
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

/// The answer to `POST /v1/rotate/intermediate`: the one that signs from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IntermediateReport {
    /// The intermediate.
    pub intermediate: AuthorityStatus,
    /// Whether another one is to follow, as soon as every proxy has its revocation list.
    pub waiting: bool,
}
