//! What every Kubernetes-style object has: metadata, and a spec of its kind.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::Origin;

/// `metadata`, with the namespace already resolved (a namespaced object without one is in `default`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`; empty for cluster-scoped kinds.
    pub namespace: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `metadata.creationTimestamp`; decides which of two policies of one scope is the older.
    pub creation_timestamp: Option<OffsetDateTime>,
}

/// One object of a kind whose spec is `S`.
#[derive(Clone, Debug)]
pub struct Object<S> {
    /// Its metadata.
    pub meta: Metadata,
    /// What the operator wants.
    pub spec: S,
    /// The object's first line.
    pub at: Origin,
}

/// `selector.matchLabels` / `workloadSelector.labels`: every pair must be present on the workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(pub BTreeMap<String, String>);

impl LabelSelector {
    /// Whether `labels` carry every pair of the selector. An empty selector matches everything.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}
