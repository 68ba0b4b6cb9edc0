//! One workload, or one service: what governs it, and why.

use serde::{Deserialize, Serialize};

use super::ways::step;
use super::{Filter, Way, ways};
use crate::mesh::decide::inbound;
use crate::mesh::{EndpointAddress, Mesh, WorkloadKey};

/// `countersign describe workload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadDescription {
    /// `namespace/name`.
    pub name: String,
    /// Where it is written.
    pub at: String,
    /// Its address, as written.
    pub address: String,
    /// Its SPIFFE ID.
    pub identity: String,
    /// Whether a proxy stands before it.
    pub meshed: bool,
    /// The Sidecar that governs it, `namespace/name`; empty without one.
    pub sidecar: String,
    /// The hosts of the services that select it.
    pub services: Vec<String>,
    /// What each of its ports takes.
    pub ports: Vec<PortDescription>,
    /// How it reaches others.
    pub ways: Vec<Way>,
}

/// What a port takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PortDescription {
    /// The workload's port.
    pub port: u16,
    /// `STRICT`, `PERMISSIVE` or `DISABLE`.
    pub mode: String,
    /// The PeerAuthentication that decided, `namespace/name`; empty for the default.
    pub policy: String,
    /// The steps, each with its place.
    pub reasons: Vec<String>,
}

/// `countersign describe service`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceDescription {
    /// The host.
    pub host: String,
    /// The namespace that defines it.
    pub namespace: String,
    /// Where it is written.
    pub at: String,
    /// Whether it is outside the mesh.
    pub external: bool,
    /// Its ports.
    pub ports: Vec<u16>,
    /// Who is behind it.
    pub endpoints: Vec<EndpointDescription>,
    /// How clients reach it.
    pub ways: Vec<Way>,
}

/// Who is behind a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointDescription {
    /// The address or name.
    pub address: String,
    /// The workload, `namespace/name`; empty where it is none.
    pub workload: String,
    /// What its ports take: those that the service sends to.
    pub ports: Vec<PortDescription>,
}

/// Describes a workload; `None`: there is none of this name.
pub fn describe_workload(mesh: &Mesh, key: &WorkloadKey) -> Option<WorkloadDescription> {
    let workload = mesh.workload(key)?;
    let ports = mesh.served_ports(workload).into_keys();
    Some(WorkloadDescription {
        name: key.to_string(),
        at: workload.at.to_string(),
        address: workload.address_text.clone(),
        identity: workload.spiffe_id.clone(),
        meshed: workload.meshed,
        sidecar: workload.sidecar().map(|it| format!("{}/{}", it.meta.namespace, it.meta.name)).unwrap_or_default(),
        services: mesh.services_of(key).map(|service| service.host.clone()).collect(),
        ports: ports.map(|port| port_description(mesh, workload, port)).collect(),
        ways: ways(mesh, &Filter { workload: Some(key.clone()), ..Filter::default() }),
    })
}

/// Describes every service of a host, or of a short name: several namespaces may define one.
pub fn describe_service(mesh: &Mesh, host: &str) -> Vec<ServiceDescription> {
    let named = mesh.services().filter(|service| super::ways::is_named(service, host));
    let described = named.map(|service| ServiceDescription {
        host: service.host.clone(),
        namespace: service.namespace.clone(),
        at: service.at.to_string(),
        external: service.external,
        ports: service.ports.iter().map(|port| port.port.value).collect(),
        endpoints: service
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.ready)
            .map(|endpoint| {
                let numbers = service.ports.iter().filter_map(|port| endpoint.port(port));
                EndpointDescription {
                    address: match &endpoint.address {
                        EndpointAddress::Ip(ip) => ip.to_string(),
                        EndpointAddress::Dns(name) => name.clone(),
                    },
                    workload: endpoint.workload.as_ref().map(|it| it.key.to_string()).unwrap_or_default(),
                    ports: (endpoint.workload.iter())
                        .flat_map(|workload| numbers.clone().map(|port| port_description(mesh, workload, port)))
                        .collect(),
                }
            })
            .collect(),
        ways: ways(mesh, &Filter { host: Some(service.host.clone()), ..Filter::default() }),
    });
    described.collect()
}

fn port_description(mesh: &Mesh, workload: &crate::mesh::Workload, port: u16) -> PortDescription {
    let decision = inbound(mesh, workload, port);
    PortDescription {
        port,
        mode: decision.mode.to_string(),
        policy: decision.policy.unwrap_or_default(),
        reasons: decision.reasons.iter().map(step).collect(),
    }
}
