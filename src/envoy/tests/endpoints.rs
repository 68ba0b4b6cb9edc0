//! Endpoints, by what Envoy does with those that change.

use envoy_types::pb::envoy::config::core::v3::Locality;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use prost::Message;

use super::resources;
use crate::mesh::tests::mesh;

const NAME: &str = "outbound|80||web.shop.svc.cluster.local";

/// The places of the service's endpoints, and whether one gets mutual TLS there, when its workloads `a` and `b` have these modes.
fn places(modes: [&str; 2], locality: &str) -> Vec<(Locality, bool)> {
    let mut text = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n\
                    spec: {selector: {app: web}, ports: [{name: http, port: 80}]}\n"
        .to_owned();
    for (number, (name, mode)) in ["a", "b"].into_iter().zip(modes).enumerate() {
        text += &format!(
            "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec: {{address: 10.0.0.{number}, labels: {{app: web, name: {name}}}{locality}}}\n\
             ---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec: {{selector: {{matchLabels: {{name: {name}}}}}, mtls: {{mode: {mode}}}}}\n"
        );
    }
    let of_proxy = resources(&mesh(&text).0).remove(0);
    let found = of_proxy.iter().find(|it| it.name == NAME && it.type_url.ends_with(".ClusterLoadAssignment"));
    let assignment = ClusterLoadAssignment::decode(found.expect("the assignment").value.clone()).unwrap();
    let of_place = |place: envoy_types::pb::envoy::config::endpoint::v3::LocalityLbEndpoints| {
        let locality = place.locality.unwrap_or_default();
        place.lb_endpoints.into_iter().map(move |it| (locality.clone(), it.metadata.is_some()))
    };
    assignment.endpoints.into_iter().flat_map(of_place).collect()
}

fn at(region: &str, zone: &str, sub_zone: &str) -> Locality {
    Locality { region: region.to_owned(), zone: zone.to_owned(), sub_zone: sub_zone.to_owned() }
}

/// Envoy 1.36 goes on using connections to an endpoint of which only the metadata has changed: plaintext where mutual TLS is asked for now.
#[test]
fn trap_an_endpoint_that_changes_its_mode_is_in_another_place() {
    assert_eq!(places(["STRICT", "STRICT"], ""), [(at("", "", ""), true), (at("", "", ""), true)]);
    assert_eq!(places(["STRICT", "DISABLE"], ""), [(at("", "", ""), true), (at("", "", "plaintext"), false)]);
    assert_eq!(
        places(["DISABLE", "DISABLE"], ""),
        [(at("", "", "plaintext"), false), (at("", "", "plaintext"), false)]
    );
    // Where an operator says where they are, they stay there.
    assert_eq!(
        places(["STRICT", "DISABLE"], ", locality: eu/a/b"),
        [(at("eu", "a", "b"), true), (at("eu", "a", "b/plaintext"), false)]
    );
}
