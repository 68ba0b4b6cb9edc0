//! What gRPC's own client gets.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, UpstreamTlsContext,
};
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use proptest::prelude::*;
use prost::Message;

use super::EncodedResource;
use crate::envoy::grpc_resources;
use crate::mesh::Mesh;
use crate::mesh::tests::mesh;
use crate::mesh::tests::random::policies;
use crate::mesh::tests::text::{destination_rule, object, peer_authentication, service, workload_entry};
use crate::plan::grpc_plan;

fn of(mesh: &Mesh, client: &str) -> Vec<EncodedResource> {
    grpc_resources(&grpc_plan(mesh, mesh.workload(&client.parse().unwrap()).unwrap()))
}

fn all<M: Message + Default>(resources: &[EncodedResource], kind: &str) -> Vec<M> {
    let of_kind = resources.iter().filter(|it| it.type_url.ends_with(kind));
    of_kind.map(|it| M::decode(it.value.clone()).unwrap()).collect()
}

fn names(resources: &[EncodedResource], kind: &str) -> Vec<String> {
    resources.iter().filter(|it| it.type_url.ends_with(kind)).map(|it| it.name.clone()).collect()
}

/// The validation of a cluster's TLS; `None`: plaintext.
fn validation(cluster: &Cluster) -> Option<CertificateValidationContext> {
    let socket = cluster.transport_socket.as_ref()?;
    assert_eq!(socket.name, "envoy.transport_sockets.tls");
    let Some(ConfigType::TypedConfig(any)) = &socket.config_type else { panic!("{socket:?}") };
    let context = UpstreamTlsContext::decode(&*any.value).unwrap();
    let common = context.common_tls_context.unwrap();
    // What makes gRPC refuse a context.
    assert!(common.tls_params.is_none() && common.tls_certificate_sds_secret_configs.is_empty(), "{common:?}");
    assert_eq!(common.tls_certificate_provider_instance.unwrap().instance_name, "default");
    let Some(ValidationContextType::ValidationContext(validation)) = common.validation_context_type else {
        panic!("it verifies nobody")
    };
    Some(validation)
}

#[expect(deprecated, reason = "what gRPC reads")]
fn sans(cluster: &Cluster) -> Option<Vec<StringMatcher>> {
    validation(cluster).map(|it| it.match_subject_alt_names)
}

fn specifier(resources: &[EncodedResource], name: &str) -> ClusterSpecifier {
    let listeners = all::<Listener>(resources, ".Listener");
    let listener = listeners.into_iter().find(|it| it.name == name).unwrap_or_else(|| panic!("no {name}"));
    let any = listener.api_listener.unwrap().api_listener.unwrap();
    let manager = HttpConnectionManager::decode(&*any.value).unwrap();
    assert_eq!(manager.http_filters.len(), 1);
    let Some(RouteSpecifier::RouteConfig(routes)) = manager.route_specifier else { panic!("no routes") };
    match routes.virtual_hosts[0].routes[0].action.clone() {
        Some(Action::Route(route)) => route.cluster_specifier.unwrap(),
        other => panic!("{other:?}"),
    }
}

fn base() -> String {
    [workload_entry("shop/client", "10.0.0.1"), workload_entry("shop/web", "10.0.0.2")].concat()
}

#[test]
fn a_service_is_a_listener_for_each_of_its_names_and_a_cluster_with_weights() {
    let text = base() + &service("shop/web", "[{name: grpc, port: 50051}, {name: http, port: 80}, {name: x, port: 9}]");
    let resources = of(&mesh(&text).0, "shop/client");
    let of_port = |port: u16| {
        ["web.shop.svc.cluster.local", "web", "web.shop", "web.shop.svc"].map(|name| format!("{name}:{port}"))
    };
    // Not those that speak HTTP/1.1; a port of which nothing is said may be meant.
    assert_eq!(names(&resources, ".Listener"), [of_port(9), of_port(50051)].concat());
    let cluster = "outbound|50051||web.shop.svc.cluster.local";
    assert_eq!(specifier(&resources, "web:50051"), ClusterSpecifier::Cluster(cluster.to_owned()));
    let assignment = all::<ClusterLoadAssignment>(&resources, ".ClusterLoadAssignment").remove(1);
    let [locality] = assignment.endpoints.as_slice() else { panic!("{assignment:?}") };
    assert!(locality.locality.is_some() && locality.load_balancing_weight.unwrap().value == 1);
}

#[test]
fn endpoints_in_two_ways_are_two_clusters_that_share_the_calls() {
    let text = base()
        + &workload_entry("shop/plain", "10.0.0.3")
        + &object("v1", "Service", "shop/both", "{selector: {app: web}, ports: [{name: grpc, port: 50051}]}")
        + &peer_authentication("shop/plain", "{selector: {matchLabels: {app: plain}}, mtls: {mode: DISABLE}}");
    let text = text.replace("labels: {app: plain}", "labels: {app: plain, of: both}");
    let text = text
        .replace("labels: {app: web}", "labels: {app: web, of: both}")
        .replace("selector: {app: web}", "selector: {of: both}");
    let resources = of(&mesh(&text).0, "shop/client");
    let ClusterSpecifier::WeightedClusters(weighted) = specifier(&resources, "both:50051") else { panic!("one way") };
    let weights: Vec<_> = weighted.clusters.iter().map(|it| (it.name.as_str(), it.weight.unwrap().value)).collect();
    let name = "outbound|50051||both.shop.svc.cluster.local";
    assert_eq!(weights, [(name, 1), (&*format!("{name}|plaintext"), 1)]);
    let clusters = all::<Cluster>(&resources, ".Cluster");
    let is_mutual: Vec<_> = clusters.iter().map(|it| validation(it).is_some()).collect();
    assert_eq!(is_mutual, [true, false]);
}

/// Envoy can show other certificates, and verify by other roots; gRPC has those of its own disk only. What it cannot do is not done in
/// another way.
#[test]
fn what_grpc_cannot_do_is_left_out() {
    let text = base() + &service("shop/web", "[{name: grpc, port: 50051}]");
    let host = "web.shop.svc.cluster.local";
    for tls in [
        "{mode: SIMPLE}",
        "{mode: SIMPLE, caCertificates: /ca.pem}",
        "{mode: SIMPLE, insecureSkipVerify: true}",
        "{mode: MUTUAL, clientCertificate: /c.pem, privateKey: /k.pem, caCertificates: /ca.pem}",
        "{mode: MUTUAL, credentialName: partner}",
    ] {
        let rule = destination_rule("shop/web", &format!("{{host: {host}, trafficPolicy: {{tls: {tls}}}}}"));
        assert_eq!(of(&mesh(&(text.clone() + &rule)).0, "shop/client"), [], "{tls}");
    }
    let entry = |host: &str, resolution: &str| {
        let ports = "ports: [{number: 443, name: grpc, protocol: GRPC}]";
        let spec = format!("{{hosts: [{host}], {ports}, resolution: {resolution}}}");
        of(&mesh(&(base() + &object("networking.istio.io/v1", "ServiceEntry", "shop/out", &spec))).0, "shop/client")
    };
    let resolved = all::<Cluster>(&entry("out.test", "DNS"), ".Cluster");
    assert_eq!(resolved[0].cluster_discovery_type, Some(ClusterDiscoveryType::Type(DiscoveryType::LogicalDns.into())));
    assert_eq!(entry("\"*.out.test\"", "NONE"), [], "nobody can dial a wildcard");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn threat_05_every_grpc_context_names_its_peer_and_has_roots(text in policies()) {
        let mesh = mesh(&text).0;
        for workload in mesh.workloads() {
            let resources = of(&mesh, &workload.key.to_string());
            for cluster in all::<Cluster>(&resources, ".Cluster") {
                let Some(verified) = validation(&cluster) else { continue };
                prop_assert_eq!(verified.ca_certificate_provider_instance.unwrap().instance_name, "default");
                let sans = sans(&cluster).unwrap();
                prop_assert!(!sans.is_empty(), "no names\n{}", text);
                for name in sans {
                    match name.match_pattern {
                        Some(MatchPattern::Exact(name)) => prop_assert!(!name.is_empty()),
                        Some(MatchPattern::Prefix(name)) => prop_assert!(name.starts_with("spiffe://") && name.ends_with('/')),
                        other => prop_assert!(false, "a name matched by {:?}", other),
                    }
                }
            }
            let mut names: Vec<_> = resources.iter().map(|it| (it.type_url, &it.name)).collect();
            names.sort();
            let count = names.len();
            names.dedup();
            prop_assert_eq!(names.len(), count, "a resource stands twice");
        }
    }
}
