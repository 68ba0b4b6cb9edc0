//! Reads a `v1` `Service`. Fields that place it in a Kubernetes cluster mean nothing to a mesh and are accepted silently.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, Visitor};

use super::fields::{non_empty, port_number};
use super::report::Report;
use super::{IpFamily, LabelSelector, Located, Service, ServicePort, TargetPort, protocol};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Raw {
    selector: BTreeMap<String, String>,
    ports: Vec<RawPort>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<Located<String>>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<Located<String>>,
    external_name: Option<String>,
    r#type: Option<IgnoredAny>,
    session_affinity: Option<IgnoredAny>,
    session_affinity_config: Option<IgnoredAny>,
    ip_families: Vec<IpFamily>,
    ip_family_policy: Option<IgnoredAny>,
    internal_traffic_policy: Option<IgnoredAny>,
    external_traffic_policy: Option<IgnoredAny>,
    traffic_distribution: Option<IgnoredAny>,
    health_check_node_port: Option<IgnoredAny>,
    publish_not_ready_addresses: bool,
    allocate_load_balancer_node_ports: Option<IgnoredAny>,
    #[serde(rename = "loadBalancerIP")]
    load_balancer_ip: Option<IgnoredAny>,
    load_balancer_class: Option<IgnoredAny>,
    load_balancer_source_ranges: Option<IgnoredAny>,
    #[serde(rename = "externalIPs")]
    external_ips: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "Kubernetes' fields that are only known")]
struct RawPort {
    port: Located<u32>,
    #[serde(default)]
    name: String,
    target_port: Option<Located<NumberOrName>>,
    protocol: Option<Located<Transport>>,
    app_protocol: Option<String>,
    node_port: Option<IgnoredAny>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Transport {
    Tcp,
    Udp,
    Sctp,
}

enum NumberOrName {
    Number(u32),
    Name(String),
}

impl<'de> Deserialize<'de> for NumberOrName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrNameVisitor;

        impl Visitor<'_> for NumberOrNameVisitor {
            type Value = NumberOrName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port number or a port's name")
            }

            fn visit_u64<E>(self, number: u64) -> Result<NumberOrName, E> {
                Ok(NumberOrName::Number(u32::try_from(number).unwrap_or(u32::MAX)))
            }

            fn visit_str<E>(self, name: &str) -> Result<NumberOrName, E> {
                Ok(NumberOrName::Name(name.to_owned()))
            }
        }

        deserializer.deserialize_any(NumberOrNameVisitor)
    }
}

/// Checks a service's spec.
pub(super) fn check(raw: Raw, report: &Report) -> Service {
    let several = raw.ports.len() > 1;
    let mut names = BTreeSet::new();
    let mut ports: Vec<ServicePort> = Vec::new();
    for (index, port) in raw.ports.into_iter().enumerate() {
        let field = format!("spec.ports[{index}]");
        let at = port.port.at.clone();
        let number = port_number(&port.port, &format!("{field}.port"), report);
        if several && port.name.is_empty() {
            report.error(&at, &field, "a port of a service with several ports needs a name");
        } else if several && !names.insert(port.name.clone()) {
            report.error(&at, &field, format!("the port name {:?} is used twice", port.name));
        }
        if let Some(Located { value: Transport::Udp | Transport::Sctp, at }) = port.protocol {
            report.warn(&at, format!("{field}: only TCP is served, the port is left out"));
            continue;
        }
        if ports.iter().any(|other| other.port.value == number) {
            report.error(&at, &field, format!("port {number} is listed twice"));
        }
        let target_port = port.target_port.map(|target| target_port(target, &field, report));
        let protocol = protocol::of_service_port(number, &port.name, port.app_protocol.as_deref());
        ports.push(ServicePort { port: Located::new(number, at), name: port.name, protocol, target_port });
    }
    let mut cluster_ips: Vec<IpAddr> = Vec::new();
    let mut headless = false;
    for ip in raw.cluster_ip.into_iter().chain(raw.cluster_ips) {
        match ip.value.parse() {
            Ok(address) if !cluster_ips.contains(&address) => cluster_ips.push(address),
            Ok(_) => {}
            Err(_) if ip.value.is_empty() => {}
            Err(_) if ip.value == "None" => headless = true,
            Err(_) => report.error(&ip.at, "spec.clusterIP", "not an IP address (nor \"None\")"),
        }
    }
    let (selector, external_name) = (LabelSelector(raw.selector), non_empty(raw.external_name));
    let publish_not_ready_addresses = raw.publish_not_ready_addresses;
    let ip_families = raw.ip_families;
    Service { selector, ports, cluster_ips, headless, external_name, publish_not_ready_addresses, ip_families }
}

fn target_port(target: Located<NumberOrName>, field: &str, report: &Report) -> TargetPort {
    match target.value {
        NumberOrName::Name(name) => TargetPort::Name(name),
        NumberOrName::Number(number) => {
            TargetPort::Number(port_number(&Located::new(number, target.at), &format!("{field}.targetPort"), report))
        }
    }
}
