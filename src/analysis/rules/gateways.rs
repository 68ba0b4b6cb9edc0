//! What stands at the mesh's edge: the hosts of Gateways, their certificates, and where their routes lead.

use std::collections::HashMap;
use std::sync::Arc;

use time::OffsetDateTime;

use super::super::Subject;
use super::super::catalogue::{
    HOST_WITHOUT_ROUTE, NO_SERVER_CREDENTIAL, NO_SUCH_SUBSET, PLAIN_TO_TLS, PORT_NOT_EXPOSED, TLS_TWICE, UNSERVED_HOST,
};
use super::super::finding::Collector;
use super::credentials::{Wanted, problem};
use crate::mesh::decide::{Destination, OutboundMode, outbound_to, subsets};
use crate::mesh::{Mesh, Service, Workload, gateway_named, intersection};
use crate::policy::{
    Gateway, Located, Object, Protocol, Server, ServerCertificate, ServerProtocol, ServerTls, ServerTlsMode,
    VirtualService, WeightedDestination,
};

pub(in super::super) fn all(subject: Subject<'_>, now: OffsetDateTime, found: &mut Collector) {
    let edge = Edge::new(subject.mesh);
    for gateway in &subject.set.gateways {
        let workloads = edge.workloads_of(gateway);
        for server in &gateway.spec.servers {
            hosts_without_route(subject.mesh, gateway, server, found);
            for workload in workloads {
                server_credential(subject, gateway, server, workload, now, found);
                port_not_exposed(subject.mesh, gateway, server, workload, found);
                Behind { mesh: subject.mesh, gateway, server, workload }.routes(found);
            }
        }
    }
    for service in &subject.set.virtual_services {
        unserved_hosts(subject, service, found);
    }
    for workload in subject.mesh.workloads() {
        ingress_credentials(subject, workload, now, found);
    }
}

/// The workloads of each Gateway.
struct Edge<'m>(HashMap<(String, String), Vec<&'m Arc<Workload>>>);

impl<'m> Edge<'m> {
    fn new(mesh: &'m Mesh) -> Self {
        let mut of_gateway: HashMap<_, Vec<_>> = HashMap::new();
        for workload in mesh.workloads() {
            for gateway in mesh.gateways_of(&workload.key) {
                let name = (gateway.meta.namespace.clone(), gateway.meta.name.clone());
                of_gateway.entry(name).or_default().push(workload);
            }
        }
        Self(of_gateway)
    }

    fn workloads_of(&self, gateway: &Object<Gateway>) -> &[&'m Arc<Workload>] {
        let name = (gateway.meta.namespace.clone(), gateway.meta.name.clone());
        self.0.get(&name).map(Vec::as_slice).unwrap_or_default()
    }
}

/// CS0208.
fn hosts_without_route(mesh: &Mesh, gateway: &Object<Gateway>, server: &Server, found: &mut Collector) {
    if server.https_redirect && server.tls.is_none() {
        return;
    }
    let (kind, has_routes) = routes_for(server);
    let bound: Vec<_> = mesh.virtual_services_of(gateway, server).collect();
    for host in &server.hosts {
        let name = host.value.split_once('/').map_or(host.value.as_str(), |(_, name)| name);
        let of_host = bound.iter().filter(|(_, hosts)| hosts.iter().any(|shared| intersection(name, shared).is_some()));
        let of_host: Vec<_> = of_host.collect();
        let message = match of_host.first() {
            None => format!(
                "{} serves {} on port {}, and no VirtualService leads it anywhere",
                named(gateway),
                host.value,
                server.port.value
            ),
            Some(_) if of_host.iter().any(|(service, _)| has_routes(service)) => continue,
            Some((service, _)) => format!(
                "{} serves {} on port {}, and VirtualService {}/{} ({}) has no `{kind}` routes for it",
                named(gateway),
                host.value,
                server.port.value,
                service.meta.namespace,
                service.meta.name,
                service.at
            ),
        };
        found.add(&HOST_WITHOUT_ROUTE, &host.at, message);
    }
}

type HasRoutes = fn(&VirtualServiceObject) -> bool;
type VirtualServiceObject = Object<VirtualService>;

/// Which of a VirtualService's routes a server looks at.
fn routes_for(server: &Server) -> (&'static str, HasRoutes) {
    let passes_on = server.tls.as_ref().is_some_and(|tls| tls.value.mode == ServerTlsMode::Passthrough);
    match server.protocol {
        ServerProtocol::Https | ServerProtocol::Tls if passes_on => ("tls", |it| !it.spec.tls.is_empty()),
        ServerProtocol::Http | ServerProtocol::Https => ("http", |it| !it.spec.http.is_empty()),
        ServerProtocol::Tls | ServerProtocol::Tcp => ("tcp", |it| !it.spec.tcp.is_empty()),
    }
}

/// CS0209.
fn unserved_hosts(subject: Subject<'_>, service: &VirtualServiceObject, found: &mut Collector) {
    let named_gateways = subject.set.gateways.iter().filter(|gateway| {
        service.spec.gateways.iter().any(|name| gateway_named(&name.value, &service.meta.namespace, gateway))
    });
    let named_gateways: Vec<_> = named_gateways.collect();
    // A Gateway that is not there is the model's own warning.
    if named_gateways.is_empty() {
        return;
    }
    let mut served: Vec<String> = Vec::new();
    for gateway in &named_gateways {
        for server in &gateway.spec.servers {
            let bound = subject.mesh.virtual_services_of(gateway, server);
            let of_service = bound
                .filter(|(it, _)| it.meta.namespace == service.meta.namespace && it.meta.name == service.meta.name);
            served.extend(of_service.flat_map(|(_, hosts)| hosts));
        }
    }
    for host in &service.spec.hosts {
        // A name without dots is a Service's, which a Gateway has in full.
        let is_served = |shared: &String| {
            intersection(&host.value, shared).is_some() || shared.starts_with(&format!("{}.", host.value))
        };
        if !served.iter().any(is_served) {
            let message = format!(
                "VirtualService {}/{} is for {}, which no server of {} lets it have",
                service.meta.namespace,
                service.meta.name,
                host.value,
                named(named_gateways[0])
            );
            found.add(&UNSERVED_HOST, &host.at, message);
        }
    }
}

/// CS0305, of Gateways.
fn server_credential(
    subject: Subject<'_>,
    gateway: &Object<Gateway>,
    server: &Server,
    workload: &Workload,
    now: OffsetDateTime,
    found: &mut Collector,
) {
    if let Some(tls) = &server.tls {
        let who = (named(gateway), Some(&*gateway.meta.namespace));
        credential_of(subject, who, tls, workload, now, found);
    }
}

/// CS0305, of Sidecars.
fn ingress_credentials(subject: Subject<'_>, workload: &Workload, now: OffsetDateTime, found: &mut Collector) {
    let Some(sidecar) = workload.sidecar().filter(|_| workload.meshed) else { return };
    let name = format!("Sidecar {}/{}", sidecar.meta.namespace, sidecar.meta.name);
    for tls in sidecar.spec.ingress.iter().filter_map(|listener| listener.tls.as_ref()) {
        credential_of(subject, (name.clone(), None), tls, workload, now, found);
    }
}

fn credential_of(
    subject: Subject<'_>,
    (who, gateway): (String, Option<&str>),
    tls: &Located<ServerTls>,
    workload: &Workload,
    now: OffsetDateTime,
    found: &mut Collector,
) {
    let Some(ServerCertificate::Credential(name)) = &tls.value.certificate else { return };
    let verifies = matches!(tls.value.mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual);
    let wanted = Wanted { namespace: &workload.key.namespace, gateway, name, certificate: true, roots: verifies };
    if let Some(problem) = problem(subject.set, wanted, now) {
        let message = format!("{who} names the Secret {name:?} for workloads in {}: {problem}", workload.key.namespace);
        found.add(&NO_SERVER_CREDENTIAL, &tls.at, message);
    }
}

/// CS0211. Where no Service leads to the workload at all, it is reached by other means.
fn port_not_exposed(
    mesh: &Mesh,
    gateway: &Object<Gateway>,
    server: &Server,
    workload: &Workload,
    found: &mut Collector,
) {
    let exposed = mesh.sent_to(workload);
    if !exposed.is_empty() && !exposed.contains_key(&server.port.value) {
        let message = format!(
            "{} serves port {}, to which no Service of {} leads",
            named(gateway),
            server.port.value,
            workload.key
        );
        found.add(&PORT_NOT_EXPOSED, &server.port.at, message);
    }
}

/// What one server of a gateway's workload leads to.
struct Behind<'a> {
    mesh: &'a Mesh,
    gateway: &'a Object<Gateway>,
    server: &'a Server,
    workload: &'a Workload,
}

impl Behind<'_> {
    fn routes(&self, found: &mut Collector) {
        let reachable = self.mesh.reachable_from(self.workload);
        for (service, _) in self.mesh.virtual_services_of(self.gateway, self.server) {
            let (http, tls, tcp) = (&service.spec.http, &service.spec.tls, &service.spec.tcp);
            let (kind, _) = routes_for(self.server);
            let routes: Vec<&WeightedDestination> = match kind {
                "http" => http.iter().flat_map(|it| &it.route).collect(),
                "tls" => tls.iter().flat_map(|it| &it.route).collect(),
                _ => tcp.iter().flat_map(|it| &it.route).collect(),
            };
            for to in routes {
                // A destination that is not there is the model's own warning.
                let Some((found_service, port)) = self.mesh.destination(&reachable, &service.meta.namespace, to) else {
                    continue;
                };
                self.subset(found_service, to, found);
                self.tls(kind, found_service, port, to, found);
            }
        }
    }

    /// CS0210.
    fn subset(&self, service: &Service, to: &WeightedDestination, found: &mut Collector) {
        let Some(subset) = to.subset.as_deref() else { return };
        if !subsets(self.mesh, self.workload, service).contains_key(subset) {
            let message = format!(
                "the route through {} to {} names the subset {subset:?}, which no DestinationRule that governs {} has",
                named(self.gateway),
                service.host,
                self.workload.key
            );
            found.add(&NO_SUCH_SUBSET, &to.host.at, message);
        }
    }

    /// CS0107, CS0108.
    fn tls(&self, kind: &str, service: &Service, port: u16, to: &WeightedDestination, found: &mut Collector) {
        let Some(port) = service.ports.iter().find(|it| it.port.value == port) else { return };
        let decision =
            outbound_to(self.mesh, self.workload, Destination { service, port, subset: to.subset.as_deref() }, None);
        let own = matches!(decision.mode, OutboundMode::Simple { .. } | OutboundMode::Mutual { .. });
        let rule = decision.rule.as_deref().unwrap_or_default();
        if kind == "tls" && own {
            let message = format!(
                "TLS goes through {} to {} port {} as it is, and DestinationRule {rule} wraps it in TLS once more",
                named(self.gateway),
                service.host,
                port.port.value
            );
            found.add(&TLS_TWICE, &to.host.at, message);
        }
        if kind == "http" && !own && port.protocol == Protocol::Tls {
            let message = format!(
                "requests through {} go to {} port {}, a port of TLS, and no DestinationRule makes them TLS",
                named(self.gateway),
                service.host,
                port.port.value
            );
            found.add(&PLAIN_TO_TLS, &to.host.at, message);
        }
    }
}

fn named(gateway: &Object<Gateway>) -> String {
    format!("Gateway {}/{}", gateway.meta.namespace, gateway.meta.name)
}
