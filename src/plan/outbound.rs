//! Clusters: how one class of proxies reaches each port of each service.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Serialize;

use super::{Node, SecretName, is_default};
use crate::mesh::decide::{
    self, Choice, ClientCertificate, Destination, OutboundMode, Roots, ServerTrust, outbound_to,
};
use crate::mesh::{
    Discovery, Endpoint, EndpointAddress, Mesh, PeerNames, Protocol, Service, ServicePort, Settings, TlsSettings,
    Workload, WorkloadKey,
};

/// One port of a service, or one subset of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cluster {
    /// Istio's name: `outbound|PORT|SUBSET|HOST`.
    pub name: String,
    /// How endpoints are found.
    pub discovery: Discovery,
    /// What is spoken.
    pub protocol: Protocol,
    /// TLS towards the endpoints.
    pub tls: ClusterTls,
    /// Whether what its TLS offers (RFC 7301) is to stay as it is, at a proxy that would else say what the mesh's own servers read there.
    #[serde(skip_serializing_if = "is_default")]
    pub keeps_alpn: bool,
    /// Where it leads.
    pub endpoints: Vec<ClusterEndpoint>,
    /// The ports behind it that are on their way to another mode, in order.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub in_transit: BTreeSet<(WorkloadKey, u16)>,
}

/// One endpoint of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClusterEndpoint {
    /// Where it is.
    pub address: EndpointAddress,
    /// Its address of the other family, which is tried when the first does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_address: Option<IpAddr>,
    /// Its port.
    pub port: u16,
    /// `region/zone/subzone`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<String>,
    /// Its share of the load; at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Under [`ClusterTls::PerEndpoint`]: whether this one gets mutual TLS.
    pub mtls: bool,
}

/// TLS towards a cluster's endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterTls {
    /// None.
    Plaintext,
    /// To all of them.
    Always(UpstreamTls),
    /// To those that accept it, plaintext to the others.
    PerEndpoint(UpstreamTls),
}

/// One client-side TLS context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UpstreamTls {
    /// What the client shows; `None`: nothing.
    pub certificate: Option<SecretName>,
    /// How the server is verified.
    pub validation: Validation,
    /// The server name sent.
    pub sni: Option<String>,
    /// The protocols offered (RFC 7301), best first.
    pub alpn: Vec<&'static str>,
    /// Whether both ends are proxies of the mesh, which agree on its cipher suites.
    pub mesh: bool,
    /// Versions, suites and curves, where the mesh's configuration says something.
    #[serde(skip_serializing_if = "is_default")]
    pub settings: TlsSettings,
}

/// How a server is verified. Roots without names, or names without roots, cannot be said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Validation {
    /// By its chain and its name.
    Verified {
        /// Against these roots.
        roots: SecretName,
        /// It must carry one of these names.
        sans: PeerNames,
        /// A CRL file on the proxy's machine.
        #[serde(skip_serializing_if = "Option::is_none")]
        crl: Option<String>,
    },
    /// Not at all: the operator wrote `insecureSkipVerify: true`.
    InsecureSkipVerify,
}

impl Validation {
    /// What the server's chain is verified against.
    pub fn roots(&self) -> Option<&SecretName> {
        match self {
            Self::Verified { roots, .. } => Some(roots),
            Self::InsecureSkipVerify => None,
        }
    }
}

impl Cluster {
    /// The secrets it refers to.
    pub(super) fn secrets(&self) -> impl Iterator<Item = SecretName> + use<> {
        let tls = match &self.tls {
            ClusterTls::Plaintext => None,
            ClusterTls::Always(tls) | ClusterTls::PerEndpoint(tls) => Some(tls),
        };
        let roots = tls.and_then(|tls| tls.validation.roots().cloned());
        tls.and_then(|tls| tls.certificate.clone()).into_iter().chain(roots)
    }
}

/// Istio's name for a cluster.
pub(super) fn cluster_name(service: &Service, port: u16, subset: &str) -> String {
    format!("outbound|{port}|{subset}|{}", service.host)
}

/// The clusters of every port of a service, and of every subset that the client's DestinationRule names.
pub(super) fn clusters(mesh: &Mesh, client: &Workload, node: Node, service: &Service) -> Vec<Cluster> {
    let subsets = decide::subsets(mesh, client, service);
    let mut clusters = Vec::new();
    for port in &service.ports {
        let whole = Destination { service, port, subset: None };
        clusters.push(cluster(mesh, client, node, whole, service.endpoints.iter()));
        for (name, selector) in &subsets {
            let selected = service.endpoints.iter().filter(|endpoint| selector.matches(&endpoint.labels));
            clusters.push(cluster(mesh, client, node, Destination { service, port, subset: Some(name) }, selected));
        }
    }
    clusters
}

/// The clusters of every port of a service, without those of subsets.
pub(super) fn clusters_of<'s>(
    mesh: &Mesh,
    client: &Workload,
    service: &'s Service,
) -> impl Iterator<Item = (&'s ServicePort, Cluster)> {
    let whole = |port| Destination { service, port, subset: None };
    let cluster = move |port| cluster(mesh, client, Node::PLAIN, whole(port), service.endpoints.iter());
    service.ports.iter().map(move |port| (port, cluster(port)))
}

fn cluster<'e>(
    mesh: &Mesh,
    client: &Workload,
    node: Node,
    to: Destination<'_>,
    endpoints: impl Iterator<Item = &'e Endpoint> + Clone,
) -> Cluster {
    let Destination { service, port, subset } = to;
    let decision = outbound_to(mesh, client, to, None);
    let in_transit = endpoints.clone().filter_map(|endpoint| in_transit(mesh, endpoint, port)).collect();
    let ready = endpoints.filter(|endpoint| endpoint.ready);
    let endpoints: Vec<_> = ready.filter_map(|endpoint| planned(endpoint, port, &decision.mode)).collect();
    let asked = matches!(decision.mode, OutboundMode::PerEndpoint { choice: Choice::Asked | Choice::Insisted, .. });
    let tls = tls(mesh.settings(), decision.mode, port.protocol, &client.key.namespace);
    let keeps_alpn = node.is_istios && matches!(&tls, ClusterTls::Always(tls) if !tls.mesh);
    let (name, protocol) = (cluster_name(service, port.port.value, subset.unwrap_or_default()), port.protocol);
    if node.is_intercepted() && service.client_chooses {
        let (discovery, tls) = (Discovery::OriginalDestination, to_any_of(&endpoints, asked, tls));
        return Cluster { name, discovery, protocol, tls, keeps_alpn, endpoints: Vec::new(), in_transit };
    }
    Cluster { name, discovery: service.discovery, protocol, tls, keeps_alpn, endpoints, in_transit }
}

/// Where a client chooses the endpoint, its proxy cannot tell which one it is. Mutual TLS is for all of them, or for none. One endpoint that
/// takes plaintext only does not take from the others what a rule `asked` for.
fn to_any_of(endpoints: &[ClusterEndpoint], asked: bool, tls: ClusterTls) -> ClusterTls {
    let all = !endpoints.is_empty() && endpoints.iter().all(|it| it.mtls);
    let any = endpoints.iter().any(|it| it.mtls);
    match tls {
        ClusterTls::PerEndpoint(tls) if all || (asked && any) => ClusterTls::Always(tls),
        ClusterTls::PerEndpoint(_) => ClusterTls::Plaintext,
        tls => tls,
    }
}

fn in_transit(mesh: &Mesh, endpoint: &Endpoint, port: &ServicePort) -> Option<(WorkloadKey, u16)> {
    let (workload, number) = (&endpoint.workload.as_ref()?.key, endpoint.port(port)?);
    mesh.transit().get(workload, number).map(|_| (workload.clone(), number))
}

fn planned(endpoint: &Endpoint, port: &ServicePort, mode: &OutboundMode) -> Option<ClusterEndpoint> {
    Some(ClusterEndpoint {
        address: endpoint.address.clone(),
        other_address: endpoint.other_address,
        port: endpoint.port(port)?,
        locality: endpoint.locality.clone(),
        weight: endpoint.weight.filter(|weight| *weight > 0),
        mtls: matches!(mode, OutboundMode::PerEndpoint { .. }) && mode.is_mtls_to(endpoint, port),
    })
}

/// The roots of nobody else than whose names are expected: with those of several trust domains, a certificate is verified by the roots of
/// its first name, and taken for any of its names.
fn roots_of(settings: &Settings, sans: &PeerNames) -> SecretName {
    let mut domains = sans.iter().map(|name| settings.further_trust_domain(name));
    let first = domains.next().flatten();
    match first {
        _ if domains.any(|other| other != first) => SecretName::AllRoots,
        None => SecretName::Root,
        Some(domain) => SecretName::DomainRoots(domain.to_owned()),
    }
}

fn tls(settings: &Settings, mode: OutboundMode, protocol: Protocol, namespace: &str) -> ClusterTls {
    let credential = |name: String, ca| SecretName::Credential { namespace: namespace.to_owned(), name, ca };
    // Outside the mesh HTTP/2 has to be negotiated; within it the cluster knows.
    let outside = if protocol.is_http2() { vec!["h2"] } else { Vec::new() };
    let validation = |trust: ServerTrust| match trust {
        ServerTrust::InsecureSkipVerify => Validation::InsecureSkipVerify,
        ServerTrust::Verified { roots, sans, crl } => {
            let roots = match roots {
                Roots::System => SecretName::SystemRoots,
                Roots::File(path) => SecretName::FileRoot(path),
                Roots::Credential(name) => credential(name, true),
            };
            Validation::Verified { roots, sans, crl }
        }
    };
    let within = |sni, sans: PeerNames| {
        // What Istio's proxies offer, by which a PERMISSIVE port tells the mesh's TLS from the application's own.
        let mut alpn = vec!["istio-peer-exchange", "istio"];
        if protocol.is_http2() {
            alpn.push("h2");
        }
        let validation = Validation::Verified { roots: roots_of(settings, &sans), sans, crl: None };
        UpstreamTls {
            certificate: Some(SecretName::Workload),
            validation,
            sni: Some(sni),
            alpn,
            mesh: true,
            settings: settings.mesh_tls(),
        }
    };
    match mode {
        OutboundMode::Plaintext => ClusterTls::Plaintext,
        OutboundMode::PerEndpoint { sni, sans, .. } => ClusterTls::PerEndpoint(within(sni, sans)),
        OutboundMode::IstioMutual { sni, sans } => ClusterTls::Always(within(sni, sans)),
        OutboundMode::Simple { sni, trust } => ClusterTls::Always(UpstreamTls {
            certificate: None,
            validation: validation(trust),
            sni,
            alpn: outside,
            mesh: false,
            settings: settings.tls_defaults(),
        }),
        OutboundMode::Mutual { sni, trust, certificate } => {
            let certificate = match certificate {
                ClientCertificate::Files { chain, key } => SecretName::FileCert { certificate: chain, key },
                ClientCertificate::Credential(name) => credential(name, false),
            };
            ClusterTls::Always(UpstreamTls {
                certificate: Some(certificate),
                validation: validation(trust),
                sni,
                alpn: outside,
                mesh: false,
                settings: settings.tls_defaults(),
            })
        }
    }
}
