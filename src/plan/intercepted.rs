//! Outbound listeners where iptables lead everything that a workload sends to its proxy: one for each address and port that services
//! have, none of which binds anything, and one that takes what was going elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::Serialize;

use super::outbound::cluster_name;
use super::routes::{Outbound, Table};
use super::{
    Detect, EndpointAddress, Node, OutboundListener, OutboundTarget, ServerNames, VIRTUAL_OUTBOUND_PORT, Wildcards,
};
use crate::mesh::{Protocol, Service, ServicePort};

/// Istio's name for the cluster that sends each connection to where it was going.
pub(super) const PASSTHROUGH: &str = "PassthroughCluster";
/// Istio's name for the cluster that ends every connection.
pub(super) const BLACK_HOLE: &str = "BlackHoleCluster";

/// What takes the connections that iptables lead here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InterceptedOutbound {
    /// What it binds.
    pub bind: SocketAddr,
    /// What it binds besides, of the other family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub also: Option<SocketAddr>,
    /// Whether connections keep their addresses (TPROXY).
    pub transparent: bool,
    /// The cluster for what goes to an address that no listener has.
    pub otherwise: &'static str,
}

impl InterceptedOutbound {
    /// `registry_only`: whether what no service has is refused.
    pub(super) fn new(wildcards: Wildcards, node: Node, registry_only: bool) -> Self {
        let bind = SocketAddr::new(wildcards.first, VIRTUAL_OUTBOUND_PORT);
        Self {
            bind,
            also: wildcards.beside(bind),
            transparent: node.is_transparent(),
            otherwise: if registry_only { BLACK_HOLE } else { PASSTHROUGH },
        }
    }
}

/// Collects listeners for services.
pub(super) struct Intercepted<'a> {
    namespace: &'a str,
    wildcard: IpAddr,
    other_wildcard: Option<IpAddr>,
    otherwise: &'static str,
    /// By port: what services share that have no address of their own, or that are told apart by a request's host.
    shared: BTreeMap<u16, Shared<'a>>,
    /// By address and port.
    addressed: BTreeMap<SocketAddr, Addressed<'a>>,
}

/// What goes to a port, whatever the address.
#[derive(Default)]
struct Shared<'a> {
    http: Option<Table<'a>>,
    tls: Vec<ServerNames>,
    names: BTreeSet<String>,
    bytes: Option<String>,
}

/// What goes to one address and port.
struct Addressed<'a> {
    /// What turns out to be HTTP, where nothing says what is spoken.
    http: Option<(String, Table<'a>)>,
    cluster: String,
}

impl<'a> Intercepted<'a> {
    pub(super) fn new(namespace: &'a str, outbound: &InterceptedOutbound) -> Self {
        let (wildcard, otherwise) = (outbound.bind.ip(), outbound.otherwise);
        let other_wildcard = outbound.also.map(|also| also.ip());
        Self { namespace, wildcard, other_wildcard, otherwise, shared: BTreeMap::new(), addressed: BTreeMap::new() }
    }

    /// Every port of a service, or the one that `only` names. The first service to come has an address or port that several claim.
    pub(super) fn add(&mut self, service: &Arc<Service>, only: Option<u16>) {
        for port in service.ports.iter().filter(|port| only.is_none_or(|only| only == port.port.value)) {
            match port.protocol {
                protocol if protocol.is_http() => self.shared_http(service, port),
                Protocol::Undeclared if service.addresses.is_empty() => self.shared_http(service, port),
                Protocol::Tls if addresses(service).is_empty() => self.shared_tls(service, port),
                _ => self.addressed(service, port),
            }
        }
    }

    fn shared_http(&mut self, service: &Service, port: &ServicePort) {
        let shared = self.shared.entry(port.port.value).or_default();
        shared.http.get_or_insert_with(|| Table::new(self.namespace)).add_addressed(service, port);
    }

    /// Without an address of its own the service is told by the name that the client asks for.
    fn shared_tls(&mut self, service: &Service, port: &ServicePort) {
        let (host, number) = (service.host.clone(), port.port.value);
        let cluster = cluster_name(service, number, "");
        let shared = self.shared.entry(number).or_default();
        if host == "*" {
            shared.bytes.get_or_insert(cluster);
        } else if shared.names.insert(host.clone()) {
            shared.tls.push(ServerNames { names: vec![host], cluster });
        }
    }

    fn addressed(&mut self, service: &Service, port: &ServicePort) {
        let number = port.port.value;
        let cluster = || cluster_name(service, number, "");
        let addresses = addresses(service);
        if addresses.is_empty() {
            self.shared.entry(number).or_default().bytes.get_or_insert_with(cluster);
        }
        for address in addresses {
            self.addressed.entry(SocketAddr::new(address, number)).or_insert_with(|| {
                let http = (port.protocol == Protocol::Undeclared).then(|| {
                    let mut table = Table::new(self.namespace);
                    table.add_addressed(service, port);
                    (format!("{}:{number}", service.host), table)
                });
                Addressed { http, cluster: cluster() }
            });
        }
    }

    pub(super) fn finish(self, outbound: &mut Outbound<'a>) {
        let unknown = (self.otherwise == PASSTHROUGH).then(|| self.otherwise.to_owned());
        for (bind, Addressed { http, cluster }) in self.addressed {
            let (target, table) = match http {
                None => (OutboundTarget::Tcp(cluster), None),
                Some((name, table)) => {
                    let detect = Detect { http: Some(name.clone()), tls: Vec::new(), otherwise: cluster };
                    // Several addresses of one service share the table.
                    (OutboundTarget::Detect(detect), Some(table.named(name, unknown.clone())))
                }
            };
            outbound.add(OutboundListener::new(bind, true, target), table);
        }
        for (port, Shared { http, tls, bytes, .. }) in self.shared {
            let bind = SocketAddr::new(self.wildcard, port);
            let name = http.is_some().then(|| port.to_string());
            let table = http.map(|table| table.named(port.to_string(), unknown.clone()));
            let otherwise = bytes.unwrap_or_else(|| self.otherwise.to_owned());
            let target = match (name, tls.is_empty()) {
                (None, true) => OutboundTarget::Tcp(otherwise),
                (http, _) => OutboundTarget::Detect(Detect { http, tls, otherwise }),
            };
            let also = self.other_wildcard.map(|other| SocketAddr::new(other, port));
            outbound.add(OutboundListener { also, ..OutboundListener::new(bind, true, target) }, table);
        }
    }
}

/// The addresses by which a service's connections are told from others': its own, or where clients choose, each endpoint's.
fn addresses(service: &Service) -> Vec<IpAddr> {
    if !service.addresses.is_empty() || !service.client_chooses {
        return service.addresses.clone();
    }
    let ready = service.endpoints.iter().filter(|endpoint| endpoint.ready);
    let ips = ready.flat_map(|endpoint| match endpoint.address {
        EndpointAddress::Ip(ip) => [Some(ip), endpoint.other_address],
        EndpointAddress::Dns(_) => [None, None],
    });
    ips.flatten().collect::<BTreeSet<_>>().into_iter().collect()
}
