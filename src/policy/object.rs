//! What every Kubernetes-style object has: metadata, and a spec of its kind.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::fields::{Entries, Unused};
use super::report::Report;
use super::{Located, Origin, host, linkerd};

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
    /// Those of the annotations that are Linkerd's, read.
    pub linkerd: linkerd::Annotations,
    /// `metadata.creationTimestamp`; decides which of two policies of one scope is the older.
    pub creation_timestamp: Option<OffsetDateTime>,
}

/// Whether the changes that a policy makes go in steps: `"true"`, which is the default, or `"false"`.
const STAGED: &str = "countersign.dev/staged";

/// Who may read a Secret: service accounts of its namespace, and `NAMESPACE/NAME` for those of others.
const READERS: &str = "countersign.dev/readers";

impl Metadata {
    /// Who may read the object, if it is a Secret, as its annotation `countersign.dev/readers` lists them: `NAME` or `NAMESPACE/NAME`.
    pub fn readers(&self) -> impl Iterator<Item = &str> {
        let written = self.annotations.get(READERS).map_or("", String::as_str);
        written.split(',').map(str::trim).filter(|reader| !reader.is_empty())
    }

    /// Whether mode changes that this policy makes go in steps: not with the annotation `countersign.dev/staged: "false"`.
    pub fn is_staged(&self) -> bool {
        self.annotations.get(STAGED).is_none_or(|value| value != "false")
    }
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

/// What every object with a spec has at its root.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "read on their own, or only known")]
pub(super) struct RawRoot {
    api_version: Option<IgnoredAny>,
    kind: Option<IgnoredAny>,
    metadata: Option<IgnoredAny>,
    spec: Option<IgnoredAny>,
    status: Option<Unused>,
}

/// The same for kinds whose `status` Kubernetes itself fills in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "read on their own, or only known")]
pub(super) struct RawKubernetesRoot {
    api_version: Option<IgnoredAny>,
    kind: Option<IgnoredAny>,
    metadata: Option<IgnoredAny>,
    spec: Option<IgnoredAny>,
    status: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "what the API server keeps there is accepted and not read")]
pub(super) struct RawMetadata {
    name: Located<String>,
    namespace: Option<Located<String>>,
    #[serde(default)]
    labels: Entries<String>,
    #[serde(default)]
    annotations: Entries<String>,
    creation_timestamp: Option<Located<String>>,
    generate_name: Option<IgnoredAny>,
    uid: Option<IgnoredAny>,
    resource_version: Option<IgnoredAny>,
    generation: Option<IgnoredAny>,
    managed_fields: Option<IgnoredAny>,
    owner_references: Option<IgnoredAny>,
    finalizers: Option<IgnoredAny>,
    self_link: Option<IgnoredAny>,
    deletion_timestamp: Option<IgnoredAny>,
    deletion_grace_period_seconds: Option<IgnoredAny>,
}

/// Checks names against the Kubernetes rules (RFC 1123): they become parts of resource names, SNIs and SPIFFE IDs.
pub(super) fn check_metadata(raw: RawMetadata, namespaced: bool, report: &Report) -> Metadata {
    if !host::is_object_name(&raw.name.value) {
        let help = "lower-case letters, digits, \"-\" and \".\", 253 at most";
        report.error_with_help(&raw.name.at, "metadata.name", "not a valid name", help);
    }
    let namespace = match raw.namespace.filter(|namespace| !namespace.value.is_empty()) {
        None if namespaced => "default".to_owned(),
        None => String::new(),
        Some(namespace) if !namespaced => {
            report.error_with_help(&namespace.at, "metadata.namespace", "this kind is in no namespace", "remove it");
            String::new()
        }
        Some(namespace) => {
            if !host::is_namespace(&namespace.value) {
                let help = "lower-case letters, digits and \"-\", 63 at most";
                report.error_with_help(&namespace.at, "metadata.namespace", "not a valid namespace", help);
            }
            namespace.value
        }
    };
    for (key, value) in &raw.annotations.0 {
        if key.value == STAGED && !matches!(value.as_str(), "true" | "false") {
            let help = "\"true\" or \"false\", in quotes";
            report.error_with_help(&key.at, "metadata.annotations", format!("not a value of {STAGED}"), help);
        }
        if key.value == READERS && !value.split(',').all(|reader| is_reader(reader.trim())) {
            let help = "service accounts with commas between them, those of other namespaces as NAMESPACE/NAME";
            report.error_with_help(&key.at, "metadata.annotations", format!("not a value of {READERS}"), help);
        }
    }
    let creation_timestamp = raw.creation_timestamp.and_then(|written| {
        let time = OffsetDateTime::parse(&written.value, &Rfc3339).ok();
        if time.is_none() {
            let help = "RFC 3339, such as 2024-05-01T12:00:00Z";
            report.error_with_help(&written.at, "metadata.creationTimestamp", "not a time", help);
        }
        time
    });
    Metadata {
        name: raw.name.value,
        namespace,
        labels: raw.labels.into_map(),
        linkerd: linkerd::annotations::read(&raw.annotations, "metadata.annotations", report),
        annotations: raw.annotations.into_map(),
        creation_timestamp,
    }
}

/// There is no wildcard: who may read a key is named.
fn is_reader(reader: &str) -> bool {
    match reader.split_once('/') {
        Some((namespace, name)) => host::is_namespace(namespace) && host::is_object_name(name),
        None => reader.is_empty() || host::is_object_name(reader),
    }
}
