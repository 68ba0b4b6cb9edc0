//! The immutable, indexed model of the mesh: who runs where, what is offered, and which policy governs it.
//!
//! [`Mesh::build`] turns one whole policy set into a model that is never edited: the next set makes the next model.
//! [`decide`] reads it, and is the only place where an mTLS mode is decided; everything else here answers "who", "where" and
//! "visible to whom". Nothing in this module knows Envoy, a clock or a lock.

pub mod decide;

mod authorization;
mod basis;
mod build;
mod gateway;
mod governed;
mod index;
mod linkerd;
mod mesh_config;
mod names;
mod offers;
mod population;
mod reach;
mod registration;
mod rules;
mod server_conf;
mod service;
mod sidecar;
mod slices;
mod transit;
mod visibility;
mod warning;
mod workload;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

pub use crate::policy::{
    AccessAction, AccessRule, AuthorizationPolicy, CaCertificate, CaptureMode, Condition,
    Endpoint as ApplicationEndpoint, Gateway, HttpMatch, Matcher, MeshConfig, Network, Object, Origin,
    OutboundTrafficPolicy, PathNormalization, Pattern, Protocol, Server, ServerCertificate, ServerProtocol, ServerTls,
    ServerTlsMode, ServicePort, Sidecar, SidecarEgress, SidecarIngress, Through, TlsSettings, TlsVersion, UriMatch,
    VirtualService, WeightedDestination,
};
pub use basis::{Basis, Outlook};
pub use gateway::{intersection, names as gateway_named};
pub use linkerd::{Client, ClientNetwork, Grant, PortList, dns_name};
pub use names::{PeerNames, San};
pub use registration::Process;
pub use server_conf::ServerConf;
pub use service::{Discovery, Endpoint, EndpointAddress, Ports, Service};
pub use sidecar::HostFilter;
pub use transit::{Modes, Moving, Step, Transit, Written};
pub use warning::{Topic, Warning};
pub use workload::{ParseWorkloadKeyError, Registered, Workload, WorkloadKey};

use crate::policy::{DestinationRule, Objects};
use gateway::GatewayIndex;
use governed::Governed;
use offers::Offers;
use population::Population;
use reach::{Reach, Ways};
use rules::RuleIndex;

/// What the whole mesh shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The trust domain of every identity issued here.
    pub trust_domain: String,
    /// Trust domains whose identities count as this one's: accepted inbound, and expected outbound.
    pub trust_domain_aliases: Vec<String>,
    /// Other trust domains, with roots and identities of their own: accepted inbound, and expected outbound where a policy names one of
    /// their identities.
    pub federated: Vec<String>,
    /// The namespace whose selector-less policies hold for the whole mesh.
    pub root_namespace: String,
    /// What the cluster is called, in the templates of SPIRE's kinds.
    pub cluster: String,
    /// The suffix of every `v1` Service's host: `<name>.<namespace>.svc.<cluster_domain>`.
    pub cluster_domain: String,
    /// What happens where Istio would break a connection.
    pub istio_compatibility: IstioCompatibility,
    /// The `server.conf` of SPIRE that the server was started with.
    pub server_conf: ServerConf,
    /// What Istio's MeshConfig says: in the server's configuration, and in a mesh also in its set's ConfigMap.
    pub mesh_config: MeshConfig,
}

/// What happens where a client's ISTIO_MUTUAL meets a port that takes plaintext only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IstioCompatibility {
    /// The client follows the port's mode, and the pair is reported.
    #[default]
    Adaptive,
    /// The client speaks mutual TLS, as Istio's does, and every connection fails. The pair is reported too.
    Strict,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            trust_domain: "cluster.local".into(),
            trust_domain_aliases: Vec::new(),
            federated: Vec::new(),
            root_namespace: "istio-system".into(),
            cluster: "local".into(),
            cluster_domain: "cluster.local".into(),
            istio_compatibility: IstioCompatibility::default(),
            server_conf: ServerConf::default(),
            mesh_config: MeshConfig::default(),
        }
    }
}

impl Settings {
    /// The trust domain first, then its aliases.
    pub fn trust_domains(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.trust_domain.as_str()).chain(self.trust_domain_aliases.iter().map(String::as_str))
    }

    /// The SPIFFE ID of a service account, in the form Istio gives it.
    pub fn spiffe_id(&self, namespace: &str, service_account: &str) -> String {
        spiffe_id(&self.trust_domain, namespace, service_account)
    }
}

fn spiffe_id(trust_domain: &str, namespace: &str, service_account: &str) -> String {
    format!("spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}")
}

/// One policy set, indexed. Cheap to share, impossible to edit. Its parts are shared with the model before, where nothing has changed in
/// what they were made from.
#[derive(Debug)]
pub struct Mesh {
    settings: Arc<Settings>,
    /// What they were made from, besides the server's own.
    mesh_configs: Objects<MeshConfig>,
    population: Arc<Population>,
    governed: Arc<Governed>,
    offers: Arc<Offers>,
    reach: Arc<Reach>,
    rules: Arc<RuleIndex>,
    gateways: Arc<GatewayIndex>,
}

impl Mesh {
    /// The processes of this machine that have an identity by their user and group, the first that fits first.
    pub fn processes(&self) -> &[Process] {
        &self.population.processes
    }

    /// What the whole mesh shares.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Every workload, ordered by namespace and name.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.population.by_key.values().map(|&position| &self.governed.workloads[position])
    }

    /// The workloads whose identity is not made of their namespace and service account, ordered by namespace and name.
    pub fn registered(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.population.registered.iter().filter_map(|(key, _)| self.workload(key))
    }

    /// The workload of this name.
    pub fn workload(&self, key: &WorkloadKey) -> Option<&Arc<Workload>> {
        self.population.by_key.get(key).map(|&position| &self.governed.workloads[position])
    }

    /// Every service, ordered by host.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.offers.services.iter()
    }

    fn ways_to(&self, key: &WorkloadKey) -> Option<&Ways> {
        self.population.by_key.get(key).map(|&position| &self.reach.ways[position])
    }

    /// The services that select this workload, ordered by host.
    pub fn services_of(&self, key: &WorkloadKey) -> impl Iterator<Item = &Arc<Service>> {
        let ways = self.ways_to(key).map(|ways| &**ways).unwrap_or_default();
        ways.chunk_by(|(one, _), (other, _)| Arc::ptr_eq(one, other)).map(|ways| &ways[0].0)
    }

    /// What a client of this namespace can see, one service a host, ordered by host. Where several namespaces define a
    /// host, the client's own definition wins, then the oldest: cluster names carry the host only, so there can be one.
    pub fn visible_to(&self, namespace: &str) -> Vec<&Arc<Service>> {
        let mut seen: Vec<&Arc<Service>> = Vec::new();
        for service in &self.offers.services {
            if !visibility::exports(&service.export_to, &service.namespace, namespace) {
                continue;
            }
            match seen.last_mut() {
                Some(last) if last.host == service.host => {
                    if last.namespace != namespace && service.namespace == namespace {
                        *last = service;
                    }
                }
                _ => seen.push(service),
            }
        }
        seen
    }

    /// The labels of `workload` that some DestinationRule of its namespace reads. Workloads alike in these (and in
    /// namespace and Sidecar) get the same outbound configuration, whatever else they are labelled with.
    pub fn client_labels(&self, workload: &Workload) -> BTreeMap<String, String> {
        let read = self.rules.client_label_keys(&workload.key.namespace);
        workload
            .labels
            .iter()
            .filter(|(key, _)| read.is_some_and(|keys| keys.contains(*key)))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    }

    /// The workload's ports that services send to, and what is spoken there. Of two services with one port, the first by host says it.
    pub fn sent_to(&self, workload: &Workload) -> BTreeMap<u16, Protocol> {
        let mut ports = BTreeMap::new();
        for (service, endpoint) in self.ways_to(&workload.key).into_iter().flat_map(|ways| ways.iter()) {
            for port in &service.ports {
                if let Some(number) = service.endpoints[*endpoint].port(port) {
                    ports.entry(number).or_insert(port.protocol);
                }
            }
        }
        ports
    }

    /// What is spoken on a port of the workload: what its Sidecar's `ingress` says, or else the first service that sends there, and Linkerd's
    /// policy besides. `None`: nothing is known of the port.
    pub fn protocol_served(&self, workload: &Workload, number: u16) -> Option<Protocol> {
        let ingress = workload.sidecar().map_or(&[][..], |sidecar| &sidecar.spec.ingress);
        let declared = match ingress {
            [] => self.sent_to(workload).get(&number).copied(),
            _ => ingress.iter().find(|listener| listener.port.value == number).map(|listener| listener.protocol),
        };
        declared.map(|declared| workload.spoken(number, declared))
    }

    /// The workload's ports that services send to, or that its PeerAuthentication or a Server names: a mode that an operator has written
    /// for a port is kept even where no service leads to it.
    pub fn served_ports(&self, workload: &Workload) -> BTreeMap<u16, Protocol> {
        let mut ports = self.sent_to(workload);
        for port in decide::ports_named(workload) {
            ports.entry(port).or_insert_with(|| workload.protocol(port));
        }
        ports
    }

    /// The services whose host is the rule's, whoever sees them.
    pub fn governed_by(&self, rule: &Object<DestinationRule>) -> &[Arc<Service>] {
        let host = rules::qualified(&rule.spec.host.value, &rule.meta.namespace, &self.settings.cluster_domain);
        of_host(&self.offers.services, &host)
    }

    /// Whether any service has a host that the rule covers, exactly or by its wildcard.
    pub fn covers_any(&self, rule: &Object<DestinationRule>) -> bool {
        match rule.spec.host.value.strip_prefix('*') {
            Some(suffix) => self.services().any(|service| service.host.ends_with(&suffix.to_ascii_lowercase())),
            None => !self.governed_by(rule).is_empty(),
        }
    }
}

/// Those of one host, among services that are ordered by host.
fn of_host<'s>(services: &'s [Arc<Service>], host: &str) -> &'s [Arc<Service>] {
    let start = services.partition_point(|service| service.host.as_str() < host);
    let end = services.partition_point(|service| service.host.as_str() <= host);
    &services[start..end]
}

#[cfg(test)]
pub(crate) mod tests;
