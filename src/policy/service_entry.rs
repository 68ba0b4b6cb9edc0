//! Reads an Istio `ServiceEntry`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Deserialize;

use super::fields::{Entries, optional_selector, port_number};
use super::report::Report;
use super::{Located, Resolution, ServiceEntry, ServicePort, TargetPort, host, protocol, workload_entry};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Raw {
    hosts: Located<Vec<Located<String>>>,
    #[serde(default)]
    addresses: Vec<Located<String>>,
    #[serde(default)]
    ports: Vec<RawPort>,
    #[serde(default)]
    location: Location,
    resolution: Option<Located<RawResolution>>,
    endpoints: Option<Located<Vec<workload_entry::Raw>>>,
    workload_selector: Option<RawSelector>,
    #[serde(default)]
    subject_alt_names: Vec<String>,
    #[serde(default)]
    export_to: Vec<Located<String>>,
}

#[derive(Deserialize)]
struct RawSelector {
    labels: Option<Located<Entries<Located<String>>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPort {
    number: Located<u32>,
    #[serde(default)]
    name: String,
    protocol: Option<Located<String>>,
    target_port: Option<Located<u32>>,
}

#[derive(Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Location {
    #[default]
    MeshExternal,
    MeshInternal,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum RawResolution {
    None,
    Static,
    Dns,
    DnsRoundRobin,
    DynamicDns,
}

/// Checks an entry as Istio's validation does.
pub(super) fn check(raw: Raw, report: &Report) -> ServiceEntry {
    if raw.hosts.value.is_empty() {
        report.error(&raw.hosts.at, "spec.hosts", "no host is listed");
    }
    for name in &raw.hosts.value {
        host::check(name, "spec.hosts", report);
        if name.value == "*" {
            report.error(&name.at, "spec.hosts", "\"*\" alone would catch every host of the mesh");
        }
    }
    if raw.ports.is_empty() {
        report.warn(&raw.hosts.at, "spec.ports is empty: nothing is served for these hosts");
    }
    let resolution = resolution(raw.resolution.as_ref(), report);
    let selector = raw.workload_selector.and_then(|selector| selector.labels);
    let workload_selector = optional_selector(selector, "spec.workloadSelector.labels", report);
    let (ports, names) = ports(raw.ports, report);
    let mut endpoints = Vec::new();
    if let Some(Located { value, at }) = raw.endpoints.filter(|endpoints| !endpoints.value.is_empty()) {
        if workload_selector.is_some() {
            let help = "list the endpoints here or select them by label, not both";
            report.error_with_help(&at, "spec.endpoints", "endpoints beside a workloadSelector", help);
        }
        if resolution == Resolution::None {
            let help = "STATIC for addresses, DNS for names";
            report.error_with_help(&at, "spec.endpoints", "endpoints with resolution NONE", help);
        }
        for (index, endpoint) in value.into_iter().enumerate() {
            let field = format!("spec.endpoints[{index}]");
            let entry = workload_entry::check(endpoint, &BTreeMap::new(), &field, report);
            let address = &entry.address.value;
            if resolution == Resolution::Static && address.parse::<IpAddr>().is_err() && !address.starts_with("unix://")
            {
                let help = "use resolution DNS for names";
                report.error_with_help(&entry.address.at, &field, "resolution STATIC needs an IP address", help);
            }
            for name in entry.ports.keys().filter(|name| !names.contains(*name)) {
                report.error(&entry.address.at, &field, format!("the port {name:?} is none of spec.ports"));
            }
            endpoints.push(entry);
        }
    } else if resolution == Resolution::Dns
        && let Some(name) = raw.hosts.value.iter().find(|name| name.value.starts_with('*'))
    {
        let help = "list endpoints, or use resolution NONE";
        report.error_with_help(&name.at, "spec.hosts", "a wildcard cannot be resolved by DNS", help);
    }
    ServiceEntry {
        hosts: raw.hosts.value,
        addresses: addresses(raw.addresses, report),
        ports,
        mesh_internal: raw.location == Location::MeshInternal,
        resolution,
        endpoints,
        workload_selector,
        subject_alt_names: raw.subject_alt_names,
        export_to: host::export_to(raw.export_to, report),
    }
}

fn resolution(raw: Option<&Located<RawResolution>>, report: &Report) -> Resolution {
    let Some(raw) = raw else { return Resolution::None };
    match raw.value {
        RawResolution::None => Resolution::None,
        RawResolution::Static => Resolution::Static,
        RawResolution::Dns | RawResolution::DnsRoundRobin => Resolution::Dns,
        RawResolution::DynamicDns => {
            report.error_with_help(&raw.at, "spec.resolution", "DYNAMIC_DNS is not served", "use DNS or NONE");
            Resolution::Dns
        }
    }
}

fn ports(raw: Vec<RawPort>, report: &Report) -> (Vec<ServicePort>, BTreeSet<String>) {
    let several = raw.len() > 1;
    let mut names = BTreeSet::new();
    let mut ports: Vec<ServicePort> = Vec::new();
    for (index, port) in raw.into_iter().enumerate() {
        let field = format!("spec.ports[{index}]");
        let number = port_number(&port.number, &format!("{field}.number"), report);
        if several && port.name.is_empty() {
            report.error(&port.number.at, &field, "a port of an entry with several ports needs a name");
        } else if !names.insert(port.name.clone()) {
            report.error(&port.number.at, &field, format!("the port name {:?} is used twice", port.name));
        }
        let word = format!("{field}.protocol");
        let Some(protocol) = protocol::of_istio_port(&port.name, port.protocol.as_ref(), &word, report) else {
            continue;
        };
        if ports.iter().any(|other| other.port.value == number) {
            report.error(&port.number.at, &field, format!("port {number} is listed twice"));
        }
        let target_port = port
            .target_port
            .map(|target| TargetPort::Number(port_number(&target, &format!("{field}.targetPort"), report)));
        ports.push(ServicePort { port: Located::new(number, port.number.at), name: port.name, protocol, target_port });
    }
    (ports, names)
}

/// Single addresses; a network of one address counts as it. Wider networks are known and left out, with a warning.
fn addresses(raw: Vec<Located<String>>, report: &Report) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for address in raw {
        let (ip, prefix) = match address.value.split_once('/') {
            Some((ip, prefix)) => (ip, prefix.parse::<u8>().ok()),
            None => (address.value.as_str(), Some(u8::MAX)),
        };
        match (ip.parse::<IpAddr>(), prefix) {
            (Ok(ip), Some(prefix)) => {
                let whole = if ip.is_ipv4() { 32 } else { 128 };
                if prefix == u8::MAX || prefix == whole {
                    addresses.push(ip);
                } else if prefix < whole {
                    report.warn(&address.at, "spec.addresses: networks are not served, only single addresses are");
                } else {
                    report.error(&address.at, "spec.addresses", "the prefix is longer than the address");
                }
            }
            _ => report.error(&address.at, "spec.addresses", "not an IP address or network"),
        }
    }
    addresses
}
