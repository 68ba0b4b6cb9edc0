//! Inbound listeners: what one workload serves, and which mode governs each port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Serialize;

use super::admission::admitted;
use super::authorization::{authorization, in_several_domains};
use super::gateway::GatewayPlan;
use super::termination::{HTTP_ALPN, Termination};
use super::{
    AccessRule, Admission, Authorization, GatewayListener, Node, SecretName, VIRTUAL_INBOUND_PORT, is_default,
    listener_name, unspecified, wildcards,
};
use crate::mesh::decide::{InboundMode, inbound, inbound_elsewhere, ports_named, termination};
use crate::mesh::{
    ApplicationEndpoint, Mesh, PathNormalization, Protocol, ServerTls, SidecarIngress, TlsSettings, Workload,
};

/// Istio's name for what takes all that no other cluster does.
const PASSTHROUGH: &str = "InboundPassthroughCluster";

/// What is one proxy's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProxyPlan {
    /// Ordered by address and port.
    pub inbound: Vec<InboundListener>,
    /// What takes the connections that iptables lead here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intercepted: Option<InterceptedInbound>,
    /// Of a gateway, ordered by address and port.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateway: Vec<GatewayListener>,
    /// The trust domains whose identities may connect to a port with mutual TLS.
    pub trust_domains: Vec<String>,
    /// What their certificates are verified against.
    #[serde(skip_serializing_if = "is_own")]
    pub roots: SecretName,
    /// Whom a port with mutual TLS refuses before all else: who has names in several trust domains of different roots.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub several_domains: Vec<AccessRule>,
    /// TLS of the ports with mutual TLS.
    #[serde(skip_serializing_if = "is_default")]
    pub tls: TlsSettings,
    /// What is made of a request's path before anything looks at it.
    #[serde(skip_serializing_if = "is_default")]
    pub paths: PathNormalization,
    /// Who may connect, and what they may ask for.
    #[serde(skip_serializing_if = "is_default")]
    pub authorization: Authorization,
}

fn is_own(roots: &SecretName) -> bool {
    *roots == SecretName::Root
}

/// One port that the workload serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InboundListener {
    /// Istio's name: `ADDRESS_PORT`.
    pub name: String,
    /// What it binds.
    pub bind: SocketAddr,
    /// What it binds besides, of the other family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub also: Option<SocketAddr>,
    /// What is spoken.
    pub protocol: Protocol,
    /// Plaintext, mutual TLS, or both.
    pub mode: InboundMode,
    /// TLS with a certificate of the operator's, in place of plaintext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub termination: Option<Box<Termination>>,
    /// Istio's name for the cluster behind it: `inbound|PORT||`.
    pub cluster: String,
    /// Where the application listens.
    pub target: InboundTarget,
    /// Who is let in, where Linkerd's policy says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admission: Option<Admission>,
}

/// One listener for all ports: iptables lead every connection to it, and the kernel knows where each was going.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InterceptedInbound {
    /// What it binds.
    pub bind: SocketAddr,
    /// What it binds besides, of the other family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub also: Option<SocketAddr>,
    /// Whether connections keep their addresses (TPROXY).
    pub transparent: bool,
    /// The ports of which something is known, in order. They bind nothing.
    pub ports: Vec<InboundListener>,
    /// What becomes of every other port.
    pub elsewhere: InboundListener,
}

/// Where an application listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InboundTarget {
    /// An address of the workload's machine.
    Socket(SocketAddr),
    /// A Unix socket.
    Unix(String),
    /// Where the connection was going. The proxy connects from this address: by it the rules of iptables tell the last part of
    /// the way from a new request, which would come back here for ever.
    Original {
        /// 127.0.0.6, or ::6.
        source: IpAddr,
        /// The other one, for a workload that has addresses of both families.
        #[serde(skip_serializing_if = "Option::is_none")]
        other_source: Option<IpAddr>,
    },
    /// A port of the workload's own address, reached in the same way.
    Own {
        /// The address.
        address: SocketAddr,
        /// 127.0.0.6, or ::6.
        source: IpAddr,
    },
}

/// Plans the listeners of a workload: its Sidecar's `ingress`, or else one for each port that a service sends to it or that its
/// PeerAuthentication names. A workload without a proxy, or whose address is a name, has none, and a gateway has its Gateways' instead.
pub fn proxy_plan(mesh: &Mesh, workload: &Workload, node: Node) -> ProxyPlan {
    let settings = mesh.settings();
    let several_domains = in_several_domains(settings);
    let mut plan = ProxyPlan {
        inbound: Vec::new(),
        intercepted: None,
        gateway: Vec::new(),
        trust_domains: settings.accepted_trust_domains(),
        roots: if several_domains.is_empty() { SecretName::Root } else { SecretName::AllRoots },
        several_domains,
        tls: settings.mesh_tls(),
        paths: settings.path_normalization(),
        authorization: authorization(mesh, workload),
    };
    if node.is_gateway {
        plan.gateway = GatewayPlan::new(mesh, workload, &mesh.reachable_from(workload)).listeners;
        for listener in plan.gateway.iter_mut().filter(|listener| listener.target.reads_http()) {
            listener.offers_http = node.is_istios;
        }
        return plan;
    }
    let Some(address) = workload.address.filter(|_| workload.meshed) else { return plan };
    let planner = Planner { mesh, workload, address };
    let ingress = workload.sidecar().map_or(&[][..], |sidecar| &sidecar.spec.ingress);
    let mut captured = Vec::new();
    if ingress.is_empty() && !node.is_intercepted() {
        for (port, protocol) in mesh.served_ports(workload) {
            let bind = SocketAddr::new(address, port);
            plan.inbound.push(planner.listener(bind, protocol, application(None, bind, address)));
        }
    } else if ingress.is_empty() {
        captured = planner.served();
    }
    let mut taken = Vec::new();
    for listener in ingress {
        let endpoint = listener.default_endpoint.as_ref();
        let captures = node.captures(listener.capture);
        let own = if captures { unspecified(address) } else { address };
        let bind = SocketAddr::new(listener.bind.unwrap_or(own), listener.port.value);
        if taken.contains(&bind) {
            continue;
        }
        taken.push(bind);
        let termination = termination(workload, bind.port()).and_then(|tls| planner.terminating(&tls.value, listener));
        let planned = match captures {
            true => {
                let target = planner.original(endpoint, bind.port());
                planner.listener(SocketAddr::new(own, bind.port()), listener.protocol, target)
            }
            false => planner.listener(bind, listener.protocol, application(endpoint, bind, address)),
        };
        let also = planned.also.filter(|_| listener.bind.is_none());
        let planned = InboundListener { termination, also, ..planned };
        if captures { captured.push(planned) } else { plan.inbound.push(planned) }
    }
    plan.inbound.sort_by_key(|listener| listener.bind);
    if node.is_intercepted() {
        // A mode that is written for a port holds, whether or not anything else is known of the port.
        for port in ports_named(workload) {
            if captured.iter().all(|listener| listener.bind.port() != port) {
                captured.push(planner.elsewhere(port, inbound(mesh, workload, port).mode));
            }
        }
        captured.sort_by_key(|listener| listener.bind);
        let bind = SocketAddr::new(unspecified(address), VIRTUAL_INBOUND_PORT);
        plan.intercepted = Some(InterceptedInbound {
            bind,
            also: wildcards(workload).beside(bind),
            transparent: node.is_transparent(),
            ports: captured,
            elsewhere: planner.elsewhere(0, inbound_elsewhere(workload)),
        });
    }
    plan
}

struct Planner<'a> {
    mesh: &'a Mesh,
    workload: &'a Workload,
    address: IpAddr,
}

impl Planner<'_> {
    fn listener(&self, bind: SocketAddr, protocol: Protocol, target: InboundTarget) -> InboundListener {
        InboundListener {
            name: listener_name(bind),
            bind,
            also: self.beside(bind),
            protocol: self.workload.spoken(bind.port(), protocol),
            mode: inbound(self.mesh, self.workload, bind.port()).mode,
            termination: None,
            cluster: format!("inbound|{}||", bind.port()),
            target,
            admission: admitted(self.mesh, self.workload, Some(bind.port())),
        }
    }

    fn terminating(&self, tls: &ServerTls, listener: &SidecarIngress) -> Option<Box<Termination>> {
        let alpn = if listener.protocol.is_http() { HTTP_ALPN.to_vec() } else { Vec::new() };
        Termination::new(tls, &self.workload.key.namespace, alpn, self.mesh.settings()).map(Box::new)
    }

    /// The workload's address of the other family, for what binds its first.
    fn beside(&self, bind: SocketAddr) -> Option<SocketAddr> {
        let other = self.workload.other_address.filter(|_| bind.ip() == self.address);
        other.map(|other| SocketAddr::new(other, bind.port()))
    }

    /// The ports that services send to.
    fn served(&self) -> Vec<InboundListener> {
        let listener = |(port, protocol)| {
            let bind = SocketAddr::new(unspecified(self.address), port);
            self.listener(bind, protocol, self.original(None, port))
        };
        self.mesh.sent_to(self.workload).into_iter().map(listener).collect()
    }

    /// A port of no service; 0 for all of them.
    fn elsewhere(&self, port: u16, mode: InboundMode) -> InboundListener {
        let number = Some(port).filter(|port| *port > 0);
        InboundListener {
            name: "virtualInbound".to_owned(),
            bind: SocketAddr::new(unspecified(self.address), port),
            also: None,
            protocol: number.map_or(Protocol::Undeclared, |port| self.workload.protocol(port)),
            mode,
            termination: None,
            cluster: PASSTHROUGH.to_owned(),
            target: self.original(None, port),
            admission: admitted(self.mesh, self.workload, number),
        }
    }

    /// Where the application is behind an intercepted port: where the connection was going, unless the operator says otherwise.
    fn original(&self, written: Option<&ApplicationEndpoint>, port: u16) -> InboundTarget {
        let source = loopback_source(self.address);
        match written {
            Some(ApplicationEndpoint::Unix(path)) => InboundTarget::Unix(path.clone()),
            Some(ApplicationEndpoint::Socket(socket)) if !socket.ip().is_unspecified() => {
                InboundTarget::Socket(*socket)
            }
            Some(ApplicationEndpoint::Socket(socket)) if socket.port() != port => {
                InboundTarget::Own { address: SocketAddr::new(self.address, socket.port()), source }
            }
            Some(ApplicationEndpoint::Socket(_)) | None => {
                InboundTarget::Original { source, other_source: self.workload.other_address.map(loopback_source) }
            }
        }
    }
}

/// The loopback address that Istio's rules of iptables let through, of the workload's family.
fn loopback_source(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::new(127, 0, 0, 6).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6).into(),
    }
}

/// Where the application behind a listener is. Unless the operator says, it listens on loopback, at the listener's port: the proxy
/// has the same port of the workload's address.
fn application(written: Option<&ApplicationEndpoint>, bind: SocketAddr, address: IpAddr) -> InboundTarget {
    let loopback = match bind.ip() {
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
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
