//! Outbound listeners, and the hosts that the HTTP ones route.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use serde::Serialize;

use super::outbound::cluster_name;
use super::{is_default, listener_name};
use crate::mesh::{HostFilter, PathNormalization, Protocol, Service, ServicePort, SidecarEgress};

/// The port that an `http://` URL without one means (RFC 9110 §4.2.1).
const HTTP_PORT: u16 = 80;

/// A listener for the workload's own requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutboundListener {
    /// Istio's name: `ADDRESS_PORT`.
    pub name: String,
    /// What it binds, or under interception, what connections to it were going to.
    pub bind: SocketAddr,
    /// The same of the other family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub also: Option<SocketAddr>,
    /// Whether connections come by interception, and nothing is bound.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub captured: bool,
    /// What it does with a connection.
    pub target: OutboundTarget,
    /// Whether the proxy can say, in its TLS, that what it carries is HTTP.
    #[serde(skip_serializing_if = "is_default")]
    pub offers_http: bool,
    /// What is made of a request's path.
    #[serde(skip_serializing_if = "is_default")]
    pub paths: PathNormalization,
}

impl OutboundListener {
    pub(super) fn new(bind: SocketAddr, captured: bool, target: OutboundTarget) -> Self {
        Self {
            name: listener_name(bind),
            bind,
            also: None,
            captured,
            target,
            offers_http: false,
            paths: PathNormalization::default(),
        }
    }
}

/// What an outbound listener does with a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboundTarget {
    /// Routes its requests by this table.
    Http(String),
    /// Carries its bytes to this cluster.
    Tcp(String),
    /// Looks at what the client says first.
    Detect(Detect),
}

impl OutboundTarget {
    /// Whether what it carries may be HTTP that the proxy reads.
    pub(super) fn may_be_http(&self) -> bool {
        match self {
            Self::Http(_) => true,
            Self::Tcp(_) => false,
            Self::Detect(detect) => detect.http.is_some(),
        }
    }
}

/// Where a connection goes, by its first bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Detect {
    /// What turns out to be HTTP without TLS: the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// What turns out to be TLS for one of these names. No name stands twice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tls: Vec<ServerNames>,
    /// Everything else: the cluster.
    pub otherwise: String,
}

/// TLS that the proxy carries without looking inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerNames {
    /// What the client asks for (RFC 6066 §3); `*.suffix` stands for every name below.
    pub names: Vec<String>,
    /// Where it leads.
    pub cluster: String,
}

/// Requests to clusters, by host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteTable {
    /// The listener's name.
    pub name: String,
    /// No domain stands in two of them.
    pub virtual_hosts: Vec<VirtualHost>,
    /// Where hosts lead that are not among them: the cluster. Absent: they are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

/// The names under which one cluster is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VirtualHost {
    /// `HOST:PORT`.
    pub name: String,
    /// `Host` headers, with and without a port; `*.suffix` for wildcard hosts.
    pub domains: Vec<String>,
    /// Where they lead.
    pub cluster: String,
}

/// Collects the outbound listeners of a class.
pub(super) struct Outbound<'a> {
    pub(super) namespace: &'a str,
    listeners: Vec<OutboundListener>,
    routes: Vec<RouteTable>,
}

impl<'a> Outbound<'a> {
    pub(super) fn new(namespace: &'a str) -> Self {
        Self { namespace, listeners: Vec::new(), routes: Vec::new() }
    }

    /// A forward proxy for every port of these services that may speak HTTP.
    pub(super) fn http_proxy<'s>(&mut self, bind: SocketAddr, services: impl Iterator<Item = &'s Arc<Service>>) {
        let mut table = Table::new(self.namespace);
        for service in services {
            // `http://host/` is port 80 where there is one. Where there is one HTTP port only, nothing else can be meant.
            let http = || service.ports.iter().filter(|port| port.protocol.may_be_http());
            let bare = http()
                .find(|port| port.port.value == HTTP_PORT)
                .or_else(|| http().next().filter(|_| http().count() == 1));
            let bare = bare.map(|port| port.port.value);
            for port in http() {
                table.add(service, port, bare == Some(port.port.value));
            }
        }
        self.http(bind, table);
    }

    /// A listener that the operator has written, with an address. It is left out when an earlier one has its address, or when it is to
    /// carry bytes and no service is there to take them. `captured`: whether connections to the address are intercepted.
    pub(super) fn egress(&mut self, egress: &SidecarEgress, visible: &[&Arc<Service>], captured: bool) {
        let Some(port) = &egress.port else { return };
        let bind = SocketAddr::new(egress.bind.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), port.number.value);
        let before = self.listeners.len();
        let filter = HostFilter::of(egress, self.namespace);
        let services = visible.iter().copied().filter(|service| filter.admits(service));
        let at_port = |service: &&Arc<Service>| {
            service.ports.iter().find(|candidate| candidate.port.value == port.number.value).cloned()
        };
        match port.protocol {
            Protocol::HttpProxy => self.http_proxy(bind, services),
            protocol if protocol.is_http() => {
                let mut table = Table::new(self.namespace);
                for service in services {
                    if let Some(port) = at_port(&service).filter(|port| port.protocol.may_be_http()) {
                        table.add(service, &port, true);
                    }
                }
                self.http(bind, table);
            }
            _ => {
                // Bytes name no host, so there is one destination: the first by host.
                let mut services = services;
                let found = services.find(|service| at_port(service).is_some());
                if let Some(service) = found {
                    self.listen(bind, OutboundTarget::Tcp(cluster_name(service, port.number.value, "")));
                }
            }
        }
        self.listeners[before..].iter_mut().for_each(|listener| listener.captured = captured);
    }

    /// Takes a listener and the table it routes by, if it has one, unless an earlier listener has the address.
    pub(super) fn add(&mut self, listener: OutboundListener, table: Option<RouteTable>) {
        if self.listeners.iter().all(|other| other.bind != listener.bind) {
            self.listeners.push(listener);
            // Several addresses of a service share a table.
            let is_new = |table: &RouteTable| self.routes.iter().all(|other| other.name != table.name);
            self.routes.extend(table.filter(is_new));
        }
    }

    pub(super) fn finish(mut self) -> (Vec<OutboundListener>, Vec<RouteTable>) {
        self.listeners.sort_by(|a, b| a.name.cmp(&b.name));
        self.routes.sort_by(|a, b| a.name.cmp(&b.name));
        (self.listeners, self.routes)
    }

    fn http(&mut self, bind: SocketAddr, table: Table<'_>) {
        let name = listener_name(bind);
        if self.listen(bind, OutboundTarget::Http(name.clone())) {
            self.routes.push(table.named(name, None));
        }
    }

    fn listen(&mut self, bind: SocketAddr, target: OutboundTarget) -> bool {
        let free = self.listeners.iter().all(|listener| listener.bind != bind);
        if free {
            self.listeners.push(OutboundListener::new(bind, false, target));
        }
        free
    }
}

/// Virtual hosts. Each domain is the first one's that has it: Envoy refuses a table that says one twice.
pub(super) struct Table<'a> {
    namespace: &'a str,
    virtual_hosts: Vec<VirtualHost>,
}

impl<'a> Table<'a> {
    pub(super) fn new(namespace: &'a str) -> Self {
        Self { namespace, virtual_hosts: Vec::new() }
    }

    pub(super) fn named(mut self, name: String, unknown: Option<String>) -> RouteTable {
        let mut taken = HashSet::new();
        let domains = self.virtual_hosts.iter().flat_map(|host| &host.domains);
        let firsts: Vec<bool> = domains.map(|domain| taken.insert(domain.as_str())).collect();
        let mut firsts = firsts.into_iter();
        for host in &mut self.virtual_hosts {
            host.domains.retain(|_| firsts.next().unwrap_or(true));
        }
        self.virtual_hosts.retain(|host| !host.domains.is_empty());
        RouteTable { name, virtual_hosts: self.virtual_hosts, unknown }
    }

    /// `bare`: whether the names without a port mean this one.
    pub(super) fn add(&mut self, service: &Service, port: &ServicePort, bare: bool) {
        self.add_names(service, port, bare, names(self.namespace, service));
    }

    /// The same, and by the service's addresses too.
    pub(super) fn add_addressed(&mut self, service: &Service, port: &ServicePort) {
        let addresses = service.addresses.iter().map(|address| match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        });
        let names = names(self.namespace, service).into_iter().chain(addresses).collect();
        self.add_names(service, port, true, names);
    }

    fn add_names(&mut self, service: &Service, port: &ServicePort, bare: bool, names: Vec<String>) {
        let number = port.port.value;
        let at_port = format!(":{number}");
        let with_port: Vec<String> = names.iter().map(|name| [name.as_str(), &at_port].concat()).collect();
        let mut domains = if bare { names } else { Vec::new() };
        domains.extend(with_port);
        let (name, cluster) = ([service.host.as_str(), &at_port].concat(), cluster_name(service, number, ""));
        self.virtual_hosts.push(VirtualHost { name, domains, cluster });
    }
}

/// The host and, of a `v1` Service, the forms that a cluster's DNS search path makes of it. The shortest is the client's own
/// namespace's.
pub(super) fn names(client: &str, service: &Service) -> Vec<String> {
    let mut names = vec![service.host.clone()];
    if service.has_short_names {
        let Service { name, namespace, .. } = service;
        if namespace == client {
            names.push(name.clone());
        }
        names.extend([format!("{name}.{namespace}"), format!("{name}.{namespace}.svc")]);
    }
    names
}
