//! How a client reaches a service, and why.

use proptest::prelude::*;

use super::super::decide::{Choice, InboundMode, OutboundMode, inbound, outbound, termination};
use super::super::{ServerTlsMode, Settings, Topic};
use super::random::policies;
use super::text::{client_and_server, destination_rule, object, peer_authentication};
use super::{mesh, mesh_with, said, service, strict, workload};

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
    assert_eq!(said(&http.reasons)[1], "f.yaml:3 back/web port 8080 is STRICT and accepts mutual TLS");
    let tcp = outbound(&mesh, client, web, &web.ports[1], Some(&web.endpoints[0]));
    assert_eq!(tcp.mode, OutboundMode::Plaintext);
    assert_eq!(said(&tcp.reasons)[1], "f.yaml:3 back/web port 9090 is DISABLE and accepts only plaintext");
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

#[test]
fn a_client_follows_a_plaintext_port_or_fails_as_istios_would() {
    let text = [
        peer_authentication(
            "back/web",
            "{selector: {matchLabels: {app: web}}, portLevelMtls: {9090: {mode: DISABLE}}}",
        ),
        destination_rule("istio-system/all", "{host: \"*.local\", trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}"),
        client_and_server(),
    ]
    .concat();
    let decide = |settings: &Settings, whole: bool| {
        let (mesh, _) = mesh_with(&text, settings);
        let (client, web) = (workload(&mesh, "shop/client"), service(&mesh, WEB));
        outbound(&mesh, client, web, &web.ports[1], (!whole).then_some(&web.endpoints[0]))
    };
    let followed = decide(&Settings::default(), false);
    assert_eq!(followed.mode, OutboundMode::Plaintext);
    assert_eq!(followed.warnings[0].topic, Topic::Followed);
    assert!(followed.warnings[0].message.contains("back/web port 9090 is DISABLE (f.yaml:3)"), "{followed:?}");
    assert!(matches!(decide(&Settings::default(), true).mode, OutboundMode::PerEndpoint { choice: Choice::Asked, .. }));
    for whole in [false, true] {
        let failing = decide(&strict(), whole);
        assert!(matches!(failing.mode, OutboundMode::IstioMutual { .. }));
        assert_eq!(failing.warnings[0].topic, Topic::Contradiction);
    }
}

#[test]
fn a_rule_for_mutual_tls_holds_for_addresses_of_which_nothing_is_known() {
    let entry = "{hosts: [mixed.example], location: MESH_INTERNAL, resolution: STATIC, ports: [{number: 80, name: http}], \
                 endpoints: [{address: 10.9.0.1}]}";
    let text = [
        object("networking.istio.io/v1", "ServiceEntry", "shop/mixed", entry),
        destination_rule("shop/mixed", "{host: mixed.example, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}"),
        client_and_server(),
    ]
    .concat();
    let (mesh, _) = mesh(&text);
    let mixed = service(&mesh, "mixed.example");
    let decision = outbound(&mesh, workload(&mesh, "shop/client"), mixed, &mixed.ports[0], None);
    assert!(decision.mode.is_mtls_to(&mixed.endpoints[0], &mixed.ports[0]), "{decision:?}");
    assert_eq!(decision.warnings, []);
}

#[test]
fn a_strict_workload_behind_an_external_host_is_warned_of_with_both_places() {
    let entry = "{hosts: [out.example], location: MESH_EXTERNAL, resolution: STATIC, ports: [{number: 8080, name: http}], \
                 workloadSelector: {labels: {app: web}}}";
    let text = [
        object("networking.istio.io/v1", "ServiceEntry", "back/out", entry),
        peer_authentication("back/default", "{mtls: {mode: STRICT}}"),
        client_and_server(),
    ]
    .concat();
    let (mesh, _) = mesh(&text);
    let out = service(&mesh, "out.example");
    let decision = outbound(&mesh, workload(&mesh, "shop/client"), out, &out.ports[0], None);
    assert_eq!(decision.mode, OutboundMode::Plaintext);
    let warning = decision.warnings[0].to_string();
    assert!(warning.starts_with("f.yaml:2: out.example (f.yaml:2) is MESH_EXTERNAL"), "{warning}");
    assert!(warning.contains("back/web port 8080 is STRICT (f.yaml:6)"), "{warning}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// For every pair of a client and an endpoint: both sides fit together, or the decision says that they do not; and it says so of
    /// no pair that fits.
    #[test]
    fn both_sides_agree_or_a_warning_says_that_they_do_not(text in policies(), literal in any::<bool>()) {
        let settings = if literal { strict() } else { Settings::default() };
        let (mesh, _) = mesh_with(&text, &settings);
        for client in mesh.workloads() {
            for service in mesh.visible_to(&client.key.namespace) {
                for port in &service.ports {
                    for endpoint in &service.endpoints {
                        let (Some(server), Some(number)) = (&endpoint.workload, endpoint.port(port)) else { continue };
                        let decision = outbound(&mesh, client, service, port, Some(endpoint));
                        let mode = inbound(&mesh, server, number).mode;
                        let own = termination(server, number).map(|tls| tls.value.mode);
                        // TLS of the application's own, which only ports let through that carry bytes.
                        let carries_bytes = !mesh.protocol_served(server, number).unwrap_or(port.protocol).is_http();
                        let passes = !server.meshed || (mode != InboundMode::Strict && carries_bytes);
                        let works = match decision.mode {
                            OutboundMode::PerEndpoint { .. } => panic!("one endpoint, and no decision"),
                            OutboundMode::Plaintext => mode != InboundMode::Strict && own.is_none(),
                            OutboundMode::IstioMutual { .. } => mode != InboundMode::Disable,
                            OutboundMode::Simple { .. } => own.map_or(passes, |own| own != ServerTlsMode::Mutual),
                            OutboundMode::Mutual { .. } => own.is_some() || passes,
                        };
                        let said = decision.warnings.iter().any(|it| it.topic == Topic::Contradiction);
                        prop_assert_eq!(works, !said, "{} to {}\n{}", client.key, service.host, text);
                    }
                }
            }
        }
    }

    /// What a cluster does to an endpoint is what is decided about that endpoint.
    #[test]
    fn the_whole_and_each_endpoint_are_decided_alike(text in policies(), literal in any::<bool>()) {
        let settings = if literal { strict() } else { Settings::default() };
        let (mesh, _) = mesh_with(&text, &settings);
        for client in mesh.workloads() {
            for service in mesh.visible_to(&client.key.namespace) {
                for port in &service.ports {
                    let whole = outbound(&mesh, client, service, port, None).mode;
                    for endpoint in &service.endpoints {
                        let one = outbound(&mesh, client, service, port, Some(endpoint)).mode;
                        let mtls = matches!(one, OutboundMode::IstioMutual { .. });
                        prop_assert_eq!(whole.is_mtls_to(endpoint, port), mtls, "{} to {}\n{}", client.key, service.host, text);
                    }
                }
            }
        }
    }
}
