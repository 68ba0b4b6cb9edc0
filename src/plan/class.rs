//! What is the same for many proxies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use super::gateway::GatewayPlan;
use super::intercepted::Intercepted;
use super::outbound::clusters;
use super::routes::Outbound;
use super::termination::Termination;
use super::{
    Cluster, GatewayTable, InterceptedOutbound, Node, OutboundListener, RouteTable, SecretName, Settings, Wildcards,
    wildcards,
};
use crate::mesh::{
    HostFilter, Mesh, OutboundTrafficPolicy, PortList, Protocol, Service, Sidecar, SidecarEgress, Workload,
};

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
    /// The ports to which it sends plaintext, whoever serves them.
    skipped: Option<PortList>,
    /// Of a proxy that binds every address: those of which families.
    wildcards: Option<Wildcards>,
    /// The Gateways that a gateway serves, as `namespace/name`.
    gateways: Vec<String>,
}

/// The kinds of clients, which need different configuration for the same decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flavour {
    /// A proxy: Envoy.
    Envoy(Node),
    /// An application that is a client itself: gRPC's xDS.
    Grpc,
}

impl Flavour {
    /// Whether it is a proxy, which binds listeners and takes secrets.
    pub fn is_proxy(self) -> bool {
        matches!(self, Self::Envoy(_))
    }
}

/// The class of a workload. Cheap: no plan is made.
pub fn class_of(mesh: &Mesh, workload: &Workload, flavour: Flavour) -> ClassKey {
    let node = match flavour {
        Flavour::Envoy(node) => node,
        Flavour::Grpc => Node::PLAIN,
    };
    ClassKey {
        flavour,
        namespace: workload.key.namespace.clone(),
        sidecar: workload.sidecar().map(|sidecar| format!("{}/{}", sidecar.meta.namespace, sidecar.meta.name)),
        labels: mesh.client_labels(workload),
        skipped: workload.skipped_outbound().cloned(),
        wildcards: (node.is_intercepted() || node.is_gateway).then(|| wildcards(workload)),
        gateways: match node.is_gateway {
            true => {
                mesh.gateways_of(&workload.key).map(|it| format!("{}/{}", it.meta.namespace, it.meta.name)).collect()
            }
            false => Vec::new(),
        },
    }
}

/// Everything outbound of one class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassPlan {
    /// Ordered by name.
    pub clusters: Vec<Cluster>,
    /// Ordered by name.
    pub listeners: Vec<OutboundListener>,
    /// What takes the connections that iptables lead to the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intercepted: Option<InterceptedOutbound>,
    /// Ordered by name.
    pub routes: Vec<RouteTable>,
    /// What a gateway's listeners route by, ordered by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateway_tables: Vec<GatewayTable>,
    /// Every secret that the clusters refer to.
    pub secrets: BTreeSet<SecretName>,
}

/// Plans the class that `workload` belongs to.
pub fn class_plan(mesh: &Mesh, workload: &Workload, node: Node, settings: &Settings) -> ClassPlan {
    let namespace = &workload.key.namespace;
    let reachable = mesh.reachable_from(workload);
    let of_service = |service: &&Arc<Service>| clusters(mesh, workload, node, service);
    let mut clusters: Vec<Cluster> = reachable.iter().flat_map(of_service).collect();
    clusters.sort_by(|a, b| a.name.cmp(&b.name));
    let gateway = match node.is_gateway {
        true => GatewayPlan::new(mesh, workload, &reachable),
        false => GatewayPlan::default(),
    };
    let mut outbound = Outbound::new(namespace);
    let sidecar = workload.sidecar().map(|sidecar| &sidecar.spec);
    let intercepted = node.is_intercepted().then(|| {
        let policy = sidecar.and_then(|sidecar| sidecar.outbound_traffic_policy);
        let policy = policy.or(mesh.settings().outbound_traffic_policy()).unwrap_or_default();
        let registry_only = policy == OutboundTrafficPolicy::RegistryOnly;
        InterceptedOutbound::new(wildcards(workload), node, registry_only)
    });
    match (&intercepted, egress_of(sidecar)) {
        (Some(intercepted), _) => {
            let egress = sidecar.map_or(&[][..], |sidecar| &sidecar.egress);
            captured(&mut outbound, intercepted, egress, &reachable, node);
        }
        (None, _) if node.is_gateway => {}
        (None, Egress::Default(hosts)) => {
            let services = reachable.iter().copied().filter(|service| hosts.admits(service, namespace));
            outbound.http_proxy(mesh.settings().http_proxy(settings.http_proxy), services);
        }
        (None, Egress::Listeners(listeners)) => {
            for listener in listeners {
                outbound.egress(listener, &reachable, false);
            }
        }
    }
    let mut secrets: BTreeSet<_> = clusters.iter().flat_map(Cluster::secrets).collect();
    secrets.extend(gateway.secrets());
    if let Some(sidecar) = sidecar.filter(|_| !node.is_gateway) {
        // Whether a port ends its TLS is a question of its workload; who may have the secret is not.
        let terminated = sidecar.ingress.iter().filter_map(|listener| listener.tls.as_ref());
        let terminated = terminated.filter_map(|tls| Termination::new(&tls.value, namespace, vec![], mesh.settings()));
        secrets.extend(terminated.flat_map(|it| it.secrets().collect::<Vec<_>>()));
    }
    let (mut listeners, routes) = outbound.finish();
    for listener in listeners.iter_mut().filter(|listener| listener.target.may_be_http()) {
        listener.offers_http = node.is_istios;
        listener.paths = mesh.settings().path_normalization();
    }
    ClassPlan { clusters, listeners, intercepted, routes, gateway_tables: gateway.tables, secrets }
}

/// The listeners of a proxy that intercepts connections: those with an address of the operator's as they are, and for everything else
/// one for each address and port that services have.
fn captured<'a>(
    outbound: &mut Outbound<'a>,
    intercepted: &InterceptedOutbound,
    egress: &[SidecarEgress],
    reachable: &[&Arc<Service>],
    node: Node,
) {
    let namespace = outbound.namespace;
    let mut services = Intercepted::new(namespace, intercepted);
    if egress.is_empty() {
        reachable.iter().for_each(|service| services.add(service, None));
    }
    // A port that the operator lists is for the hosts listed with it, and for no others.
    let listed: BTreeSet<u16> = egress.iter().filter_map(|it| Some(it.port.as_ref()?.number.value)).collect();
    for listener in egress {
        let port = listener.port.as_ref();
        let captures = node.captures(listener.capture);
        if let Some(port) = port
            && (listener.bind.is_some() || !captures || port.protocol == Protocol::HttpProxy)
        {
            let captures = captures && port.protocol != Protocol::HttpProxy;
            outbound.egress(listener, reachable, captures);
            continue;
        }
        let hosts = HostFilter::of(listener, namespace);
        for service in reachable.iter().filter(|service| hosts.admits(service)) {
            match port {
                Some(port) => services.add(service, Some(port.number.value)),
                None => {
                    let others = service.ports.iter().map(|it| it.port.value).filter(|it| !listed.contains(it));
                    others.for_each(|port| services.add(service, Some(port)));
                }
            }
        }
    }
    services.finish(outbound);
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
