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
pub use grants::{Client, Grant};
pub use names::dns_name;

use super::{Object, Origin, Protocol};
use crate::policy::linkerd::{Annotations, Server};

/// The networks of a cluster, where nobody says others: Linkerd's own defaults (linkerd/linkerd2, `clusterNetworks` of its chart).
const CLUSTER_NETWORKS: [&str; 5] = ["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8"];

/// What Linkerd's policy is about a workload.
#[derive(Clone, Debug, Default)]
pub(super) struct Linkerd {
    /// The workload's own annotations, its group's, and its namespace's, the narrowest first.
    pub(super) annotations: Annotations,
    /// By port: the Server that selects it. Of several the oldest.
    pub(super) servers: BTreeMap<u16, Arc<Governed>>,
    /// The workload's ports by name, for annotations that name ports.
    pub(super) names: BTreeMap<u16, String>,
}

/// A Server, and who is let in.
#[derive(Debug)]
pub(super) struct Governed {
    pub(super) server: Arc<Object<Server>>,
    /// Whoever one of these lets in. None: nobody.
    pub(super) grants: Vec<Grant>,
}

/// What Linkerd says of a port.
#[derive(Clone, Copy, Debug)]
pub(super) enum Said<'a> {
    /// Its connections go past the proxy.
    Skipped(&'a Origin),
    /// A Server selects it.
    Server(&'a Governed),
    /// No Server does, and an annotation says what holds then.
    Default(DefaultPolicy, &'a Origin),
}

impl Linkerd {
    /// What is said of a port; of those of which nothing is said by number without one. `None`: nothing at all.
    pub(super) fn said(&self, port: Option<u16>) -> Option<Said<'_>> {
        let skipped = port.and_then(|port| {
            let skipped = self.annotations.skip_inbound_ports.as_ref()?;
            skipped.value.contains(port, None).then_some(Said::Skipped(&skipped.at))
        });
        let server = || port.and_then(|port| self.servers.get(&port)).map(|governed| Said::Server(governed));
        let default = || {
            let policy = self.annotations.default_inbound_policy.as_ref()?;
            Some(Said::Default(policy.value, &policy.at))
        };
        skipped.or_else(server).or_else(default)
    }

    /// Whether a port's connections go past the proxy.
    pub(super) fn is_skipped(&self, port: u16) -> bool {
        matches!(self.said(Some(port)), Some(Said::Skipped(_)))
    }

    /// What a port speaks, where Linkerd says it.
    pub(super) fn protocol(&self, port: u16) -> Option<Protocol> {
        if let Some(Said::Server(governed)) = self.said(Some(port)) {
            let written = governed.server.spec.protocol.as_ref();
            if let Some(protocol) = written.and_then(|written| written.value.protocol()) {
                return Some(protocol);
            }
        }
        let opaque = self.annotations.opaque_ports.as_ref()?;
        let name = self.names.get(&port).map(String::as_str);
        opaque.value.contains(port, name).then_some(Protocol::Tcp)
    }

    /// The ports of which something is said by number.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> + '_ {
        let skipped = self.annotations.skip_inbound_ports.iter().flat_map(|skipped| skipped.value.numbers());
        self.servers.keys().copied().chain(skipped)
    }
}
