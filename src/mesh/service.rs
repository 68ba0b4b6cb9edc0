//! A service: a host, its ports, and the endpoints behind it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use super::{Origin, PortList, Protocol, ServicePort, Workload};
use crate::policy::{Located, TargetPort};

/// How a client's proxy learns the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Discovery {
    /// From us: they are workloads, or addresses in a policy.
    Endpoints,
    /// From the DNS.
    Dns,
    /// Not at all: each connection goes on to where it was going. Only where connections are intercepted is that known.
    OriginalDestination,
}

/// One host. A `v1` Service has one, a ServiceEntry one for each of its `hosts`.
#[derive(Debug)]
pub struct Service {
    /// The fully qualified host, in lower case; a ServiceEntry's may be `*.suffix`.
    pub host: String,
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The addresses under which clients know the service as a whole; none for those that are known by name only.
    pub addresses: Vec<IpAddr>,
    /// Its ports, ordered by number.
    pub ports: Vec<ServicePort>,
    /// Whether it lies outside the mesh, so that no mTLS is to be had without being asked for.
    pub external: bool,
    /// Whether it is a `v1` Service, which clients also know by `name`, `name.namespace` and `name.namespace.svc`.
    pub has_short_names: bool,
    /// How its endpoints are found.
    pub discovery: Discovery,
    /// Whether clients choose the endpoint: a headless `v1` Service, or a ServiceEntry with `resolution: NONE`. A proxy that
    /// intercepts connections then sends each to where it was going.
    pub client_chooses: bool,
    /// Its endpoints, ordered by address, with those that are not ready.
    pub endpoints: Vec<Endpoint>,
    /// What the endpoints' certificates carry, if the operator said.
    pub subject_alt_names: Vec<String>,
    /// The namespaces that see it.
    pub export_to: Vec<String>,
    /// The ports that its clients send in plaintext: `config.linkerd.io/skip-outbound-ports`.
    pub skipped_outbound: Option<Located<PortList>>,
    /// Where it was written.
    pub at: Origin,
}

impl Service {
    /// With the protocols that Linkerd's Servers and annotations give its ports. Both ends go by them: where one endpoint carries bytes, all
    /// do, since bytes may be HTTP, and HTTP may not be any bytes. `opaque`: the Service's own `config.linkerd.io/opaque-ports`.
    pub(super) fn with_protocols_of_linkerd(mut self, opaque: Option<&Located<PortList>>) -> Self {
        for port in &mut self.ports {
            let name = Some(port.name.as_str()).filter(|name| !name.is_empty());
            let is_opaque = opaque.is_some_and(|it| it.value.contains(port.port.value, name));
            let of_endpoint = |endpoint: &Endpoint| {
                let workload = endpoint.workload.as_ref().filter(|workload| workload.meshed)?;
                workload.linkerd().protocol(endpoint.port(port)?)
            };
            let said: Vec<Protocol> = self.endpoints.iter().filter_map(of_endpoint).collect();
            let bytes = [Protocol::Tcp, Protocol::Tls].into_iter().find(|it| said.contains(it));
            if is_opaque {
                port.protocol = Protocol::Tcp;
            } else if let Some(protocol) = bytes.or(said.first().copied()) {
                port.protocol = protocol;
            }
        }
        self
    }
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointAddress {
    /// An address.
    Ip(IpAddr),
    /// A DNS name, for services found by DNS.
    Dns(String),
}

/// One endpoint of a service.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where it is.
    pub address: EndpointAddress,
    /// Where else it is: its address of the other family.
    pub other_address: Option<IpAddr>,
    /// Its labels, which subsets select on.
    pub labels: Arc<BTreeMap<String, String>>,
    /// The SPIFFE IDs it may show: one for the trust domain and each alias. Empty when nobody knows.
    pub identities: Arc<[String]>,
    /// Whether a proxy stands before it.
    pub meshed: bool,
    /// The ports that have names.
    pub ports: Ports,
    /// `region/zone/subzone`.
    pub locality: Option<String>,
    /// Its share of the load.
    pub weight: Option<u32>,
    /// Whether clients may be sent to it. One that is not ready serves its ports nevertheless: else it would never become ready.
    pub ready: bool,
    /// The workload, when it is one; `None` for addresses written in a ServiceEntry.
    pub workload: Option<Arc<Workload>>,
}

/// Which of an endpoint's ports serves a service's port: it depends on what kind of object says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// A WorkloadEntry's or a ServiceEntry's endpoint's, by the name of the service's port. They go before `targetPort`, of which a name is
    /// looked up here too.
    Entry(BTreeMap<String, u16>),
    /// A Pod's, by the names that its containers give them: what a `targetPort` by name means.
    Pod(BTreeMap<String, u16>),
    /// An EndpointSlice's, by the name of the service's port. What is not among them is not served.
    Slice(BTreeMap<String, u16>),
}

impl Endpoint {
    /// The port that serves `port` here. `None`: this endpoint does not serve it, or a named target is none of its ports.
    pub fn port(&self, port: &ServicePort) -> Option<u16> {
        let target = |named: &BTreeMap<String, u16>| match &port.target_port {
            Some(TargetPort::Number(number)) => Some(*number),
            Some(TargetPort::Name(name)) => named.get(name).copied(),
            None => Some(port.port.value),
        };
        match &self.ports {
            // Istio's order.
            Ports::Entry(named) => {
                let own = named.get(&port.name).filter(|_| !port.name.is_empty());
                own.copied().or_else(|| target(named))
            }
            Ports::Pod(named) => target(named),
            Ports::Slice(named) => named.get(&port.name).copied(),
        }
    }
}
