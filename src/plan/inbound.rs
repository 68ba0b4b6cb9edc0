//! Inbound listeners: what one workload serves, and which mode governs each port.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::Serialize;

use super::authorization::authorization;
use super::{Authorization, is_default, listener_name};
use crate::mesh::decide::{InboundMode, inbound};
use crate::mesh::{ApplicationEndpoint, Mesh, Protocol, TlsSettings, Workload};

/// What is one proxy's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProxyPlan {
    /// Ordered by address and port.
    pub inbound: Vec<InboundListener>,
    /// The trust domains whose identities may connect to a port with mutual TLS.
    pub trust_domains: Vec<String>,
    /// TLS of the ports with mutual TLS.
    #[serde(skip_serializing_if = "is_default")]
    pub tls: TlsSettings,
    /// Who may connect, and what they may ask for.
    #[serde(skip_serializing_if = "is_default")]
    pub authorization: Authorization,
}

/// One port that the workload serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InboundListener {
    /// Istio's name: `ADDRESS_PORT`.
    pub name: String,
    /// What it binds.
    pub bind: SocketAddr,
    /// What is spoken.
    pub protocol: Protocol,
    /// Plaintext, mutual TLS, or both.
    pub mode: InboundMode,
    /// Istio's name for the cluster behind it: `inbound|PORT||`.
    pub cluster: String,
    /// Where the application listens.
    pub target: InboundTarget,
}

/// Where an application listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InboundTarget {
    /// An address of the workload's machine.
    Socket(SocketAddr),
    /// A Unix socket.
    Unix(String),
}

/// Plans the listeners of a workload: its Sidecar's `ingress`, or else one for each port that a service sends to it or that its
/// PeerAuthentication names. A workload without a proxy, or whose address is a name, has none.
pub fn proxy_plan(mesh: &Mesh, workload: &Workload) -> ProxyPlan {
    let settings = mesh.settings();
    let mut plan = ProxyPlan {
        inbound: Vec::new(),
        trust_domains: settings.accepted_trust_domains(),
        tls: settings.mesh_tls(),
        authorization: authorization(mesh, workload),
    };
    let Some(address) = workload.address.filter(|_| workload.meshed) else { return plan };
    let mut add = |bind: SocketAddr, protocol, target| {
        plan.inbound.push(InboundListener {
            name: listener_name(bind),
            bind,
            protocol,
            mode: inbound(mesh, workload, bind.port()).mode,
            cluster: format!("inbound|{}||", bind.port()),
            target,
        });
    };
    let ingress = workload.sidecar().map_or(&[][..], |sidecar| &sidecar.spec.ingress);
    if ingress.is_empty() {
        for (port, protocol) in mesh.served_ports(workload) {
            let bind = SocketAddr::new(address, port);
            add(bind, protocol, application(None, bind, address));
        }
    }
    let mut taken = Vec::new();
    for listener in ingress {
        let bind = SocketAddr::new(listener.bind.unwrap_or(address), listener.port.value);
        if !taken.contains(&bind) {
            taken.push(bind);
            add(bind, listener.protocol, application(listener.default_endpoint.as_ref(), bind, address));
        }
    }
    plan.inbound.sort_by_key(|listener| listener.bind);
    plan
}

/// Where the application behind a listener is. Unless the operator says, it listens on loopback, at the listener's port: the proxy
/// has the same port of the workload's address.
fn application(written: Option<&ApplicationEndpoint>, bind: SocketAddr, address: IpAddr) -> InboundTarget {
    let loopback = match bind.ip() {
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    match written {
        None => InboundTarget::Socket(SocketAddr::new(loopback, bind.port())),
        Some(ApplicationEndpoint::Unix(path)) => InboundTarget::Unix(path.clone()),
        Some(ApplicationEndpoint::Socket(written)) => {
            // `0.0.0.0:PORT` means the workload's own address.
            let own = if written.ip().is_unspecified() { SocketAddr::new(address, written.port()) } else { *written };
            // That would be the listener itself, and each request would go round for ever.
            InboundTarget::Socket(if own == bind { SocketAddr::new(loopback, bind.port()) } else { own })
        }
    }
}
