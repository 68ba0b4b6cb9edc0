//! Reads an Istio `WorkloadGroup`: what WorkloadEntries of a group have alike.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::fields::{Entries, Unused, non_empty, port_number};
use super::report::Report;
use super::{Located, linkerd};

/// The spec of an Istio `WorkloadGroup`. A WorkloadEntry that names it, with the annotation `istio.io/autoRegistrationGroup`, takes from it
/// what it does not say itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadGroup {
    /// `metadata.labels`, with those of `template` over them.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations` that are Linkerd's.
    pub linkerd: linkerd::Annotations,
    /// `template.ports`.
    pub ports: BTreeMap<String, u16>,
    /// `template.serviceAccount`.
    pub service_account: Option<String>,
    /// `template.locality`.
    pub locality: Option<String>,
    /// `template.weight`.
    pub weight: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "fields that are only known, to warn about")]
pub(super) struct Raw {
    #[serde(default)]
    metadata: RawMetadata,
    template: Located<RawTemplate>,
    probe: Option<Unused>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawMetadata {
    labels: BTreeMap<String, String>,
    annotations: Entries<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawTemplate {
    address: Option<Located<String>>,
    ports: Entries<Located<u32>>,
    labels: BTreeMap<String, String>,
    service_account: Option<String>,
    locality: Option<String>,
    weight: Option<u32>,
    network: Option<Unused>,
}

/// Checks a group.
pub(super) fn check(raw: Raw, report: &Report) -> WorkloadGroup {
    let template = raw.template.value;
    if let Some(address) = template.address.filter(|address| !address.value.is_empty()) {
        let help = "each WorkloadEntry has its own";
        report.error_with_help(&address.at, "spec.template.address", "a group has no address", help);
    }
    let ports = template.ports.0.into_iter().map(|(name, port)| {
        let number = port_number(&port, &format!("spec.template.ports.{}", name.value), report);
        (name.value, number)
    });
    let mut labels = raw.metadata.labels.clone();
    labels.extend(template.labels);
    WorkloadGroup {
        labels,
        linkerd: linkerd::annotations::read(&raw.metadata.annotations, "spec.metadata.annotations", report),
        ports: ports.collect(),
        service_account: non_empty(template.service_account),
        locality: non_empty(template.locality),
        weight: template.weight,
    }
}
