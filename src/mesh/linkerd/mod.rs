//! What Linkerd's kinds and annotations say of a workload, with every reference followed.
//!
//! This is one of the dialects that [`decide`](super::decide) listens to. Who its identities are, is said in the SPIFFE IDs of the mesh
//! ([`Client`]); the DNS-like names that Linkerd writes stand in certificates beside them.

mod build;
mod grants;
mod names;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use crate::policy::linkerd::{ClientNetwork, DefaultPolicy, Identity, Ports as PortList};
pub(super) use build::{Kinds, misplaced};
pub use grants::{Client, Grant};
pub use names::dns_name;
pub(super) use names::is_name;

use super::{Object, Origin, Ports, Protocol};
use crate::policy::linkerd::{Annotations, Server};

/// The networks of a cluster, where nobody says others: Linkerd's own defaults (linkerd/linkerd2, `clusterNetworks` of its chart).
const CLUSTER_NETWORKS: [&str; 5] = ["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8"];

/// What Linkerd's policy is about a workload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linkerd<'a> {
    pub(super) annotations: &'a Annotations,
    /// By port: the Server that selects it.
    pub(super) servers: &'a BTreeMap<u16, Arc<Served>>,
    /// The workload's ports by name, for annotations that name ports.
    pub(super) ports: &'a Ports,
}

/// A Server, and who is let in.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) server: Arc<Object<Server>>,
    /// Whoever one of these lets in. None: nobody.
    pub(super) grants: Vec<Grant>,
}

impl PartialEq for Served {
    /// Whether it is the very same Server, under the same authorizations.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.server, &other.server) && self.grants == other.grants
    }
}

/// What Linkerd says of a port.
#[derive(Clone, Copy, Debug)]
pub(super) enum Said<'a> {
    /// Its connections go past the proxy.
    Skipped(&'a Origin),
    /// A Server selects it.
    Server(&'a Served),
    /// No Server does, and an annotation says what holds then.
    Default(DefaultPolicy, &'a Origin),
}

impl<'a> Linkerd<'a> {
    /// What is said of a port; of those of which nothing is said by number without one. `None`: nothing at all.
    pub(super) fn said(self, port: Option<u16>) -> Option<Said<'a>> {
        let skipped = port.and_then(|port| {
            let skipped = self.annotations.skip_inbound_ports.as_ref()?;
            skipped.value.contains(port, None).then_some(Said::Skipped(&skipped.at))
        });
        let server = || port.and_then(|port| self.servers.get(&port)).map(|served| Said::Server(served));
        let default = || {
            let policy = self.annotations.default_inbound_policy.as_ref()?;
            Some(Said::Default(policy.value, &policy.at))
        };
        skipped.or_else(server).or_else(default)
    }

    /// Whether a port's connections go past the proxy.
    pub(super) fn is_skipped(self, port: u16) -> bool {
        matches!(self.said(Some(port)), Some(Said::Skipped(_)))
    }

    /// What a port speaks, where Linkerd says it.
    pub(super) fn protocol(self, port: u16) -> Option<Protocol> {
        if let Some(Said::Server(served)) = self.said(Some(port)) {
            let written = served.server.spec.protocol.as_ref();
            if let Some(protocol) = written.and_then(|written| written.value.protocol()) {
                return Some(protocol);
            }
        }
        let opaque = self.annotations.opaque_ports.as_ref()?;
        let (Ports::Entry(named) | Ports::Pod(named) | Ports::Slice(named)) = self.ports;
        let name = named.iter().find(|(_, number)| **number == port).map(|(name, _)| name.as_str());
        opaque.value.contains(port, name).then_some(Protocol::Tcp)
    }

    /// The ports of which something is said by number.
    pub(super) fn ports(self) -> impl Iterator<Item = u16> + 'a {
        let skipped = self.annotations.skip_inbound_ports.iter().flat_map(|skipped| skipped.value.numbers());
        self.servers.keys().copied().chain(skipped)
    }
}
