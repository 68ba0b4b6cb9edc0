//! What every proxy of a class shares, and which of it leads to ports that change their mode.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::super::need::Need;
use super::Described;
use crate::mesh::{Mesh, Outlook, Step, WorkloadKey};
use crate::plan::SecretName;
use crate::xds::{Layer, Resource, ResourceType};

/// What every proxy of a class shares. Secrets are a layer of their own: a stream without an identity is shown only the other.
#[derive(Clone)]
pub(in crate::server) struct Class {
    /// Clusters, endpoints, routes, outbound listeners.
    pub(in crate::server) configuration: Arc<Layer>,
    /// The secrets that policy names.
    pub(in crate::server) secrets: Arc<Layer>,
    /// The same for people, by name.
    pub(in crate::server) described: Arc<HashMap<String, Described>>,
    /// The clusters that lead to ports on their way to another mode.
    pub(super) calls: Arc<[Call]>,
    /// What the configuration was made from.
    pub(super) outlook: Arc<Outlook>,
    /// The secrets that it refers to.
    pub(super) refers_to: Arc<BTreeSet<SecretName>>,
}

/// A way to ports that are on their way to another mode.
pub(super) struct Call {
    pub(super) ports: BTreeSet<(WorkloadKey, u16)>,
    /// What makes it one way or the other.
    resources: Vec<Arc<Resource>>,
    tls: bool,
}

impl Class {
    pub(super) fn new(
        configuration: Arc<Layer>,
        calls: Arc<[Call]>,
        outlook: Arc<Outlook>,
        secrets: BTreeSet<SecretName>,
    ) -> Self {
        let (refers_to, described) = (Arc::new(secrets), Arc::default());
        Self { configuration, secrets: Arc::default(), described, calls, outlook, refers_to }
    }

    /// The ways to ports at the step in which clients change, as they are served.
    pub(in crate::server) fn switching(&self, mesh: &Mesh) -> Need {
        let is_switching = |(key, port): &(WorkloadKey, u16)| {
            mesh.transit().get(key, *port).is_some_and(|it| it.step == Step::Switching)
        };
        let calls = || self.calls.iter().filter(|call| call.ports.iter().any(is_switching));
        let resources = calls().flat_map(|call| &call.resources);
        Need::new(resources.map(Arc::as_ref), calls().any(|call| call.tls))
    }

    /// Whether it is the other's, with nothing made anew: what was planned for it is the very same.
    #[cfg(test)]
    pub(in crate::server) fn was_taken_over_from(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.refers_to, &other.refers_to)
    }

    /// Tells the calls of one class from those of another, for as long as both are there.
    pub(in crate::server) fn calls_id(&self) -> usize {
        self.calls.as_ptr().addr()
    }
}

/// What leads to ports that may be on their way, by name.
pub(super) struct Leads<'a> {
    pub(super) ports: BTreeSet<(WorkloadKey, u16)>,
    pub(super) clusters: Vec<&'a str>,
    pub(super) listeners: Vec<&'a str>,
    pub(super) tls: bool,
}

pub(super) fn calls<'a, I: Iterator<Item = Leads<'a>>>(layer: &Layer, leads: impl Fn() -> I) -> Arc<[Call]> {
    let moving = || leads().filter(|it| !it.ports.is_empty());
    if moving().next().is_none() {
        return Arc::default();
    }
    let of = |ty| layer.resources(ty).map(|it| (&**it.name(), it)).collect::<BTreeMap<_, _>>();
    let [clusters, endpoints, listeners] =
        [ResourceType::Cluster, ResourceType::Endpoint, ResourceType::Listener].map(of);
    let call = |it: Leads<'a>| {
        // Endpoints may be in the cluster itself.
        let of_clusters = it.clusters.iter().flat_map(|name| [clusters.get(name), endpoints.get(name)]);
        let all = of_clusters.chain(it.listeners.iter().map(|name| listeners.get(name))).flatten();
        Call { ports: it.ports, resources: all.map(|it| Arc::clone(it)).collect(), tls: it.tls }
    };
    moving().map(call).collect()
}
