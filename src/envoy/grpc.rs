//! Resources for gRPC's own xDS client, which reads a part of Envoy's API: gRFC A27 says which, A28 for routes, A29 for TLS, A37 for
//! clusters that are resolved.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig};
use envoy_types::pb::envoy::config::core::v3::TransportSocket;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::{ApiListener, Listener};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, WeightedCluster,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateProviderPluginInstance, CertificateValidationContext, CommonTlsContext, UpstreamTlsContext,
};
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use prost::Message;

use super::cluster::LOAD_ASSIGNMENT;
use super::endpoint::Localities;
use super::message::{any, encoded, number, resource, seconds, transport_socket};
use super::{EncodedResource, endpoint, http, sds, tls, wire};
use crate::plan::{ClusterEndpoint, Discovery, GrpcCluster, GrpcPlan, GrpcTarget, PeerNames, San};

/// The certificate provider of the client's bootstrap that has its own certificate and the mesh's roots, as Istio names it.
const PROVIDER: &str = "default";

/// What every gRPC client of a class gets. It asks for what it needs by name, and for nothing else.
pub fn grpc_resources(plan: &GrpcPlan) -> Vec<EncodedResource> {
    let listeners =
        plan.targets.iter().flat_map(|target| target.names.iter().map(|name| resource(name, &listener(name, target))));
    let clusters = plan.targets.iter().flat_map(|target| &target.clusters).flat_map(|it| {
        let assignment = (it.cluster.discovery == Discovery::Endpoints)
            .then(|| encoded::<ClusterLoadAssignment>(&it.cluster.name, &[&assignment(it)]));
        std::iter::once(cluster(it)).chain(assignment)
    });
    listeners.chain(clusters).collect()
}

/// The listener of one name, with its routes in it.
fn listener(name: &str, target: &GrpcTarget) -> Listener {
    let route = Route {
        r#match: Some(RouteMatch { path_specifier: Some(PathSpecifier::Prefix(String::new())), ..Default::default() }),
        action: Some(Action::Route(RouteAction { cluster_specifier: Some(specifier(target)), ..Default::default() })),
        ..Default::default()
    };
    let routes = RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: name.to_owned(),
            // The listener is this target's alone, whatever authority a call has.
            domains: vec!["*".to_owned()],
            routes: vec![route],
            ..Default::default()
        }],
        ..Default::default()
    };
    let manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::RouteConfig(routes)),
        http_filters: vec![http::router()],
        ..Default::default()
    };
    Listener {
        name: name.to_owned(),
        api_listener: Some(ApiListener { api_listener: Some(any(&manager)) }),
        ..Default::default()
    }
}

fn specifier(target: &GrpcTarget) -> ClusterSpecifier {
    if let [only] = target.clusters.as_slice() {
        return ClusterSpecifier::Cluster(only.cluster.name.clone());
    }
    let clusters = target.clusters.iter().map(|it| ClusterWeight {
        name: it.cluster.name.clone(),
        weight: number(it.cluster.endpoints.iter().map(weight).fold(0, u32::saturating_add)),
        ..Default::default()
    });
    ClusterSpecifier::WeightedClusters(WeightedCluster { clusters: clusters.collect(), ..Default::default() })
}

fn cluster(plan: &GrpcCluster) -> EncodedResource {
    let mut endpoints = Vec::new();
    let mut cluster = Cluster {
        name: plan.cluster.name.clone(),
        connect_timeout: seconds(10),
        transport_socket: plan.tls.as_ref().map(context),
        ..Default::default()
    };
    let discovery = match plan.cluster.discovery {
        // A client that is no proxy intercepts nothing: it chooses among the endpoints itself.
        Discovery::Endpoints | Discovery::OriginalDestination => {
            cluster.eds_cluster_config =
                Some(EdsClusterConfig { eds_config: Some(sds::ads()), service_name: String::new() });
            DiscoveryType::Eds
        }
        Discovery::Dns => {
            endpoints = wire::field(LOAD_ASSIGNMENT, &[&assignment(plan)]);
            DiscoveryType::LogicalDns
        }
    };
    cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(discovery.into()));
    encoded::<Cluster>(&plan.cluster.name, &[&cluster.encode_to_vec(), &endpoints])
}

fn assignment(plan: &GrpcCluster) -> Vec<u8> {
    endpoint::assignment(&plan.cluster, Localities::Weighted)
}

fn weight(endpoint: &ClusterEndpoint) -> u32 {
    endpoint.weight.unwrap_or(1)
}

/// Mutual TLS with what the client's certificate provider has. gRPC refuses contexts with secrets over SDS, and those with anything that
/// it does not know, such as TLS versions; it speaks 1.2 and 1.3. Server names are not sent: certificates here have none.
fn context(sans: &PeerNames) -> TransportSocket {
    let instance = |certificate: &str| CertificateProviderPluginInstance {
        instance_name: PROVIDER.to_owned(),
        certificate_name: certificate.to_owned(),
    };
    #[expect(deprecated, reason = "gRFC A29 has this list, and clients do not read the typed one")]
    let validation = CertificateValidationContext {
        ca_certificate_provider_instance: Some(instance("ROOTCA")),
        match_subject_alt_names: sans.iter().map(matcher).collect(),
        ..Default::default()
    };
    let context = UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_certificate_provider_instance: Some(instance("default")),
            validation_context_type: Some(ValidationContextType::ValidationContext(validation)),
            ..Default::default()
        }),
        ..Default::default()
    };
    transport_socket(tls::TLS_SOCKET, &context)
}

fn matcher(san: &San) -> StringMatcher {
    let pattern = match san {
        San::Dns(name) | San::Uri(name) => MatchPattern::Exact(name.clone()),
        San::Ip(address) => MatchPattern::Exact(address.to_string()),
        San::UriPrefix(prefix) => MatchPattern::Prefix(prefix.clone()),
    };
    StringMatcher { match_pattern: Some(pattern), ..Default::default() }
}
