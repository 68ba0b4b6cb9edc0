//! Reads `discovery.k8s.io` `EndpointSlice` and `v1` `Endpoints`: who is behind a Service, as a cluster has found out or an operator has
//! written. Both become the same thing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::fields::port_number;
use super::report::Report;
use super::{Located, Metadata};

/// The label that names a slice's Service (kubernetes.io/docs, EndpointSlices).
const SERVICE: &str = "kubernetes.io/service-name";

/// Some of a Service's endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSlice {
    /// The Service's name; its namespace is the object's own. `None`: it is nobody's.
    pub service: Option<String>,
    /// The ports that these endpoints serve, by the name of the Service's port.
    pub ports: BTreeMap<String, u16>,
    /// The endpoints.
    pub endpoints: Vec<SliceEndpoint>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Its address; the first one of several.
    pub address: Located<IpAddr>,
    /// Whether it takes connections.
    pub ready: bool,
    /// `targetRef`: the Pod, `namespace/name`.
    pub pod: Option<(String, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "read on their own, or only known")]
pub(super) struct Raw {
    api_version: Option<IgnoredAny>,
    kind: Option<IgnoredAny>,
    metadata: Option<IgnoredAny>,
    address_type: Located<AddressType>,
    #[serde(default)]
    endpoints: Vec<RawEndpoint>,
    #[serde(default)]
    ports: Vec<RawPort>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
enum AddressType {
    IPv4,
    IPv6,
    #[serde(rename = "FQDN")]
    Fqdn,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "Kubernetes' fields that are only known")]
struct RawEndpoint {
    addresses: Vec<Located<String>>,
    #[serde(default)]
    conditions: RawConditions,
    target_ref: Option<RawReference>,
    hostname: Option<IgnoredAny>,
    node_name: Option<IgnoredAny>,
    zone: Option<IgnoredAny>,
    hints: Option<IgnoredAny>,
    deprecated_topology: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawConditions {
    ready: Option<bool>,
    serving: Option<IgnoredAny>,
    terminating: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "Kubernetes' fields that are only known")]
struct RawReference {
    kind: Option<String>,
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<IgnoredAny>,
    api_version: Option<IgnoredAny>,
    resource_version: Option<IgnoredAny>,
    field_path: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPort {
    #[serde(default)]
    name: Option<String>,
    port: Option<Located<u32>>,
    protocol: Option<String>,
    #[serde(rename = "appProtocol")]
    _app_protocol: Option<IgnoredAny>,
}

/// `v1` Endpoints.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "read on their own, or only known")]
pub(super) struct RawEndpoints {
    api_version: Option<IgnoredAny>,
    kind: Option<IgnoredAny>,
    metadata: Option<IgnoredAny>,
    #[serde(default)]
    subsets: Vec<RawSubset>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSubset {
    addresses: Vec<RawAddress>,
    not_ready_addresses: Vec<RawAddress>,
    ports: Vec<RawPort>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "Kubernetes' fields that are only known")]
struct RawAddress {
    ip: Located<String>,
    hostname: Option<IgnoredAny>,
    node_name: Option<IgnoredAny>,
    target_ref: Option<RawReference>,
}

/// Checks a slice.
pub(super) fn slice(raw: Raw, meta: &Metadata, report: &Report) -> EndpointSlice {
    if raw.address_type.value == AddressType::Fqdn {
        report.warn(&raw.address_type.at, "addressType FQDN is not served: the slice is left out");
        return EndpointSlice::default();
    }
    let service = meta.labels.get(SERVICE).cloned();
    if service.is_none() {
        report.warn(&raw.address_type.at, format!("the label {SERVICE} is missing: the slice is no Service's"));
    }
    let mut endpoints = Vec::new();
    for (index, endpoint) in raw.endpoints.into_iter().enumerate() {
        let field = format!("endpoints[{index}].addresses");
        let is_of_type = |address: &IpAddr| address.is_ipv4() == (raw.address_type.value == AddressType::IPv4);
        let address = endpoint.addresses.first().and_then(|written| ip(written, &field, report));
        if let Some(wrong) = address.as_ref().filter(|address| !is_of_type(&address.value)) {
            report.error(&wrong.at, &field, "not an address of the slice's addressType");
        }
        // Kubernetes takes an unknown state for ready.
        let RawConditions { ready, terminating, .. } = endpoint.conditions;
        let ready = ready.unwrap_or(true) && !terminating.unwrap_or(false);
        endpoints.extend(address.map(|address| SliceEndpoint { address, ready, pod: pod(endpoint.target_ref, meta) }));
    }
    EndpointSlice { service, ports: ports(raw.ports, "ports", report), endpoints }
}

/// Checks an `Endpoints`: one slice for each of its subsets.
pub(super) fn endpoints(raw: RawEndpoints, meta: &Metadata, report: &Report) -> Vec<EndpointSlice> {
    let mut slices = Vec::new();
    for (index, subset) in raw.subsets.into_iter().enumerate() {
        let field = format!("subsets[{index}]");
        let states = [(true, subset.addresses), (false, subset.not_ready_addresses)];
        let each = states.into_iter().flat_map(|(ready, addresses)| addresses.into_iter().map(move |it| (ready, it)));
        let endpoints = each.filter_map(|(ready, written)| {
            let address = ip(&written.ip, &format!("{field}.addresses.ip"), report)?;
            Some(SliceEndpoint { address, ready, pod: pod(written.target_ref, meta) })
        });
        slices.push(EndpointSlice {
            service: Some(meta.name.clone()),
            endpoints: endpoints.collect(),
            ports: ports(subset.ports, &format!("{field}.ports"), report),
        });
    }
    slices
}

fn ports(raw: Vec<RawPort>, field: &str, report: &Report) -> BTreeMap<String, u16> {
    let tcp = raw.into_iter().filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"));
    let ports = tcp.filter_map(|port| Some((port.name.unwrap_or_default(), port_number(&port.port?, field, report))));
    ports.collect()
}

fn ip(written: &Located<String>, field: &str, report: &Report) -> Option<Located<IpAddr>> {
    let address = written.value.parse().ok();
    if address.is_none() {
        report.error(&written.at, field, "not an IP address");
    }
    address.map(|address| Located::new(address, written.at.clone()))
}

fn pod(reference: Option<RawReference>, meta: &Metadata) -> Option<(String, String)> {
    let reference = reference.filter(|it| it.kind.as_deref() == Some("Pod"))?;
    Some((reference.namespace.unwrap_or_else(|| meta.namespace.clone()), reference.name?))
}
