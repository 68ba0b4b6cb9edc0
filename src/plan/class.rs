//! What is the same for many proxies.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::outbound::clusters;
use super::routes::Outbound;
use super::{Cluster, OutboundListener, RouteTable, SecretName, Settings};
use crate::mesh::{HostFilter, Mesh, Service, Sidecar, SidecarEgress, Workload};

/// What tells one class of proxies from another: workloads with equal keys have equal plans.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassKey {
    flavour: Flavour,
    /// Visibility, DestinationRules and Secrets go by namespace.
    namespace: String,
    /// The Sidecar that governs it, as `namespace/name`.
    sidecar: Option<String>,
    /// The labels that some DestinationRule of the namespace selects clients by.
    labels: BTreeMap<String, String>,
}

/// The kinds of clients, which need different configuration for the same decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flavour {
    /// A proxy: Envoy.
    Envoy,
    /// An application that is a client itself: gRPC's xDS.
    Grpc,
}

/// The class of a workload. Cheap: no plan is made.
pub fn class_of(mesh: &Mesh, workload: &Workload, flavour: Flavour) -> ClassKey {
    ClassKey {
        flavour,
        namespace: workload.key.namespace.clone(),
        sidecar: workload.sidecar().map(|sidecar| format!("{}/{}", sidecar.meta.namespace, sidecar.meta.name)),
        labels: mesh.client_labels(workload),
    }
}

/// Everything outbound of one class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassPlan {
    /// Ordered by name.
    pub clusters: Vec<Cluster>,
    /// Ordered by name.
    pub listeners: Vec<OutboundListener>,
    /// Ordered by name.
    pub routes: Vec<RouteTable>,
    /// Every secret that the clusters refer to.
    pub secrets: BTreeSet<SecretName>,
}

/// Plans the class that `workload` belongs to.
pub fn class_plan(mesh: &Mesh, workload: &Workload, settings: &Settings) -> ClassPlan {
    let namespace = &workload.key.namespace;
    let reachable = mesh.reachable_from(workload);
    let mut clusters: Vec<Cluster> = reachable.iter().flat_map(|service| clusters(mesh, workload, service)).collect();
    clusters.sort_by(|a, b| a.name.cmp(&b.name));
    let mut outbound = Outbound::new(namespace);
    match egress_of(workload.sidecar().map(|sidecar| &sidecar.spec)) {
        Egress::Default(hosts) => {
            let services = reachable.iter().copied().filter(|service| hosts.admits(service, namespace));
            outbound.http_proxy(mesh.settings().http_proxy(settings.http_proxy), services);
        }
        Egress::Listeners(listeners) => {
            for listener in listeners {
                outbound.egress(listener, &reachable);
            }
        }
    }
    let secrets = clusters.iter().flat_map(Cluster::secrets).collect();
    let (listeners, routes) = outbound.finish();
    ClassPlan { clusters, listeners, routes, secrets }
}

/// What a Sidecar's egress asks for.
enum Egress<'a> {
    /// No listener of its own: the outbound HTTP proxy, for the hosts of the entry without a port.
    Default(Hosts<'a>),
    /// These, and nothing else.
    Listeners(Vec<&'a SidecarEgress>),
}

/// The hosts of the default listener: those listed, or all.
struct Hosts<'a>(Option<&'a SidecarEgress>);

impl Hosts<'_> {
    fn admits(&self, service: &Service, namespace: &str) -> bool {
        self.0.is_none_or(|egress| HostFilter::of(egress, namespace).admits(service))
    }
}

fn egress_of(sidecar: Option<&Sidecar>) -> Egress<'_> {
    let egress = sidecar.map_or(&[][..], |sidecar| &sidecar.egress);
    match egress.iter().filter(|egress| egress.port.is_some()).collect::<Vec<_>>() {
        none if none.is_empty() => Egress::Default(Hosts(egress.first())),
        listeners => Egress::Listeners(listeners),
    }
}
