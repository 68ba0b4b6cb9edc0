//! What a port accepts, and why.

use super::super::decide::{InboundMode, inbound};
use super::text::{client_and_server, peer_authentication, workload_entry};
use super::{mesh, said, workload};

#[test]
fn the_narrowest_scope_that_speaks_wins_and_each_silence_is_named() {
    let text = [
        peer_authentication("istio-system/mesh", "{mtls: {mode: STRICT}}"),
        peer_authentication("back/default", "{mtls: {mode: UNSET}}"),
        peer_authentication(
            "back/web",
            "{selector: {matchLabels: {app: web}}, portLevelMtls: {8080: {mode: DISABLE}, 9090: {mode: UNSET}}}",
        ),
        client_and_server(),
    ]
    .concat();
    let (mesh, _) = mesh(&text);
    let web = workload(&mesh, "back/web");
    let at_8080 = inbound(&mesh, web, 8080);
    assert_eq!(at_8080.mode, InboundMode::Disable);
    assert_eq!(
        said(&at_8080.reasons),
        ["f.yaml:9 PeerAuthentication back/web sets DISABLE for port 8080 of the workloads it selects"]
    );
    let at_9090 = inbound(&mesh, web, 9090);
    assert_eq!(at_9090.mode, InboundMode::Strict);
    assert_eq!(
        said(&at_9090.reasons),
        [
            "f.yaml:8 PeerAuthentication back/web leaves port 9090 of the workloads it selects UNSET, so the next wider scope is asked",
            "f.yaml:8 PeerAuthentication back/web leaves the workloads it selects UNSET, so the next wider scope is asked",
            "f.yaml:5 PeerAuthentication back/default leaves namespace back UNSET, so the next wider scope is asked",
            "f.yaml:3 PeerAuthentication istio-system/mesh sets STRICT for the mesh",
        ]
    );
    // A port of which no policy speaks by number: the same way without the port's step.
    assert_eq!(inbound(&mesh, web, 1).reasons.len(), 3);
}

#[test]
fn without_any_policy_the_default_is_said_to_be_one() {
    let (mesh, warnings) = mesh(&client_and_server());
    let decision = inbound(&mesh, workload(&mesh, "back/web"), 8080);
    assert_eq!(decision.mode, InboundMode::Permissive);
    assert_eq!(said(&decision.reasons), ["no PeerAuthentication speaks: PERMISSIVE, Istio's default"]);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("back/web and 1 more"), "{warnings:?}");
}

#[test]
fn a_workload_without_a_proxy_is_plaintext_whatever_is_asked() {
    let unmeshed =
        workload_entry("back/raw", "10.0.0.9").replace("labels: {", "labels: {security.istio.io/tlsMode: disabled, ");
    let (mesh, _) = mesh(&[unmeshed, peer_authentication("back/default", "{mtls: {mode: STRICT}}")].concat());
    let decision = inbound(&mesh, workload(&mesh, "back/raw"), 80);
    assert_eq!(decision.mode, InboundMode::Disable);
    assert!(said(&decision.reasons)[0].starts_with("f.yaml:2 back/raw has no proxy"));
}

#[test]
fn policies_that_protect_nothing_are_warned_of() {
    let text = [
        peer_authentication("istio-system/some", "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}}"),
        peer_authentication("back/typo", "{selector: {matchLabels: {app: wbe}}, mtls: {mode: STRICT}}"),
        peer_authentication("istio-system/all", "{mtls: {mode: PERMISSIVE}}"),
        client_and_server(),
    ]
    .concat();
    let (mesh, warnings) = mesh(&text);
    assert_eq!(inbound(&mesh, workload(&mesh, "back/web"), 80).mode, InboundMode::Permissive);
    assert!(warnings.iter().any(|it| it.starts_with("f.yaml:2: ") && it.contains("is ignored")), "{warnings:?}");
    assert!(
        warnings.iter().any(|it| it.starts_with("f.yaml:5: ") && it.contains("selects no workload")),
        "{warnings:?}"
    );
}
