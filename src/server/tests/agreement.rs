//! Whether what clients are told and what servers are told fit, by what Envoy would do with it: the encoded resources of both ends, of
//! policy sets at random. What does not fit is to be reported.

use std::collections::HashMap;
use std::net::IpAddr;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::config::core::v3::{Address, TransportSocket};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, LbEndpoint};
use envoy_types::pb::envoy::config::listener::v3::{FilterChain, Listener};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{DownstreamTlsContext, UpstreamTlsContext};
use proptest::prelude::*;
use prost::Message;

use crate::analysis::{Filter, Status, ways};
use crate::envoy::{EncodedResource, class_resources, proxy_resources};
use crate::mesh::tests::random::policies;
use crate::mesh::{IstioCompatibility, Mesh, Settings, Workload};
use crate::plan::{self, Interception, Node, class_plan, proxy_plan};

/// What a client sends first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoken {
    Plaintext,
    /// TLS, with the certificate of the mesh.
    Mesh,
    /// TLS, with a certificate of the operator's.
    Mutual,
    /// TLS, without a certificate.
    Simple,
}

impl Spoken {
    fn by(socket: Option<&TransportSocket>) -> Self {
        let Some(ConfigType::TypedConfig(config)) = socket.and_then(|it| it.config_type.as_ref()) else {
            return Self::Plaintext;
        };
        if !config.type_url.ends_with(".UpstreamTlsContext") {
            return Self::Plaintext;
        }
        let context = UpstreamTlsContext::decode(&*config.value).unwrap().common_tls_context.unwrap();
        match context.tls_certificate_sds_secret_configs.first() {
            None => Self::Simple,
            Some(secret) if secret.name == "default" => Self::Mesh,
            Some(_) => Self::Mutual,
        }
    }
}

/// Whether a server's listener does with it what it is meant for. `None`: nobody listens there, whatever is spoken.
fn taken(chains: &[FilterChain], port: u16, spoken: Spoken) -> Option<bool> {
    let of_port = |chain: &&FilterChain| {
        let wanted = chain.filter_chain_match.as_ref().and_then(|it| it.destination_port.as_ref());
        wanted.map(|it| it.value)
    };
    let mut here: Vec<&FilterChain> = chains.iter().filter(|it| of_port(it) == Some(port.into())).collect();
    if here.is_empty() {
        here = chains.iter().filter(|it| of_port(it).is_none()).collect();
    }
    if here.is_empty() {
        return None;
    }
    let transport = |chain: &FilterChain| {
        chain.filter_chain_match.as_ref().map_or(String::new(), |it| it.transport_protocol.clone())
    };
    // Without the inspector everything is plaintext to Envoy.
    let inspected = here.iter().any(|chain| transport(chain) == "tls");
    let is_tls = spoken != Spoken::Plaintext && inspected;
    let wanted = if is_tls { "tls" } else { "raw_buffer" };
    let offered: &[&str] = if spoken == Spoken::Mesh { &["istio-peer-exchange", "istio"] } else { &[] };
    let words = |chain: &FilterChain| {
        chain.filter_chain_match.as_ref().map_or(Vec::new(), |it| it.application_protocols.clone())
    };
    let fits = |chain: &&&FilterChain| transport(chain) == wanted || transport(chain).is_empty();
    let by_word =
        here.iter().filter(fits).find(|chain| words(chain).iter().any(|word| offered.contains(&word.as_str())));
    let Some(chain) = by_word.or_else(|| here.iter().filter(fits).find(|chain| words(chain).is_empty())) else {
        return Some(false);
    };
    let is_http = chain.filters.iter().any(|it| it.name.ends_with("http_connection_manager"));
    let Some(ConfigType::TypedConfig(config)) = chain.transport_socket.as_ref().and_then(|it| it.config_type.as_ref())
    else {
        // An application's own TLS goes through what carries bytes; the mesh's is nobody's there.
        return Some(spoken == Spoken::Plaintext || (spoken != Spoken::Mesh && !is_http));
    };
    let context = DownstreamTlsContext::decode(&*config.value).unwrap();
    let of_mesh = context.common_tls_context.unwrap().tls_certificate_sds_secret_configs[0].name == "default";
    let required = context.require_client_certificate.is_some_and(|it| it.value);
    Some(match spoken {
        Spoken::Plaintext => false,
        Spoken::Mesh => of_mesh,
        Spoken::Mutual => !of_mesh,
        Spoken::Simple => !of_mesh && !required,
    })
}

fn place(address: &Address) -> Option<(IpAddr, u16)> {
    let Some(AddressKind::SocketAddress(socket)) = &address.address else { return None };
    let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else { return None };
    Some((socket.address.parse().ok()?, u16::try_from(port).ok()?))
}

fn all<M: Message + Default>(resources: &[EncodedResource], of: &str) -> Vec<M> {
    let these = resources.iter().filter(|resource| resource.type_url.ends_with(of));
    these.map(|resource| M::decode(resource.value.clone()).unwrap()).collect()
}

/// The filter chains that a connection to a port of a workload comes to.
fn chains(mesh: &Mesh, workload: &Workload, node: Node, port: u16) -> Vec<FilterChain> {
    let listeners: Vec<Listener> = all(&proxy_resources(&proxy_plan(mesh, workload, node)), ".Listener");
    let bound = listeners.iter().find(|listener| {
        let at = listener.address.as_ref().and_then(place);
        at.is_some_and(|(_, bound)| bound == port) && listener.bind_to_port.as_ref().is_none_or(|it| it.value)
    });
    let virtual_inbound = || listeners.iter().find(|listener| listener.name == "virtualInbound");
    bound.or_else(virtual_inbound).map(|listener| listener.filter_chains.clone()).unwrap_or_default()
}

/// What the client's cluster does with this endpoint.
fn spoken(cluster: &Cluster, endpoint: &LbEndpoint) -> Spoken {
    if cluster.transport_socket_matches.is_empty() {
        return Spoken::by(cluster.transport_socket.as_ref());
    }
    let label = endpoint.metadata.as_ref().and_then(|it| it.filter_metadata.get("envoy.transport_socket_match"));
    let matching = cluster.transport_socket_matches.iter().find(|candidate| {
        let wanted = candidate.r#match.as_ref().map(|it| it.fields.clone()).unwrap_or_default();
        wanted.iter().all(|(key, value)| label.is_some_and(|label| label.fields.get(key) == Some(value)))
    });
    Spoken::by(matching.and_then(|it| it.transport_socket.as_ref()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_ends_of_every_pair_agree_unless_it_is_reported(text in policies(), literal in any::<bool>()) {
        let istio_compatibility = if literal { IstioCompatibility::Strict } else { IstioCompatibility::Adaptive };
        let (set, _) = crate::policy::parse_set([("f.yaml", &text)]).map_err(|errors| TestCaseError::fail(format!("{}\n{text}", errors[0])))?;
        let (mesh, _) = Mesh::build(&set, &Settings { istio_compatibility, ..Settings::default() });
        let mut reported = HashMap::new();
        for way in ways(&mesh, &Filter::default()) {
            for client in way.clients {
                let cluster = format!("outbound|{}|{}|{}", way.port, way.subset, way.host);
                reported.insert((client, cluster), way.status == Status::Conflict);
            }
        }
        let by_address: HashMap<IpAddr, _> = mesh.workloads().filter_map(|it| Some((it.address?, it))).collect();
        let redirect = Node { interception: Interception::Redirect, ..Node::default() };
        for client in mesh.workloads().filter(|it| it.meshed) {
            let resources = class_resources(&class_plan(&mesh, client, Node::default(), &plan::Settings::default()));
            let assignments: Vec<ClusterLoadAssignment> = all(&resources, ".ClusterLoadAssignment");
            for cluster in all::<Cluster>(&resources, ".Cluster") {
                let of_cluster = assignments.iter().find(|it| it.cluster_name == cluster.name);
                for endpoint in of_cluster.iter().flat_map(|it| &it.endpoints).flat_map(|it| &it.lb_endpoints) {
                    let Some(HostIdentifier::Endpoint(at)) = &endpoint.host_identifier else { continue };
                    let Some((address, port)) = at.address.as_ref().and_then(place) else { continue };
                    let Some(server) = by_address.get(&address) else { continue };
                    let spoken = spoken(&cluster, endpoint);
                    let fit = match server.meshed {
                        // The application itself: the mesh's TLS is nobody's, and any other may be its own.
                        false => vec![Some(spoken != Spoken::Mesh)],
                        true => [Node::default(), redirect]
                            .map(|node| taken(&chains(&mesh, server, node, port), port, spoken))
                            .to_vec(),
                    };
                    let fails = fit.contains(&Some(false));
                    let known = reported.get(&(client.key.to_string(), cluster.name.clone())).copied();
                    prop_assert!(
                        !fails || known == Some(true),
                        "{} speaks {spoken:?} by {} to {} port {port}, which does not take it ({fit:?}), and this is not reported ({known:?})\n{text}",
                        client.key, cluster.name, server.key
                    );
                }
            }
        }
    }
}
