//! Reads an Istio `WorkloadEntry`, and the same shape where a `ServiceEntry` has it in place.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use super::fields::{Entries, Unused, non_empty, port_number};
use super::host;
use super::report::Report;
use super::{Located, WorkloadEntry};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "fields that are only known, to warn about")]
pub(super) struct Raw {
    address: Located<String>,
    #[serde(default)]
    ports: Entries<Located<u32>>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    service_account: Option<String>,
    locality: Option<String>,
    weight: Option<u32>,
    network: Option<Unused>,
}

/// Checks an entry. `metadata_labels` are the object's own: a workload carries both, and where they differ `spec.labels`
/// count, since they are the ones written for the mesh.
pub(super) fn check(
    raw: Raw,
    metadata_labels: &BTreeMap<String, String>,
    field: &str,
    report: &Report,
) -> WorkloadEntry {
    let address = &raw.address.value;
    let unix = address.strip_prefix("unix://").is_some_and(|path| path.starts_with('/'));
    if address.parse::<IpAddr>().is_err() && !unix && !host::is_dns_name(address) {
        let help = "an IP address or a DNS name, without a port";
        report.error_with_help(&raw.address.at, &format!("{field}.address"), "this is no address", help);
    }
    if unix && !raw.ports.0.is_empty() {
        report.error(&raw.address.at, &format!("{field}.ports"), "a Unix socket has no ports");
    }
    let mut labels = metadata_labels.clone();
    labels.extend(raw.labels);
    let ports = raw.ports.0.into_iter().map(|(name, port)| {
        let number = port_number(&port, &format!("{field}.ports.{}", name.value), report);
        (name.value, number)
    });
    WorkloadEntry {
        ports: ports.collect(),
        labels,
        service_account: non_empty(raw.service_account),
        locality: non_empty(raw.locality),
        weight: raw.weight,
        address: raw.address,
    }
}
