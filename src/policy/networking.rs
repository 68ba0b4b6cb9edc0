//! What exists in the mesh: `v1` Service, and Istio's ServiceEntry, WorkloadEntry and Sidecar.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{LabelSelector, Located, OutboundTrafficPolicy, ServerTls};

/// An application protocol, as Istio reads `protocol:`, `appProtocol:` and port name prefixes (`http-web`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1 (`http`).
    Http,
    /// HTTP/2 without TLS (`http2`, `h2c`).
    Http2,
    /// gRPC (`grpc`, `grpc-web`).
    Grpc,
    /// TLS that the mesh does not terminate (`tls`, `https`).
    Tls,
    /// A Sidecar egress listener that serves every visible host and port as a forward proxy (`http_proxy`).
    HttpProxy,
    /// Bytes (`tcp` and everything else that is not HTTP, databases included).
    Tcp,
    /// Nothing says: HTTP where a connection turns out to be it, and bytes otherwise.
    #[default]
    Undeclared,
}

impl Protocol {
    /// Whether every connection is HTTP.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc | Self::HttpProxy)
    }

    /// Whether some connections may be HTTP.
    pub fn may_be_http(self) -> bool {
        self.is_http() || self == Self::Undeclared
    }

    /// Whether its upstream connections speak HTTP/2.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc)
    }
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// `port` / `number`: what clients ask for.
    pub port: Located<u16>,
    /// `name`; may be empty for a service of one port.
    pub name: String,
    /// The protocol.
    pub protocol: Protocol,
    /// `targetPort`: what the workload listens on. `None`: the same number.
    pub target_port: Option<TargetPort>,
}

/// `targetPort`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// A number.
    Number(u16),
    /// A name, looked up in a WorkloadEntry's `ports`.
    Name(String),
}

/// The spec of a `v1` `Service`. Its host is `<name>.<namespace>.svc.<cluster domain>`.
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// `selector`: the workloads that serve it (WorkloadEntries, outside Kubernetes).
    pub selector: LabelSelector,
    /// `ports` (TCP only; UDP ports are a warning and left out).
    pub ports: Vec<ServicePort>,
    /// `clusterIP` / `clusterIPs` that are addresses. Empty for headless services.
    pub cluster_ips: Vec<IpAddr>,
    /// `clusterIP: None`: clients look the workloads themselves up, and choose.
    pub headless: bool,
    /// `externalName`.
    pub external_name: Option<String>,
    /// Whether clients are sent to workloads that are not ready too.
    pub publish_not_ready_addresses: bool,
    /// `ipFamilies`; empty: those of the `clusterIPs`.
    pub ip_families: Vec<IpFamily>,
}

/// A family of addresses, in Kubernetes' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum IpFamily {
    /// RFC 791.
    #[serde(rename = "IPv4")]
    V4,
    /// RFC 8200.
    #[serde(rename = "IPv6")]
    V6,
}

impl IpFamily {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv6() { Self::V6 } else { Self::V4 }
    }
}

impl Service {
    /// Of a workload's addresses, at most one a family, those that its clients are sent to: the first counts where nothing is said.
    pub fn addresses_of(&self, first: IpAddr, other: Option<IpAddr>) -> (IpAddr, Option<IpAddr>) {
        let of_cluster = self.cluster_ips.iter().map(|address| IpFamily::of(*address));
        let families: Vec<_> =
            if self.ip_families.is_empty() { of_cluster.collect() } else { self.ip_families.clone() };
        let has = |address: IpAddr| families.contains(&IpFamily::of(address));
        match other.filter(|other| has(*other)) {
            Some(other) if has(first) => (first, Some(other)),
            Some(other) => (other, None),
            None => (first, None),
        }
    }
}

/// `resolution` of a ServiceEntry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// To where the client was going.
    #[default]
    None,
    /// The endpoints as written.
    Static,
    /// The host, or the endpoints' names, by DNS.
    Dns,
}

/// The spec of an Istio `ServiceEntry`.
#[derive(Clone, Debug)]
pub struct ServiceEntry {
    /// `hosts`.
    pub hosts: Vec<Located<String>>,
    /// `addresses` that are single addresses.
    pub addresses: Vec<IpAddr>,
    /// `ports`.
    pub ports: Vec<ServicePort>,
    /// `location: MESH_INTERNAL` (`false`: MESH_EXTERNAL, Istio's default).
    pub mesh_internal: bool,
    /// `resolution`.
    pub resolution: Resolution,
    /// `endpoints`, written in place.
    pub endpoints: Vec<WorkloadEntry>,
    /// `workloadSelector.labels`.
    pub workload_selector: Option<LabelSelector>,
    /// `subjectAltNames`: what the endpoints' certificates carry.
    pub subject_alt_names: Vec<String>,
    /// `exportTo`.
    pub export_to: Vec<String>,
}

/// The spec of an Istio `WorkloadEntry`: one workload, and outside Kubernetes one proxy.
#[derive(Clone, Debug)]
pub struct WorkloadEntry {
    /// `address`: an IP address, or a DNS name (for ServiceEntries with `resolution: DNS`).
    pub address: Located<String>,
    /// `ports`: by service port name.
    pub ports: BTreeMap<String, u16>,
    /// `labels` (of the spec; `metadata.labels` are the object's own).
    pub labels: BTreeMap<String, String>,
    /// `serviceAccount`; `None`: that of its WorkloadGroup, or `default`.
    pub service_account: Option<String>,
    /// `locality`.
    pub locality: Option<String>,
    /// `weight`.
    pub weight: Option<u32>,
}

/// `captureMode`: whether connections come to a listener by iptables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CaptureMode {
    /// As the proxy says of itself.
    #[default]
    Default,
    /// By iptables.
    Iptables,
    /// Not: whoever connects knows the listener's own address.
    None,
}

/// One of a Sidecar's `ingress` listeners.
#[derive(Clone, Debug)]
pub struct SidecarIngress {
    /// `port.number`.
    pub port: Located<u16>,
    /// `port.name`.
    pub name: String,
    /// `port.protocol`; where there is `tls`, what is within.
    pub protocol: Protocol,
    /// `tls`, where the proxy ends it with a certificate of the operator's: SIMPLE, MUTUAL or OPTIONAL_MUTUAL.
    pub tls: Option<Located<ServerTls>>,
    /// `bind`; `None`: the workload's address.
    pub bind: Option<IpAddr>,
    /// `captureMode`.
    pub capture: CaptureMode,
    /// `defaultEndpoint`: where the application listens. `None`: 127.0.0.1 and the same port.
    pub default_endpoint: Option<Endpoint>,
}

/// Where an application listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// An address and port; `0.0.0.0:PORT` in a policy means the workload's own address.
    Socket(std::net::SocketAddr),
    /// `unix:///path`.
    Unix(String),
}

/// One of a Sidecar's `egress` listeners.
#[derive(Clone, Debug)]
pub struct SidecarEgress {
    /// `port`; `None` (no port): the catch-all, its hosts apply to the default outbound listener.
    pub port: Option<EgressPort>,
    /// `bind`; `None`: 127.0.0.1, or where connections are intercepted, what they were going to.
    pub bind: Option<IpAddr>,
    /// `captureMode`.
    pub capture: CaptureMode,
    /// `hosts`: `namespace/dnsName`, namespace `*`, `.` or `~`.
    pub hosts: Vec<Located<String>>,
}

/// `egress[].port`.
#[derive(Clone, Debug)]
pub struct EgressPort {
    /// `number`.
    pub number: Located<u16>,
    /// `name`.
    pub name: String,
    /// `protocol`.
    pub protocol: Protocol,
}

/// The spec of an Istio `Sidecar`.
#[derive(Clone, Debug, Default)]
pub struct Sidecar {
    /// `workloadSelector.labels`; `None`: every workload of the namespace.
    pub workload_selector: Option<LabelSelector>,
    /// `ingress`; empty: one listener for each port of the workload's services.
    pub ingress: Vec<SidecarIngress>,
    /// `egress`; empty: the default outbound listener with every visible host.
    pub egress: Vec<SidecarEgress>,
    /// `outboundTrafficPolicy.mode`, where connections are intercepted; `None`: the mesh's.
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
}
