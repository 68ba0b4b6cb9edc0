//! Rules about AuthorizationPolicies. Line numbers count three lines an object, the spec on the third.

use super::{assert_found, assert_silent};
use crate::mesh::tests::text::{client_and_server, object, peer_authentication};

fn policy(name: &str, spec: &str) -> String {
    object("security.istio.io/v1", "AuthorizationPolicy", name, spec)
}

/// `back/web` under these policies: port 8080 is HTTP, 9090 carries bytes.
fn with_mesh(mode: &str, spec: &str) -> String {
    let mode = peer_authentication("back/default", &format!("{{mtls: {{mode: {mode}}}}}"));
    [policy("back/web", spec), mode, client_and_server()].concat()
}

const CLIENT: &str = "from: [{source: {principals: [cluster.local/ns/shop/sa/client]}}]";

#[test]
fn cs0601_a_workload_without_a_proxy() {
    let text = with_mesh("STRICT", "{rules: [{}]}");
    let without = text.replace("labels: {app: web}", "labels: {app: web, security.istio.io/tlsMode: disabled}");
    assert_found(&without, "CS0601", 2, "AuthorizationPolicy back/web does not hold for back/web");
    assert_silent(&text, "CS0601");
}

#[test]
fn cs0602_identities_on_a_plaintext_port() {
    let on_8080 = format!("{CLIENT}, to: [{{operation: {{ports: ['8080']}}}}]");
    let text = with_mesh("DISABLE", &format!("{{rules: [{{{on_8080}}}]}}"));
    assert_found(&text, "CS0602", 3, "on back/web port 8080, which is DISABLE: the rule lets nobody pass there");
    let deny = with_mesh("DISABLE", &format!("{{action: DENY, rules: [{{{on_8080}}}]}}"));
    assert_found(&deny, "CS0602", 3, "the rule refuses nobody there");
    assert_silent(&with_mesh("STRICT", &format!("{{rules: [{{{CLIENT}}}]}}")), "CS0602");
    let by_address = "{rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]}";
    assert_silent(&with_mesh("DISABLE", by_address), "CS0602");
}

#[test]
fn cs0603_a_deny_rule_that_plaintext_evades() {
    let deny = format!("{{action: DENY, rules: [{{{CLIENT}, when: [{{key: destination.port, values: ['9090']}}]}}]}}");
    assert_found(&with_mesh("PERMISSIVE", &deny), "CS0603", 3, "on back/web port 9090, which is PERMISSIVE");
    assert_silent(&with_mesh("STRICT", &deny), "CS0603");
    assert_silent(&with_mesh("PERMISSIVE", &format!("{{rules: [{{{CLIENT}}}]}}")), "CS0603");
    let unknown = "{action: DENY, rules: [{from: [{source: {notPrincipals: ['*']}}]}]}";
    assert_silent(&with_mesh("PERMISSIVE", unknown), "CS0603");
}

#[test]
fn cs0604_requests_on_a_port_of_bytes() {
    let get = "to: [{operation: {methods: [GET]}}]";
    let tcp = with_mesh("STRICT", &format!("{{rules: [{{{get}}}]}}"));
    assert_silent(&tcp.replace("{name: tcp,", "{name: perhaps,"), "CS0604");
    assert_found(&tcp, "CS0604", 3, "back/web port 9090, which carries bytes: the rule matches nothing");
    assert_found(&tcp.replace("{rules:", "{action: DENY, rules:"), "CS0604", 3, "which refuses more");
    let elsewhere = tcp.replace("methods: [GET]", "methods: [GET], ports: ['8080']");
    assert_silent(&elsewhere, "CS0604");
}

#[test]
fn cs0605_a_principal_that_nobody_has() {
    let names = |principal: &str| {
        with_mesh("STRICT", &format!("{{rules: [{{from: [{{source: {{principals: [\"{principal}\"]}}}}]}}]}}"))
    };
    assert_found(&names("cluster.local/ns/shop/sa/cleint"), "CS0605", 3, "\"cluster.local/ns/shop/sa/cleint\"");
    assert_found(&names("other.example/ns/shop/sa/client"), "CS0605", 3, "no workload's identity");
    assert_silent(&names("cluster.local/ns/shop/sa/client"), "CS0605");
    assert_silent(&names("cluster.local/ns/shop/*"), "CS0605");
}
