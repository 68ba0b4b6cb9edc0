//! Ports that are on their way to another mTLS mode.

use serde::{Deserialize, Serialize};

use super::rotation::WaitingFor;

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
