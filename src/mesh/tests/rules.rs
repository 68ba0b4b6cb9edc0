//! Which DestinationRule governs: what depends on age, visibility and the order of files.

use super::super::decide::{OutboundMode, outbound, subsets};
use super::text::{client_and_server, destination_rule};
use super::{mesh, service, workload};

const WEB: &str = "web.back.svc.cluster.local";

fn plaintext(rules: &[String]) -> bool {
    let (mesh, _) = mesh(&[rules.concat(), client_and_server()].concat());
    let web = service(&mesh, WEB);
    let decision = outbound(&mesh, workload(&mesh, "shop/client"), web, &web.ports[0], None);
    decision.mode == OutboundMode::Plaintext
}

fn rule(name: &str, host: &str, mode: &str) -> String {
    destination_rule(name, &format!("{{host: \"{host}\", trafficPolicy: {{tls: {{mode: {mode}}}}}}}"))
}

fn created(rule: &str, time: &str) -> String {
    rule.replacen("metadata: {", &format!("metadata: {{creationTimestamp: \"{time}\", "), 1)
}

#[test]
fn the_oldest_traffic_policy_of_a_host_counts_whole_and_subsets_are_united() {
    let subset = |name: &str, app: &str| format!("subsets: [{{name: {name}, labels: {{app: {app}}}}}]");
    let young = destination_rule(
        "shop/a",
        &format!("{{host: {WEB}, trafficPolicy: {{tls: {{mode: ISTIO_MUTUAL}}}}, {}}}", subset("one", "web")),
    );
    let old = destination_rule(
        "shop/b",
        &format!("{{host: {WEB}, trafficPolicy: {{tls: {{mode: DISABLE}}}}, {}}}", subset("two", "web")),
    );
    let rules = [created(&young, "2024-01-02T00:00:00Z"), created(&old, "2024-01-01T00:00:00Z")];
    assert!(plaintext(&rules));
    let (mesh, _) = mesh(&[rules.concat(), client_and_server()].concat());
    let names = subsets(&mesh, workload(&mesh, "shop/client"), service(&mesh, WEB));
    assert_eq!(names.keys().copied().collect::<Vec<_>>(), ["one", "two"]);
}

#[test]
fn a_rule_that_is_not_exported_is_not_seen_elsewhere() {
    let hidden = rule("back/web", WEB, "DISABLE").replace("host:", "exportTo: [\".\"], host:");
    assert!(!plaintext(&[hidden]));
    assert!(plaintext(&[rule("back/web", WEB, "DISABLE")]));
}

#[test]
fn order_of_namespaces_comes_before_exactness() {
    let wild = rule("shop/wild", "*.local", "DISABLE");
    let exact = rule("back/web", WEB, "ISTIO_MUTUAL");
    assert!(plaintext(&[wild, exact]));
    let root = rule("istio-system/wild", "*.local", "DISABLE");
    let exact = rule("back/web", WEB, "ISTIO_MUTUAL");
    assert!(!plaintext(&[root, exact]));
}
