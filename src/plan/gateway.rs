//! What a gateway serves: the servers of the Gateways that select it, and the routes that VirtualServices lead from them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;

use super::outbound::cluster_name;
use super::termination::{HTTP_ALPN, Termination};
use super::{SecretName, is_default, listener_name, wildcards};
use crate::mesh::{
    Gateway, HttpMatch, Mesh, Object, Server, ServerProtocol, ServerTlsMode, Service, Through, UriMatch,
    VirtualService, WeightedDestination, Workload, gateway_named, intersection,
};

/// One port of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GatewayListener {
    /// Istio's name: `ADDRESS_PORT`.
    pub name: String,
    /// What it binds.
    pub bind: SocketAddr,
    /// What it binds besides, of the other family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub also: Option<SocketAddr>,
    /// What it does with a connection.
    pub target: GatewayTarget,
    /// Whether the proxy can say, in its TLS, that what it carries is HTTP.
    #[serde(skip_serializing_if = "is_default")]
    pub offers_http: bool,
}

/// What a gateway does with a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayTarget {
    /// Routes its requests by this table.
    Http(String),
    /// Carries its bytes.
    Bytes(Vec<Share>),
    /// Looks at the name that the client asks for. What matches none is refused.
    Tls(Vec<GatewayChain>),
}

impl GatewayTarget {
    /// Whether any of what it carries is HTTP that the proxy reads.
    pub(super) fn reads_http(&self) -> bool {
        match self {
            Self::Http(_) => true,
            Self::Bytes(_) => false,
            Self::Tls(chains) => chains.iter().any(|chain| chain.table.is_some()),
        }
    }
}

/// What is served within TLS under some names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GatewayChain {
    /// What the client asks for (RFC 6066 §3); empty: anything, or nothing.
    pub names: Vec<String>,
    /// Who terminates TLS.
    pub tls: GatewayTls,
    /// The table that requests are routed by; `None`: bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Where bytes go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bytes: Vec<Share>,
}

/// Who terminates TLS that comes to a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayTls {
    /// Whoever is behind it.
    Passthrough,
    /// The gateway, with its certificate of the mesh, for the mesh's identities.
    Mesh,
    /// The gateway, with a certificate of the operator's.
    Own(Box<Termination>),
}

/// A cluster, and its share of what is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Istio's name.
    pub cluster: String,
    /// Of the sum of all.
    pub weight: u32,
}

/// Requests to clusters, by host and path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GatewayTable {
    /// Istio's name: `http.PORT`, or `https.PORT.NAME.GATEWAY.NAMESPACE`.
    pub name: String,
    /// Ordered by host; no host stands twice.
    pub hosts: Vec<GatewayHost>,
}

/// One host of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GatewayHost {
    /// A name, `*.suffix` or `*`.
    pub host: String,
    /// Whether requests without TLS are sent away to come again with it.
    pub only_tls: bool,
    /// In order; the first that matches counts.
    pub routes: Vec<GatewayRoute>,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GatewayRoute {
    /// Which paths.
    pub path: PathMatch,
    /// Where to; empty: to no service that there is.
    pub to: Vec<Share>,
}

/// Which paths a route is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PathMatch {
    /// All.
    Any,
    /// This one.
    Exact {
        /// The path.
        path: String,
        /// Whether capital letters count as small ones.
        ignore_case: bool,
    },
    /// All that begin so.
    Prefix {
        /// The beginning.
        path: String,
        /// Whether capital letters count as small ones.
        ignore_case: bool,
    },
    /// All that this expression (RE2) describes as a whole.
    Regex(String),
}

/// The listeners and tables of a gateway.
#[derive(Debug, Default)]
pub(super) struct GatewayPlan {
    pub(super) listeners: Vec<GatewayListener>,
    pub(super) tables: Vec<GatewayTable>,
}

impl GatewayPlan {
    pub(super) fn new(mesh: &Mesh, workload: &Workload, reachable: &[&Arc<Service>]) -> Self {
        let mut planner = Planner { mesh, workload, reachable, ports: BTreeMap::new(), tables: BTreeMap::new() };
        for gateway in mesh.gateways_of(&workload.key) {
            gateway.spec.servers.iter().for_each(|server| planner.server(gateway, server));
        }
        let listener = |(bind, port): (SocketAddr, Port)| match port {
            Port::Bytes(shares) if shares.is_empty() => None,
            Port::Tls { chains, .. } if chains.is_empty() => None,
            port => {
                let also = wildcards(workload).beside(bind);
                Some(GatewayListener {
                    name: listener_name(bind),
                    bind,
                    also,
                    target: port.target(),
                    offers_http: false,
                })
            }
        };
        let table = |(name, hosts): (String, BTreeMap<String, GatewayHost>)| GatewayTable {
            name,
            hosts: hosts.into_values().collect(),
        };
        Self {
            listeners: planner.ports.into_iter().filter_map(listener).collect(),
            tables: planner.tables.into_iter().map(table).collect(),
        }
    }

    /// The secrets that its listeners refer to.
    pub(super) fn secrets(&self) -> BTreeSet<SecretName> {
        let mut secrets = BTreeSet::new();
        for listener in &self.listeners {
            let GatewayTarget::Tls(chains) = &listener.target else { continue };
            for chain in chains {
                match &chain.tls {
                    GatewayTls::Passthrough => {}
                    GatewayTls::Mesh => secrets.extend([SecretName::Workload, SecretName::Root]),
                    GatewayTls::Own(tls) => secrets.extend(tls.secrets()),
                }
            }
        }
        secrets
    }
}

/// What an address and port are for: the first server that has them says it.
enum Port {
    Http(String),
    Bytes(Vec<Share>),
    Tls { chains: Vec<GatewayChain>, names: BTreeSet<String> },
}

impl Port {
    fn target(self) -> GatewayTarget {
        match self {
            Self::Http(table) => GatewayTarget::Http(table),
            Self::Bytes(shares) => GatewayTarget::Bytes(shares),
            Self::Tls { chains, .. } => GatewayTarget::Tls(chains),
        }
    }
}

struct Planner<'m> {
    mesh: &'m Mesh,
    workload: &'m Workload,
    reachable: &'m [&'m Arc<Service>],
    ports: BTreeMap<SocketAddr, Port>,
    tables: BTreeMap<String, BTreeMap<String, GatewayHost>>,
}

impl Planner<'_> {
    fn server(&mut self, gateway: &Object<Gateway>, server: &Server) {
        let bind = SocketAddr::new(server.bind.unwrap_or(wildcards(self.workload).first), server.port.value);
        match server.protocol {
            ServerProtocol::Http => self.http(gateway, server, bind),
            ServerProtocol::Tcp => {
                let shares = self.bytes(gateway, server);
                self.ports.entry(bind).or_insert(Port::Bytes(shares));
            }
            ServerProtocol::Https | ServerProtocol::Tls => self.tls(gateway, server, bind),
        }
    }

    fn http(&mut self, gateway: &Object<Gateway>, server: &Server, bind: SocketAddr) {
        let name = match server.bind.filter(|bind| !bind.is_unspecified()) {
            Some(address) => format!("http.{}.{address}", bind.port()),
            None => format!("http.{}", bind.port()),
        };
        if let Port::Http(table) = self.ports.entry(bind).or_insert_with(|| Port::Http(name)) {
            let table = table.clone();
            self.route(gateway, server, table);
        }
    }

    fn tls(&mut self, gateway: &Object<Gateway>, server: &Server, bind: SocketAddr) {
        let Some(settings) = &server.tls else { return };
        let settings = &settings.value;
        let is_http = server.protocol == ServerProtocol::Https;
        let table =
            format!("https.{}.{}.{}.{}", bind.port(), server.port_name, gateway.meta.name, gateway.meta.namespace);
        let alpn = if is_http { HTTP_ALPN.to_vec() } else { Vec::new() };
        let tls = match settings.mode {
            ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough => GatewayTls::Passthrough,
            ServerTlsMode::IstioMutual => GatewayTls::Mesh,
            ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => {
                match Termination::new(settings, &self.workload.key.namespace, alpn, self.mesh.settings()) {
                    Some(termination) => GatewayTls::Own(Box::new(termination)),
                    None => return,
                }
            }
        };
        let mut chains = Vec::new();
        if tls == GatewayTls::Passthrough {
            chains = self.passthrough(gateway, server);
        } else {
            let hosts = server.hosts.iter().map(|host| dns_part(&host.value).to_ascii_lowercase());
            let names: Vec<String> = hosts.collect();
            let names = if names.iter().any(|name| name == "*") { Vec::new() } else { names };
            let bytes = if is_http { Vec::new() } else { self.bytes(gateway, server) };
            if is_http || !bytes.is_empty() {
                chains.push(GatewayChain { names, tls, table: is_http.then(|| table.clone()), bytes });
            }
        }
        let port = self.ports.entry(bind).or_insert_with(|| Port::Tls { chains: Vec::new(), names: BTreeSet::new() });
        let Port::Tls { chains: all, names: taken } = port else { return };
        let mut served: Option<Server> = None;
        for mut chain in chains {
            // Envoy refuses a listener in which two chains have a name. The older Gateway's counts.
            let had_names = !chain.names.is_empty();
            chain.names.retain(|name| taken.insert(name.clone()));
            let is_free = if had_names { !chain.names.is_empty() } else { taken.insert(String::new()) };
            if is_free {
                if chain.table.is_some() {
                    served = Some(only(server, &chain.names));
                }
                all.push(chain);
            }
        }
        // Not the hosts whose names another server has: a request for one of them would get past that server's TLS.
        if let Some(served) = served {
            self.route(gateway, &served, table);
        }
    }

    /// One chain for each match of a VirtualService by the names that both it and the server have.
    fn passthrough(&self, gateway: &Object<Gateway>, server: &Server) -> Vec<GatewayChain> {
        let mut chains = Vec::new();
        for (service, hosts) in self.mesh.virtual_services_of(gateway, server) {
            for route in &service.spec.tls {
                let bytes = self.shares(service, &route.route);
                for wanted in route.matches.iter().filter(|it| passes(&it.through, service, gateway, server)) {
                    let mut names = BTreeSet::new();
                    for sni in &wanted.sni_hosts {
                        names.extend(hosts.iter().filter_map(|host| intersection(host, &sni.value)));
                    }
                    let mut names: Vec<String> = names.into_iter().collect();
                    let found = !names.is_empty() && !bytes.is_empty();
                    // `*` is everything that asks for any name, and what asks for none.
                    if names.iter().any(|name| name == "*") {
                        names.clear();
                    }
                    if found {
                        let bytes = bytes.clone();
                        chains.push(GatewayChain { names, tls: GatewayTls::Passthrough, table: None, bytes });
                    }
                }
            }
        }
        chains
    }

    /// Where a server's bytes go: the first `tcp` route for it.
    fn bytes(&self, gateway: &Object<Gateway>, server: &Server) -> Vec<Share> {
        let mut routes = self.mesh.virtual_services_of(gateway, server).flat_map(|(service, _)| {
            let applies = |matches: &[Through]| {
                matches.is_empty() || matches.iter().any(|it| passes(it, service, gateway, server))
            };
            let routes = service.spec.tcp.iter().filter(move |route| applies(&route.matches));
            routes.map(move |route| self.shares(service, &route.route))
        });
        routes.next().unwrap_or_default()
    }

    fn route(&mut self, gateway: &Object<Gateway>, server: &Server, table: String) {
        let mut found: Vec<(String, Vec<GatewayRoute>)> = Vec::new();
        for (service, hosts) in self.mesh.virtual_services_of(gateway, server) {
            let mut routes = Vec::new();
            for route in &service.spec.http {
                let to = self.shares(service, &route.route);
                if route.matches.is_empty() {
                    routes.push(GatewayRoute { path: PathMatch::Any, to });
                    continue;
                }
                let matches = route.matches.iter().filter(|it| passes(&it.through, service, gateway, server));
                routes.extend(matches.map(|it| GatewayRoute { path: path(it), to: to.clone() }));
            }
            found.extend(hosts.into_iter().map(|host| (host, routes.clone())));
        }
        if server.https_redirect {
            found.extend(server.hosts.iter().map(|host| (dns_part(&host.value).to_ascii_lowercase(), Vec::new())));
        }
        let hosts = self.tables.entry(table).or_default();
        for (host, routes) in found {
            let entry = hosts.entry(host.clone()).or_insert_with(|| GatewayHost { host, ..GatewayHost::default() });
            entry.only_tls |= server.https_redirect && server.tls.is_none();
            entry.routes.extend(routes);
        }
    }

    /// The clusters that a route of `service` leads to; empty if any of them is none.
    fn shares(&self, service: &Object<VirtualService>, route: &[WeightedDestination]) -> Vec<Share> {
        let share = |to: &WeightedDestination| {
            let (found, port) = self.mesh.destination(self.reachable, &service.meta.namespace, to)?;
            let cluster = cluster_name(found, port, to.subset.as_deref().unwrap_or_default());
            Some(Share { cluster, weight: to.weight })
        };
        let wanted = route.iter().filter(|to| to.weight > 0);
        wanted.map(share).collect::<Option<Vec<_>>>().unwrap_or_default()
    }
}

/// Whether a match is for what comes through this server.
fn passes(through: &Through, service: &Object<VirtualService>, gateway: &Object<Gateway>, server: &Server) -> bool {
    let namespace = &service.meta.namespace;
    through.port.is_none_or(|port| port == server.port.value)
        && (through.gateways.is_empty() || through.gateways.iter().any(|it| gateway_named(it, namespace, gateway)))
}

fn path(wanted: &HttpMatch) -> PathMatch {
    let ignore_case = wanted.ignore_case;
    match &wanted.uri {
        None => PathMatch::Any,
        Some(UriMatch::Exact(path)) => PathMatch::Exact { path: path.clone(), ignore_case },
        Some(UriMatch::Prefix(path)) => PathMatch::Prefix { path: path.clone(), ignore_case },
        Some(UriMatch::Regex(regex)) => PathMatch::Regex(regex.clone()),
    }
}

/// The server with those of its hosts alone that it is asked for by `names`; empty: by any.
fn only(server: &Server, names: &[String]) -> Server {
    let mut server = server.clone();
    server.hosts.retain(|host| names.is_empty() || names.contains(&dns_part(&host.value).to_ascii_lowercase()));
    server
}

fn dns_part(host: &str) -> &str {
    host.split_once('/').map_or(host, |(_, dns)| dns)
}
