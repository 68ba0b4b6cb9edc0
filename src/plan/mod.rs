//! What proxies need, in the domain's own words: clusters to reach, listeners to open, routes between them, secrets by name.
//!
//! Plans come in two parts. A [`ClassPlan`] is the same for every proxy of a class (a namespace and the policy that singles some of
//! its workloads out), and is made and encoded once however many there are. A [`ProxyPlan`] is one workload's own: the listeners
//! that bind its address. Both are pure functions of the mesh; nothing here knows how Envoy spells it.

mod admission;
mod authorization;
mod class;
mod gateway;
mod grpc;
mod inbound;
mod intercepted;
mod node;
mod outbound;
mod routes;
mod secret_name;
mod termination;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::mesh::Workload;
pub use crate::mesh::decide::InboundMode;
pub use crate::mesh::{
    Discovery, EndpointAddress, Network, PathNormalization, Pattern, PeerNames, Protocol, San, TlsSettings, TlsVersion,
};
pub use admission::Admission;
pub use authorization::{AccessRule, Authorization, Condition, Test};
pub use class::{ClassKey, ClassPlan, Flavour, class_of, class_plan};
pub use gateway::{
    GatewayChain, GatewayHost, GatewayListener, GatewayRoute, GatewayTable, GatewayTarget, GatewayTls, PathMatch, Share,
};
pub use grpc::{GrpcCluster, GrpcPlan, GrpcTarget, grpc_plan};
pub use inbound::{InboundListener, InboundTarget, InterceptedInbound, ProxyPlan, proxy_plan};
pub use intercepted::InterceptedOutbound;
pub use node::{Interception, Node};
pub use outbound::{Cluster, ClusterEndpoint, ClusterTls, UpstreamTls, Validation};
pub use routes::{Detect, OutboundListener, OutboundTarget, RouteTable, ServerNames, VirtualHost};
pub use secret_name::SecretName;
pub use termination::{Clients, Termination};

/// What every proxy has alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where a proxy's outbound HTTP proxy listens, unless a Sidecar says otherwise.
    pub http_proxy: SocketAddr,
}

impl Default for Settings {
    fn default() -> Self {
        Self { http_proxy: SocketAddr::from((Ipv4Addr::LOCALHOST, 15001)) }
    }
}

/// Where iptables lead what comes to a workload.
const VIRTUAL_INBOUND_PORT: u16 = 15006;
/// Where they lead what it sends.
const VIRTUAL_OUTBOUND_PORT: u16 = 15001;

/// Every address of each family that a workload has, those of its first before those of the other.
fn wildcards(workload: &Workload) -> Wildcards {
    let first = unspecified(workload.address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()));
    Wildcards { first, other: workload.other_address.map(unspecified) }
}

/// `0.0.0.0`, `::`, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Wildcards {
    first: IpAddr,
    other: Option<IpAddr>,
}

impl Wildcards {
    /// The other one, at a port, for what binds `bind`; `None` where `bind` is no wildcard.
    fn beside(self, bind: SocketAddr) -> Option<SocketAddr> {
        let other = self.other.filter(|_| bind.ip() == self.first);
        other.map(|other| SocketAddr::new(other, bind.port()))
    }
}

/// Every address of a family.
fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// What is as it always is need not be shown.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Istio's name for a listener on this address.
fn listener_name(address: SocketAddr) -> String {
    format!("{}_{}", address.ip(), address.port())
}

#[cfg(test)]
mod tests;
