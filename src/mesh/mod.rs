//! The immutable, indexed model of the mesh: who runs where, what is offered, and which policy governs it.
//!
//! [`Mesh::build`] turns one whole policy set into a model that is never edited: the next set makes the next model.
//! [`decide`] reads it, and is the only place where an mTLS mode is decided; everything else here answers "who", "where" and
//! "visible to whom". Nothing in this module knows Envoy, a clock or a lock.

pub mod decide;

mod authorization;
mod build;
mod gateway;
mod index;
mod linkerd;
mod mesh_config;
mod names;
mod population;
mod rules;
mod service;
mod sidecar;
mod slices;
mod transit;
mod visibility;
mod warning;
mod workload;

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

pub use crate::policy::{
    AccessAction, AccessRule, AuthorizationPolicy, CaCertificate, CaptureMode, Condition,
    Endpoint as ApplicationEndpoint, Gateway, HttpMatch, Matcher, MeshConfig, Network, Object, Origin,
    OutboundTrafficPolicy, PathNormalization, Pattern, Protocol, Server, ServerCertificate, ServerProtocol, ServerTls,
    ServerTlsMode, ServerTlsVersion, ServicePort, Sidecar, SidecarEgress, SidecarIngress, Through, TlsSettings,
    TlsVersion, UriMatch, VirtualService, WeightedDestination,
};
pub use gateway::{intersection, names as gateway_named};
pub use linkerd::{Client, ClientNetwork, Grant, PortList, dns_name};
pub use names::{PeerNames, San};
pub use service::{Discovery, Endpoint, EndpointAddress, Ports, Service};
pub use sidecar::HostFilter;
pub use transit::{Modes, Moving, Step, Transit, Written};
pub use warning::{Topic, Warning};
pub use workload::{ParseWorkloadKeyError, Workload, WorkloadKey};

use crate::policy::DestinationRule;
use gateway::GatewayIndex;
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
    /// The suffix of every `v1` Service's host: `<name>.<namespace>.svc.<cluster_domain>`.
    pub cluster_domain: String,
    /// What happens where Istio would break a connection.
    pub istio_compatibility: IstioCompatibility,
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
            cluster_domain: "cluster.local".into(),
            istio_compatibility: IstioCompatibility::default(),
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

/// One policy set, indexed. Cheap to share, impossible to edit.
#[derive(Debug)]
pub struct Mesh {
    settings: Settings,
    workloads: BTreeMap<WorkloadKey, Arc<Workload>>,
    /// Every service, ordered by host, then age; the first of a host wins where two are visible.
    services: Vec<Arc<Service>>,
    /// For each workload, the indexes of the services that select it, in order, and of its endpoints there.
    endpoints_of: HashMap<WorkloadKey, Vec<(usize, usize)>>,
    rules: RuleIndex,
    transit: Transit,
    gateways: GatewayIndex,
}

impl Mesh {
    /// What the whole mesh shares.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Every workload, ordered by namespace and name.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.workloads.values()
    }

    /// The workload of this name.
    pub fn workload(&self, key: &WorkloadKey) -> Option<&Arc<Workload>> {
        self.workloads.get(key)
    }

    /// Every service, ordered by host.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.iter()
    }

    /// The services that select this workload, ordered by host.
    pub fn services_of(&self, key: &WorkloadKey) -> impl Iterator<Item = &Arc<Service>> {
        let of = self.endpoints_of.get(key).map(Vec::as_slice).unwrap_or_default();
        of.chunk_by(|(one, _), (other, _)| one == other).map(|endpoints| &self.services[endpoints[0].0])
    }

    /// What a client of this namespace can see, one service a host, ordered by host. Where several namespaces define a
    /// host, the client's own definition wins, then the oldest: cluster names carry the host only, so there can be one.
    pub fn visible_to(&self, namespace: &str) -> Vec<&Arc<Service>> {
        let mut seen: Vec<&Arc<Service>> = Vec::new();
        for service in &self.services {
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
        for &(service, endpoint) in self.endpoints_of.get(&workload.key).into_iter().flatten() {
            let service = &self.services[service];
            for port in &service.ports {
                if let Some(number) = service.endpoints[endpoint].port(port) {
                    ports.entry(number).or_insert(port.protocol);
                }
            }
        }
        ports
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
        let start = self.services.partition_point(|service| service.host < host);
        let end = self.services.partition_point(|service| service.host <= host);
        &self.services[start..end]
    }

    /// Whether any service has a host that the rule covers, exactly or by its wildcard.
    pub fn covers_any(&self, rule: &Object<DestinationRule>) -> bool {
        match rule.spec.host.value.strip_prefix('*') {
            Some(suffix) => self.services.iter().any(|service| service.host.ends_with(&suffix.to_ascii_lowercase())),
            None => !self.governed_by(rule).is_empty(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
