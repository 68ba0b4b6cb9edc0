//! Gateways: which workloads they are, and which hosts lead where.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::index::oldest_first;
use super::population::Population;
use super::rules::qualified;
use super::visibility::exports;
use super::{Mesh, Object, Service, Settings, Topic, Warning, WorkloadKey, of_host};
use crate::policy::{Gateway, Objects, PolicySet, Server, ServerTlsMode, VirtualService, WeightedDestination};

/// Every Gateway and VirtualService, the oldest of each first.
#[derive(Debug)]
pub(super) struct GatewayIndex {
    /// What it was made from.
    from: (Arc<Population>, Objects<Gateway>, Objects<VirtualService>),
    gateways: Vec<Arc<Object<Gateway>>>,
    virtual_services: Vec<Arc<Object<VirtualService>>>,
    /// For each workload, the indexes of the Gateways that select it.
    of_workload: HashMap<WorkloadKey, Vec<usize>>,
    pub(super) warnings: Vec<Warning>,
}

/// In a VirtualService's `gateways`: all sidecars.
const ALL_SIDECARS: &str = "mesh";

impl GatewayIndex {
    /// That of `set`: the one before, if it was made from the very same.
    pub(super) fn after(before: Option<&Arc<Self>>, population: &Arc<Population>, set: &PolicySet) -> Arc<Self> {
        let same = |it: &&Arc<Self>| {
            let (of, gateways, virtual_services) = &it.from;
            Arc::ptr_eq(of, population) && gateways.are(&set.gateways) && virtual_services.are(&set.virtual_services)
        };
        match before.filter(same) {
            Some(before) => Arc::clone(before),
            None => Arc::new(Self::new(population, set)),
        }
    }

    fn new(population: &Arc<Population>, set: &PolicySet) -> Self {
        let mut warnings = Vec::new();
        let mut gateways: Vec<_> = set.gateways.to_vec();
        let mut virtual_services: Vec<_> = set.virtual_services.to_vec();
        oldest_first(&mut gateways);
        oldest_first(&mut virtual_services);
        let mut of_workload: HashMap<WorkloadKey, Vec<usize>> = HashMap::new();
        for (position, gateway) in gateways.iter().enumerate() {
            let Object { meta, spec, at } = &**gateway;
            let name = format!("Gateway {}/{}", meta.namespace, meta.name);
            if spec.selector.0.is_empty() {
                let message = format!("{name} has no selector, and holds for nobody: name the labels of its workloads");
                warnings.push(Warning::new(Topic::SelectsNothing, at, message));
                continue;
            }
            let selected = population.all.iter().filter(|workload| spec.selector.matches(&workload.labels));
            let mut selects_any = false;
            for workload in selected {
                selects_any = true;
                of_workload.entry(workload.key.clone()).or_default().push(position);
            }
            if !selects_any {
                let message = format!("{name} selects no workload, so nobody serves it");
                warnings.push(Warning::new(Topic::SelectsNothing, at, message));
            }
        }
        let from = (Arc::clone(population), set.gateways.clone(), set.virtual_services.clone());
        let mut index = Self { from, gateways, virtual_services, of_workload, warnings: Vec::new() };
        index.warn_of_missing_gateways(&mut warnings);
        index.warn_of_names_served_twice(&mut warnings);
        index.warnings = warnings;
        index
    }

    /// Of names that another server of the same port terminates TLS for: a client can be answered by one of them only.
    fn warn_of_names_served_twice(&self, warnings: &mut Vec<Warning>) {
        let together: BTreeSet<&Vec<usize>> = self.of_workload.values().collect();
        let mut told = BTreeSet::new();
        for gateways in together {
            let mut first = HashMap::new();
            let servers = gateways.iter().flat_map(|&position| {
                let servers = self.gateways[position].spec.servers.iter().enumerate();
                servers.map(move |(index, server)| ((position, index), server))
            });
            for (place, server) in servers.filter(|(_, server)| terminates(server)) {
                let bind = server.bind.filter(|bind| !bind.is_unspecified());
                for host in &server.hosts {
                    let name = dns_part(&host.value).to_ascii_lowercase();
                    let taken = match first.entry((bind, server.port.value, name.clone())) {
                        Entry::Vacant(free) => {
                            free.insert((place, &host.at));
                            continue;
                        }
                        Entry::Occupied(taken) => *taken.get(),
                    };
                    if taken.0 != place && told.insert((place, name.clone())) {
                        let meta = &self.gateways[place.0].meta;
                        let message = format!(
                            "Gateway {}/{} does not serve {name} here: another server of port {} does ({}), by its own TLS and \
                             routes; name it in one of them",
                            meta.namespace, meta.name, server.port.value, taken.1
                        );
                        warnings.push(Warning::new(Topic::Shadowed, &host.at, message));
                    }
                }
            }
        }
    }

    /// Of routes that lead nowhere, and of those for sidecars, which are not served.
    fn warn_of_missing_gateways(&self, warnings: &mut Vec<Warning>) {
        for service in &self.virtual_services {
            let Object { meta, spec, at } = &**service;
            let name = format!("VirtualService {}/{}", meta.namespace, meta.name);
            if spec.gateways.iter().any(|it| it.value == ALL_SIDECARS) {
                let message = format!("{name} is for sidecars too, whose routes are not served");
                warnings.push(Warning::new(Topic::Ignored, at, message));
            }
            for gateway in spec.gateways.iter().filter(|it| it.value != ALL_SIDECARS) {
                let (namespace, wanted) = gateway.value.split_once('/').unwrap_or((&meta.namespace, &gateway.value));
                if !self.gateways.iter().any(|it| it.meta.namespace == namespace && it.meta.name == wanted) {
                    let message = format!("{name} is for Gateway {namespace}/{wanted}, which is not there");
                    warnings.push(Warning::new(Topic::Ignored, &gateway.at, message));
                }
            }
        }
    }
}

/// Of routes of gateways to a host that no service has.
pub(super) fn warn_of_missing_destinations(
    set: &PolicySet,
    services: &[Arc<Service>],
    settings: &Settings,
    warnings: &mut Vec<Warning>,
) {
    for service in &set.virtual_services {
        let routes = service.spec.http.iter().map(|it| &it.route);
        let routes = routes
            .chain(service.spec.tls.iter().map(|it| &it.route))
            .chain(service.spec.tcp.iter().map(|it| &it.route));
        for to in routes.flatten() {
            let host = qualified(&to.host.value, &service.meta.namespace, &settings.cluster_domain);
            let port = |service: &Arc<Service>| match to.port {
                Some(port) => service.ports.iter().any(|it| it.port.value == port),
                None => service.ports.len() == 1,
            };
            let of_host = of_host(services, &host);
            if of_host.iter().any(port) {
                continue;
            }
            let missing = match (of_host.is_empty(), to.port) {
                (true, _) => "no service has that host".to_owned(),
                (false, Some(port)) => format!("it has no port {port}"),
                (false, None) => "it has several ports, and none is named".to_owned(),
            };
            let message = format!("the route to {host} leads nowhere, and is answered with 503: {missing}");
            warnings.push(Warning::new(Topic::Unreachable, &to.host.at, message));
        }
    }
}

impl Mesh {
    /// The Gateways that select this workload, the oldest first.
    pub fn gateways_of(&self, key: &WorkloadKey) -> impl Iterator<Item = &Arc<Object<Gateway>>> {
        self.gateways.of_workload.get(key).into_iter().flatten().map(|&index| &self.gateways.gateways[index])
    }

    /// The VirtualServices for one of a Gateway's servers, the oldest first, each with the hosts that both have.
    pub fn virtual_services_of<'m>(
        &'m self,
        gateway: &'m Object<Gateway>,
        server: &'m Server,
    ) -> impl Iterator<Item = (&'m Object<VirtualService>, Vec<String>)> {
        self.gateways.virtual_services.iter().filter_map(move |service| {
            let namespace = &service.meta.namespace;
            let named = service.spec.gateways.iter().any(|it| names(&it.value, namespace, gateway));
            if !named || !exports(&service.spec.export_to, namespace, &gateway.meta.namespace) {
                return None;
            }
            let admitted = server.hosts.iter().filter_map(|host| admits(&host.value, gateway, namespace));
            let mut hosts = Vec::new();
            for served in admitted {
                let own = service.spec.hosts.iter().map(|host| host_of(&host.value, namespace, self.settings()));
                hosts.extend(own.filter_map(|own| intersection(served, &own)));
            }
            hosts.sort();
            hosts.dedup();
            (!hosts.is_empty()).then_some((&**service, hosts))
        })
    }

    /// The service and port that a route of `namespace` leads to, as `client` sees it. `None`: there is none, or several ports and none
    /// is named.
    pub fn destination<'s>(
        &self,
        visible: &[&'s Arc<Service>],
        namespace: &str,
        to: &WeightedDestination,
    ) -> Option<(&'s Service, u16)> {
        let host = qualified(&to.host.value, namespace, &self.settings().cluster_domain);
        let service = visible.iter().find(|service| service.host == host)?;
        let mut ports = service.ports.iter().map(|port| port.port.value);
        let port = match (to.port, service.ports.len()) {
            (Some(wanted), _) => ports.find(|port| *port == wanted),
            (None, 1) => ports.next(),
            (None, _) => None,
        };
        Some((service, port?))
    }
}

/// Whether an entry of a VirtualService's or a match's `gateways` means this one.
pub fn names(entry: &str, namespace: &str, gateway: &Object<Gateway>) -> bool {
    let (namespace, name) = entry.split_once('/').unwrap_or((namespace, entry));
    gateway.meta.namespace == namespace && gateway.meta.name == name
}

/// The DNS part of one of a server's hosts, if it lets VirtualServices of `namespace` in.
fn admits<'h>(host: &'h str, gateway: &Object<Gateway>, namespace: &str) -> Option<&'h str> {
    let (of, dns) = host.split_once('/').unwrap_or(("*", host));
    match of {
        "*" => true,
        "." => gateway.meta.namespace == namespace,
        of => of == namespace,
    }
    .then_some(dns)
}

/// Whether the gateway itself ends TLS there.
fn terminates(server: &Server) -> bool {
    let passes_on = |mode| matches!(mode, ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough);
    server.tls.as_ref().is_some_and(|tls| !passes_on(tls.value.mode))
}

/// What follows the namespace in one of a server's hosts.
fn dns_part(host: &str) -> &str {
    host.split_once('/').map_or(host, |(_, dns)| dns)
}

/// A VirtualService's host: a name without dots is a Service of its namespace.
fn host_of(host: &str, namespace: &str, settings: &Settings) -> String {
    qualified(host, namespace, &settings.cluster_domain)
}

/// The hosts that two patterns have in common: the narrower one, if the wider covers it. `*` is all, `*.suffix` all below.
pub fn intersection(a: &str, b: &str) -> Option<String> {
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    let covers = |wide: &str, narrow: &str| match wide.strip_prefix('*') {
        Some(suffix) => narrow.ends_with(suffix),
        None => wide == narrow,
    };
    if covers(&a, &b) { Some(b) } else { covers(&b, &a).then_some(a) }
}

#[cfg(test)]
mod tests {
    use super::intersection;

    #[test]
    fn the_narrower_of_two_hosts_is_what_they_share() {
        let shared = |a, b| intersection(a, b);
        assert_eq!(shared("*", "a.test").as_deref(), Some("a.test"));
        assert_eq!(shared("a.test", "*").as_deref(), Some("a.test"));
        assert_eq!(shared("*.test", "a.test").as_deref(), Some("a.test"));
        assert_eq!(shared("*.test", "*.b.test").as_deref(), Some("*.b.test"));
        assert_eq!(shared("A.test", "a.test").as_deref(), Some("a.test"));
        assert_eq!(shared("*.test", "atest"), None);
        assert_eq!(shared("*.test", "test"), None);
        assert_eq!(shared("a.test", "b.test"), None);
    }
}
