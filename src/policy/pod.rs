//! Reads a `v1` `Pod`, as far as a mesh is concerned: who it is, where it is, and which ports it names. A Pod has some hundred other fields,
//! and whoever writes one has it from a cluster; so its fields are looked up and not held to a list.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::decode::decode;
use super::document::{Node, Value};
use super::report::Report;
use super::{Located, Metadata};

/// A `v1` `Pod`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// `spec.serviceAccountName`; `default` when absent.
    pub service_account: String,
    /// `status.podIP`; `None`: it has none yet, or has ended.
    pub address: Option<Located<IpAddr>>,
    /// The first of `status.podIPs` that is of the other family.
    pub other_address: Option<IpAddr>,
    /// `spec.containers[].ports[]` that have a name (TCP).
    pub ports: BTreeMap<String, u16>,
    /// `spec.hostNetwork`: it has its machine's address, and no proxy stands before it.
    pub host_network: bool,
    /// Whether its condition `Ready` is not false.
    pub ready: bool,
    /// Whether Istio's injector has given it a proxy: a label, an annotation or a container says so.
    pub injected: bool,
}

/// The annotation that Istio's injector leaves (istio/api, annotation/annotations.yaml).
const STATUS: &str = "sidecar.istio.io/status";
/// Its label, by which istiod itself decides.
const TLS_MODE: &str = "security.istio.io/tlsMode";
/// The container that it adds.
const PROXY: &str = "istio-proxy";

/// Reads what is of interest below the root.
pub(super) fn read(root: &Node, meta: &Metadata, report: &Report) -> Pod {
    let (spec, status) = (root.get("spec"), root.get("status"));
    let containers = || {
        let lists = ["containers", "initContainers"].into_iter().filter_map(|list| items(spec?.get(list)?));
        lists.flatten()
    };
    let mut ports = BTreeMap::new();
    for port in containers().filter_map(|container| items(container.get("ports")?)).flatten() {
        let is_tcp = text(port, "protocol").is_none_or(|protocol| protocol == "TCP");
        let number = port.get("containerPort").and_then(|node| {
            let written = decode::<Located<u32>>(node, "spec.containers.ports.containerPort", report)?;
            Some(super::fields::port_number(&written, "spec.containers.ports.containerPort", report))
        });
        if let (Some(name), Some(number), true) = (text(port, "name"), number, is_tcp) {
            ports.entry(name.to_owned()).or_insert(number);
        }
    }
    let has_ended =
        status.and_then(|status| text(status, "phase")).is_some_and(|it| it == "Succeeded" || it == "Failed");
    let injected = meta.labels.get(TLS_MODE).is_some_and(|mode| mode == "istio")
        || meta.annotations.contains_key(STATUS)
        || containers().any(|container| text(container, "name") == Some(PROXY));
    let status_of_one_that_runs = || status.filter(|_| !has_ended);
    let address = status_of_one_that_runs().and_then(|status| address(status, report));
    let other_address = status_of_one_that_runs().zip(address.as_ref());
    Pod {
        service_account: spec.and_then(|spec| text(spec, "serviceAccountName")).unwrap_or("default").to_owned(),
        other_address: other_address.and_then(|(status, first)| other_address_of(status, first.value, report)),
        address,
        ports,
        host_network: matches!(
            spec.and_then(|spec| spec.get("hostNetwork")).map(|it| &it.value),
            Some(Value::Bool(true))
        ),
        ready: status.is_none_or(is_ready),
        injected,
    }
}

fn address(status: &Node, report: &Report) -> Option<Located<IpAddr>> {
    let node = status.get("podIP")?;
    let written = node.as_str().filter(|text| !text.is_empty())?;
    let at = report.origin(node.at);
    let address = written.parse().ok();
    if address.is_none() {
        report.error(&at, "status.podIP", "not an IP address");
    }
    address.map(|address| Located::new(address, at))
}

fn other_address_of(status: &Node, first: IpAddr, report: &Report) -> Option<IpAddr> {
    for item in items(status.get("podIPs")?)? {
        let Some(node) = item.get("ip") else { continue };
        match node.as_str().unwrap_or_default().parse::<IpAddr>() {
            Ok(address) if address.is_ipv6() != first.is_ipv6() => return Some(address),
            Ok(_) => {}
            Err(_) => report.error(&report.origin(node.at), "status.podIPs", "not an IP address"),
        }
    }
    None
}

fn is_ready(status: &Node) -> bool {
    let mut conditions = status.get("conditions").and_then(items).into_iter().flatten();
    let ready = conditions.find(|condition| text(condition, "type") == Some("Ready"));
    ready.and_then(|condition| text(condition, "status")) != Some("False")
}

fn items(node: &Node) -> Option<&Vec<Node>> {
    match &node.value {
        Value::Seq(items) => Some(items),
        _ => None,
    }
}

fn text<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    node.get(key).and_then(Node::as_str)
}
