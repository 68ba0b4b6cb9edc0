//! Over policy sets at random.

use std::collections::BTreeMap;
use std::sync::Arc;

use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::DownstreamTlsContext;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use proptest::prelude::*;
use prost::Message;

use super::contexts::{references, validation};
use super::{Contexts, OfProxy, proxies, resources};
use crate::envoy::EncodedResource;
use crate::mesh::tests::mesh;
use crate::mesh::tests::random::policies;
use crate::xds::{Layer, Resource, ResourceType, View};

/// Whether a server shows its certificate of the mesh.
fn is_mesh(context: &DownstreamTlsContext) -> bool {
    let certificates = context.common_tls_context.iter().flat_map(|it| &it.tls_certificate_sds_secret_configs);
    certificates.into_iter().all(|it| it.name == "default")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every context that verifies has roots, and names that the peer must carry; and every context verifies, since the random
    /// policies have no `insecureSkipVerify`. On the server's side a client must show a certificate, unless the operator has given the
    /// server one and asks for none.
    #[test]
    fn threat_05_every_context_names_its_peer_and_has_roots(text in policies()) {
        for of_proxy in resources(&mesh(&text).0) {
            let contexts = Contexts::of(&of_proxy);
            let own = contexts.downstream.iter().filter(|it| !is_mesh(it));
            let asks_for_none = own.filter(|it| it.require_client_certificate.as_ref().is_some_and(|it| !it.value));
            let asks_for_none: Vec<_> = asks_for_none.filter_map(|it| it.common_tls_context.as_ref()).collect();
            for context in contexts.common().filter(|context| !asks_for_none.contains(context)) {
                let (verified, secret) = validation(context).expect("a context that verifies nobody");
                prop_assert!(secret.is_some(), "no roots\n{text}");
                prop_assert!(!verified.match_typed_subject_alt_names.is_empty(), "no names\n{text}");
                for name in &verified.match_typed_subject_alt_names {
                    match name.matcher.as_ref().and_then(|it| it.match_pattern.as_ref()) {
                        Some(MatchPattern::Exact(name)) => prop_assert!(!name.is_empty()),
                        // A prefix that does not end with a path's part would let `spiffe://mesh.evil` pass for `spiffe://mesh`.
                        Some(MatchPattern::Prefix(name)) => prop_assert!(name.starts_with("spiffe://") && name.ends_with('/')),
                        other => prop_assert!(false, "a name matched by {other:?}"),
                    }
                }
                let versions = context.tls_params.as_ref().unwrap();
                prop_assert_eq!(versions.tls_minimum_protocol_version(), TlsProtocol::TlSv12);
                prop_assert_eq!(versions.tls_maximum_protocol_version(), TlsProtocol::TlSv13);
            }
            for context in contexts.downstream.iter().filter(|it| is_mesh(it)) {
                prop_assert_eq!(context.require_client_certificate.as_ref().map(|it| it.value), Some(true));
            }
        }
    }

    /// Envoy keys its secret providers by the whole configuration: a second spelling of a name would be a second secret that
    /// never comes.
    #[test]
    fn trap_1_a_secret_is_asked_for_in_one_spelling_only(text in policies()) {
        let mut spellings: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for of_proxy in resources(&mesh(&text).0) {
            for reference in Contexts::of(&of_proxy).common().flat_map(references) {
                let bytes = reference.encode_to_vec();
                let first = spellings.entry(reference.name.clone()).or_insert_with(|| bytes.clone());
                prop_assert_eq!(first, &bytes, "{}", reference.name);
            }
        }
    }

    /// Bytes are versions: the same policy must give the same bytes in every process.
    #[test]
    fn the_same_policy_gives_the_same_bytes(text in policies()) {
        let first = resources(&mesh(&text).0);
        prop_assert_eq!(first, resources(&mesh(&text).0));
    }

    /// Envoy refuses a response in which a name stands twice. Only the listeners of a port may be both a proxy's own and its class's, and
    /// then its own count (`xds::View`): a service whose clients choose among its endpoints may have this proxy's workload as one.
    #[test]
    fn no_resource_stands_twice(text in policies()) {
        for OfProxy { own, class } in proxies(&mesh(&text).0) {
            let [own, class] = [own, class].map(|of_layer| {
                let mut names: Vec<_> = of_layer.into_iter().map(|it| (it.type_url, it.name)).collect();
                names.sort();
                names
            });
            for names in [&own, &class] {
                prop_assert_eq!(names.windows(2).find(|pair| pair[0] == pair[1]), None, "{}", text);
            }
            let both = own.iter().find(|it| class.contains(it) && !it.0.ends_with(".Listener"));
            prop_assert_eq!(both, None, "{}", text);
        }
    }
}

/// A workload that is an endpoint of a headless service has the service's listener at its own address, and there its own inbound one.
#[test]
fn a_proxy_s_own_listener_at_its_address_is_seen_instead_of_the_class_s() {
    let (mesh, _) = mesh(
        "---
{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: a, namespace: one},
 spec: {address: 10.0.0.7, serviceAccount: a, labels: {app: a}}}
---
{apiVersion: v1, kind: Service, metadata: {name: a, namespace: one},
 spec: {selector: {app: a}, clusterIP: None, ports: [{name: tcp, port: 80}]}}
---
{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: a, namespace: one},
 spec: {ingress: [{port: {number: 80, name: tcp}, captureMode: NONE}]}}
",
    );
    let twice = |it: &&OfProxy| {
        let is_it = |resource: &EncodedResource| resource.name == "10.0.0.7_80";
        it.own.iter().any(is_it) && it.class.iter().any(is_it)
    };
    let all = proxies(&mesh);
    let OfProxy { own, class } = all.iter().find(twice).expect("the listener is in both");
    let layer = |resources: &[EncodedResource]| {
        let all = resources.iter().map(|it| {
            let ty = ResourceType::from_url(it.type_url).unwrap();
            (ty, Arc::new(Resource::new(ty, &*it.name, &it.value)))
        });
        Arc::new(Layer::new(all, None))
    };
    let view = View::new(&[layer(own), layer(class)]);
    let own = own.iter().find(|it| it.name == "10.0.0.7_80").unwrap();
    let seen: Vec<_> = view.resources(ResourceType::Listener).filter(|it| &**it.name() == "10.0.0.7_80").collect();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].version(), Resource::new(ResourceType::Listener, "10.0.0.7_80", &own.value).version());
}
