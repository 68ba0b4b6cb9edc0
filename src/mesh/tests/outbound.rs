//! How a client reaches a service, and why.

use proptest::prelude::*;

use super::super::decide::{InboundMode, OutboundMode, inbound, outbound};
use super::random::policies;
use super::text::{client_and_server, destination_rule, peer_authentication};
use super::{mesh, said, service, workload};

const WEB: &str = "web.back.svc.cluster.local";

#[test]
fn without_a_rule_each_endpoint_is_asked() {
    let strict = peer_authentication(
        "back/web",
        "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {9090: {mode: DISABLE}}}",
    );
    let (mesh, _) = mesh(&[strict, client_and_server()].concat());
    let (client, web) = (workload(&mesh, "shop/client"), service(&mesh, WEB));
    let whole = outbound(&mesh, client, web, &web.ports[0], None);
    assert!(matches!(whole.mode, OutboundMode::PerEndpoint { .. }));
    let http = outbound(&mesh, client, web, &web.ports[0], Some(&web.endpoints[0]));
    assert!(matches!(http.mode, OutboundMode::IstioMutual { .. }));
    assert_eq!(said(&http.reasons)[1], "f.yaml:3 automatic: back/web port 8080 is STRICT and accepts mutual TLS");
    let tcp = outbound(&mesh, client, web, &web.ports[1], Some(&web.endpoints[0]));
    assert_eq!(tcp.mode, OutboundMode::Plaintext);
    assert_eq!(said(&tcp.reasons)[1], "f.yaml:3 automatic: back/web port 9090 is DISABLE and accepts only plaintext");
}

#[test]
fn a_rule_that_contradicts_the_server_names_both_places_once() {
    let text = [
        peer_authentication("back/default", "{mtls: {mode: STRICT}}"),
        destination_rule("shop/web", &format!("{{host: {WEB}, trafficPolicy: {{tls: {{mode: DISABLE}}}}}}")),
        client_and_server(),
    ]
    .concat();
    let (mesh, _) = mesh(&text);
    let web = service(&mesh, WEB);
    let decision = outbound(&mesh, workload(&mesh, "shop/client"), web, &web.ports[0], None);
    assert_eq!(decision.mode, OutboundMode::Plaintext);
    assert_eq!(decision.warnings.len(), 1);
    let warning = decision.warnings[0].to_string();
    assert!(warning.starts_with("f.yaml:6: DestinationRule shop/web (f.yaml:6) asks for DISABLE"), "{warning}");
    assert!(warning.contains("back/web port 8080 is STRICT (f.yaml:3)"), "{warning}");
}

#[test]
fn a_rule_without_tls_is_named_where_nothing_else_speaks() {
    let rule = destination_rule("shop/web", &format!("{{host: {WEB}, trafficPolicy: {{}}}}"));
    let (mesh, _) = mesh(&[rule, client_and_server()].concat());
    let web = service(&mesh, WEB);
    let decision = outbound(&mesh, workload(&mesh, "shop/client"), web, &web.ports[0], None);
    let expected = format!("f.yaml:2 DestinationRule shop/web governs {WEB} and sets no tls for port 8080");
    assert_eq!(said(&decision.reasons)[0], expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// For every pair of a client and an endpoint: both sides fit together, or the decision says that they do not.
    #[test]
    fn both_sides_agree_or_a_warning_says_that_they_do_not(text in policies()) {
        let (mesh, _) = mesh(&text);
        for client in mesh.workloads() {
            for service in mesh.visible_to(&client.key.namespace) {
                for port in &service.ports {
                    for endpoint in &service.endpoints {
                        let (Some(server), Some(number)) = (&endpoint.workload, endpoint.port(port)) else { continue };
                        let decision = outbound(&mesh, client, service, port, Some(endpoint));
                        let works = match (decision.mode, inbound(&mesh, server, number).mode) {
                            (OutboundMode::PerEndpoint { .. }, _) => panic!("one endpoint, and no decision"),
                            (OutboundMode::Plaintext, mode) => mode != InboundMode::Strict,
                            (OutboundMode::IstioMutual { .. }, mode) => mode != InboundMode::Disable,
                            // TLS of the application's own, which only ports let through that do not take TLS for the mesh's.
                            (OutboundMode::Simple { .. } | OutboundMode::Mutual { .. }, mode) => {
                                mode == InboundMode::Disable
                                    || (mode == InboundMode::Permissive && !port.protocol.is_http())
                            }
                        };
                        prop_assert!(works || !decision.warnings.is_empty(), "{} to {}\n{text}", client.key, service.host);
                    }
                }
            }
        }
    }
}
