//! A service: a host, its ports, and the endpoints behind it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use super::{Origin, ServicePort, Workload};
use crate::policy::TargetPort;

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
    /// Its endpoints, ordered by address.
    pub endpoints: Vec<Endpoint>,
    /// What the endpoints' certificates carry, if the operator said.
    pub subject_alt_names: Vec<String>,
    /// The namespaces that see it.
    pub export_to: Vec<String>,
    /// Where it was written.
    pub at: Origin,
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
    /// Its labels, which subsets select on.
    pub labels: BTreeMap<String, String>,
    /// The SPIFFE IDs it may show: one for the trust domain and each alias. Empty when nobody knows.
    pub identities: Vec<String>,
    /// Whether a proxy stands before it.
    pub meshed: bool,
    /// Ports by service port name.
    pub ports: BTreeMap<String, u16>,
    /// `region/zone/subzone`.
    pub locality: Option<String>,
    /// Its share of the load.
    pub weight: Option<u32>,
    /// The workload, when it is one; `None` for addresses written in a ServiceEntry.
    pub workload: Option<Arc<Workload>>,
}

impl Endpoint {
    /// The port that serves `port` here. Istio's order: the endpoint's own entry for the port's name, then `targetPort`
    /// (a name is looked up in the endpoint's ports), then the same number. `None`: a named target that it does not have.
    pub fn port(&self, port: &ServicePort) -> Option<u16> {
        target_port(&self.ports, port)
    }
}

pub(super) fn target_port(ports: &BTreeMap<String, u16>, port: &ServicePort) -> Option<u16> {
    if !port.name.is_empty()
        && let Some(number) = ports.get(&port.name)
    {
        return Some(*number);
    }
    match &port.target_port {
        Some(TargetPort::Number(number)) => Some(*number),
        Some(TargetPort::Name(name)) => ports.get(name).copied(),
        None => Some(port.port.value),
    }
}
