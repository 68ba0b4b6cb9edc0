//! Rules about policies. Line numbers count three lines an object, the spec on the third.

use std::time::Duration;

use super::certificates::{good, named_secret};
use super::{Limits, NOW, Subject, analyze, assert_found, assert_silent, found, report, report_with};
use crate::mesh::tests::text::{
    client_and_server, destination_rule, object, peer_authentication, service, workload_entry,
};
use crate::mesh::{IstioCompatibility, Mesh, Settings};
use crate::policy::parse_set;

const WEB: &str = "web.back.svc.cluster.local";

fn with_mesh(documents: &[String]) -> String {
    [documents.concat(), client_and_server()].concat()
}

fn tls(name: &str, host: &str, tls: &str) -> String {
    destination_rule(name, &format!("{{host: \"{host}\", trafficPolicy: {{tls: {tls}}}}}"))
}

fn disabled_metrics(namespace: &str) -> String {
    peer_authentication(
        &format!("{namespace}/web"),
        "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {9090: {mode: DISABLE}}}",
    )
}

#[test]
fn cs0001_a_set_that_is_refused() {
    assert_found(&peer_authentication("back/web", "{mtls: {mode: STRIKT}}"), "CS0001", 3, "spec.mtls.mode: ");
}

#[test]
fn cs0002_what_has_no_effect() {
    let rule = destination_rule("shop/web", &format!("{{host: {WEB}, trafficPolicy: {{loadBalancer: {{}}}}}}"));
    assert_found(&with_mesh(&[rule]), "CS0002", 3, "loadBalancer");
}

#[test]
fn cs0003_what_decides_nothing() {
    let deployment = object("apps/v1", "Deployment", "back/web", "{replicas: 2}");
    assert_found(&with_mesh(&[deployment]), "CS0003", 2, "apps/v1 Deployment is not read");
    assert_silent(&with_mesh(&[]), "CS0003");
}

#[test]
fn cs0101_a_client_and_a_server_that_contradict_each_other() {
    let strict = peer_authentication("back/default", "{mtls: {mode: STRICT}}");
    let text = with_mesh(&[strict.clone(), tls("shop/web", WEB, "{mode: DISABLE}")]);
    // One for each of the two ports.
    let found_lines = found(&report(&text), "CS0101");
    assert_eq!(found_lines.len(), 2, "{found_lines:?}");
    assert!(found_lines[0].contains("(f.yaml:6) asks for DISABLE") && found_lines[0].contains("(f.yaml:3)"));
    assert_silent(&with_mesh(&[strict, tls("shop/web", WEB, "{mode: ISTIO_MUTUAL}")]), "CS0101");
}

#[test]
fn cs0102_a_client_that_follows_a_plaintext_port() {
    let text = with_mesh(&[disabled_metrics("back"), tls("istio-system/all", "*.local", "{mode: ISTIO_MUTUAL}")]);
    assert_found(&text, "CS0102", 6, "back/web port 9090 is DISABLE (f.yaml:3)");
    assert_silent(&text, "CS0101");
    let strict = Settings { istio_compatibility: IstioCompatibility::Strict, ..Settings::default() };
    let literal = report_with(&text, &strict);
    assert_eq!((found(&literal, "CS0102").len(), found(&literal, "CS0101").len()), (0, 1));
}

#[test]
fn cs0103_a_specific_rule_that_drops_a_wildcards_tls() {
    let specific = destination_rule("shop/web", &format!("{{host: {WEB}, trafficPolicy: {{}}}}"));
    let text = with_mesh(&[specific, tls("shop/all", "*.local", "{mode: ISTIO_MUTUAL}")]);
    let lines = found(&report(&text), "CS0103");
    assert_eq!(lines.len(), 2, "one for each port: {lines:?}");
    assert!(lines[0].starts_with("f.yaml:2: ") && lines[0].contains("ISTIO_MUTUAL at f.yaml:6"), "{lines:?}");
}

#[test]
fn cs0104_port_settings_that_drop_the_rules_tls() {
    let rule = format!(
        "{{host: {WEB}, trafficPolicy: {{tls: {{mode: ISTIO_MUTUAL}}, portLevelSettings: [{{port: {{number: 8080}}}}]}}}}"
    );
    assert_found(&with_mesh(&[destination_rule("shop/web", &rule)]), "CS0104", 3, "port 8080");
}

#[test]
fn cs0105_tls_without_a_mode() {
    assert_found(&with_mesh(&[tls("shop/web", WEB, "{sni: a.example}")]), "CS0105", 3, "plaintext");
}

#[test]
fn cs0106_another_trust_domain_than_the_servers() {
    let map = |domain: &str| {
        format!(
            "---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: istio, namespace: istio-system}},\n data: {{mesh: \"trustDomain: {domain}\"}}}}\n"
        )
    };
    assert_found(&with_mesh(&[map("prod.example")]), "CS0106", 3, "trustDomain is prod.example");
    assert_silent(&with_mesh(&[map("cluster.local")]), "CS0106");
}

#[test]
fn cs0201_policies_that_others_shadow() {
    let two = ["back/a", "back/b"].map(|name| peer_authentication(name, "{mtls: {mode: STRICT}}"));
    assert_found(&with_mesh(&two), "CS0201", 5, "has no effect");
    let rules = ["shop/a", "shop/b"].map(|name| tls(name, WEB, "{mode: ISTIO_MUTUAL}"));
    assert_found(&with_mesh(&rules), "CS0201", 5, "DestinationRule shop/a (f.yaml:2) is for the same host");
    let elsewhere = ["shop/a", "back/b"].map(|name| tls(name, WEB, "{mode: ISTIO_MUTUAL}"));
    assert_silent(&with_mesh(&elsewhere), "CS0201");
}

#[test]
fn cs0202_a_selector_in_the_root_namespace() {
    let policy = peer_authentication("istio-system/web", "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}}");
    assert_found(&with_mesh(&[policy]), "CS0202", 2, "is ignored");
}

#[test]
fn cs0203_selectors_that_select_nothing() {
    let nobody = "{selector: {matchLabels: {app: wbe}}, mtls: {mode: STRICT}}";
    assert_found(&with_mesh(&[peer_authentication("back/typo", nobody)]), "CS0203", 2, "PeerAuthentication back/typo");
    let rule = format!("{{host: {WEB}, workloadSelector: {{matchLabels: {{app: nobody}}}}}}");
    assert_found(&with_mesh(&[destination_rule("shop/typo", &rule)]), "CS0203", 2, "DestinationRule shop/typo");
    let sidecar = "{workloadSelector: {labels: {app: nobody}}}";
    let sidecar = object("networking.istio.io/v1", "Sidecar", "shop/typo", sidecar);
    assert_found(&with_mesh(&[sidecar]), "CS0203", 2, "Sidecar shop/typo");
    assert_found(&with_mesh(&[service("back/lost", "[{port: 80}]")]), "CS0203", 2, "lost.back.svc.cluster.local");
    assert_silent(&with_mesh(&[]), "CS0203");
}

#[test]
fn cs0204_ports_that_do_not_exist() {
    let policy = "{selector: {matchLabels: {app: web}}, portLevelMtls: {8080: {mode: STRICT}, 81: {mode: STRICT}}}";
    assert_found(&with_mesh(&[peer_authentication("back/web", policy)]), "CS0204", 3, "port 81");
    let settings = "portLevelSettings: [{port: {number: 8081}, tls: {mode: ISTIO_MUTUAL}}]";
    let rule = destination_rule("shop/web", &format!("{{host: {WEB}, trafficPolicy: {{{settings}}}}}"));
    assert_found(&with_mesh(&[rule]), "CS0204", 3, "port 8081");
    let named = [workload_entry("back/db", "10.0.0.9"), service("back/db", "[{port: 80, targetPort: web}]")].concat();
    assert_found(&with_mesh(&[named]), "CS0204", 6, "\"web\"");
}

#[test]
fn cs0205_a_subset_without_endpoints() {
    let subsets = "subsets: [{name: here, labels: {app: web}}, {name: gone, labels: {app: old}}]";
    let rule = destination_rule("shop/web", &format!("{{host: {WEB}, {subsets}}}"));
    assert_found(&with_mesh(&[rule]), "CS0205", 2, "\"gone\"");
}

#[test]
fn cs0206_a_host_that_nobody_has() {
    assert_found(&with_mesh(&[tls("shop/web", "web", "{mode: ISTIO_MUTUAL}")]), "CS0206", 3, "\"web\"");
    assert_silent(&with_mesh(&[tls("back/web", "web", "{mode: ISTIO_MUTUAL}")]), "CS0206");
    assert_silent(&with_mesh(&[tls("shop/web", "*.local", "{mode: ISTIO_MUTUAL}")]), "CS0206");
}

#[test]
fn cs0207_an_address_that_cannot_be_used() {
    let text = client_and_server().replace("address: 10.0.0.2", "address: web.example");
    assert_found(&text, "CS0207", 5, "web.example");
}

#[test]
fn cs0301_a_server_that_nobody_verifies() {
    let text = with_mesh(&[tls("shop/web", WEB, "{mode: SIMPLE, insecureSkipVerify: true}")]);
    assert_found(&text, "CS0301", 3, "insecureSkipVerify");
    // There is nothing to say about names and authorities that nobody looks at.
    assert_silent(&text, "CS0302");
    assert_silent(&text, "CS0303");
}

#[test]
fn cs0301_a_gateway_that_asks_no_client_for_its_name() {
    let gateway = |names: &str| {
        format!(
            "---\n{{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {{name: edge, namespace: shop}}, spec: {{selector: \
             {{app: edge}}, servers: [{{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: [a.test], tls: {{mode: MUTUAL, \
             credentialName: a{names}}}}}]}}}}\n"
        )
    };
    assert_found(&with_mesh(&[gateway("")]), "CS0301", 2, "whoever has any certificate of that authority");
    assert_silent(&with_mesh(&[gateway(", subjectAltNames: [client.test]")]), "CS0301");
}

#[test]
fn cs0302_no_authority_is_named() {
    assert_found(&with_mesh(&[tls("shop/web", WEB, "{mode: SIMPLE}")]), "CS0302", 3, "names no authority");
    assert_silent(&with_mesh(&[tls("shop/web", WEB, "{mode: SIMPLE, caCertificates: system}")]), "CS0302");
    assert_silent(&with_mesh(&[tls("shop/web", WEB, "{mode: ISTIO_MUTUAL}")]), "CS0302");
}

#[test]
fn cs0303_no_names_are_given() {
    assert_found(&with_mesh(&[tls("shop/web", WEB, "{mode: SIMPLE, sni: a.example}")]), "CS0303", 3, "a.example");
    assert_silent(&with_mesh(&[tls("shop/web", WEB, "{mode: SIMPLE, subjectAltNames: [a.example]}")]), "CS0303");
}

#[test]
fn cs0304_a_credential_of_another_namespace() {
    let rule = tls("shop/web", WEB, "{mode: MUTUAL, credentialName: outside}");
    let (chain, key) = good();
    let (pair, roots) = ([("tls.crt", chain.as_str()), ("tls.key", &key)], [("ca.crt", chain.as_str())]);
    let secret = |namespace: &str, entries: &[(&str, &str)]| named_secret(namespace, "outside", entries);
    let whole = [&pair[..], &roots].concat();
    assert_found(&with_mesh(std::slice::from_ref(&rule)), "CS0304", 3, "for clients in shop: there is none in shop");
    assert_found(&with_mesh(&[rule.clone(), secret("back", &whole)]), "CS0304", 3, "there is one in back (f.yaml:5)");
    assert_found(&with_mesh(&[rule.clone(), secret("shop", &pair)]), "CS0304", 3, "it has no ca.crt");
    assert_found(&with_mesh(&[rule.clone(), secret("shop", &roots)]), "CS0304", 3, "it has no tls.crt and tls.key");
    assert_found(
        &with_mesh(&[rule.clone(), secret("shop", &[])]),
        "CS0304",
        3,
        "it is not served: Secret outside has neither",
    );
    assert_silent(&with_mesh(&[rule, secret("shop", &whole)]), "CS0304");
}

#[test]
fn cs0401_plaintext_in_production() {
    let namespace = |labels: &str| {
        format!("---\n{{apiVersion: v1, kind: Namespace, metadata: {{name: back, labels: {{{labels}}}}}}}\n")
    };
    let labelled = with_mesh(&[disabled_metrics("back"), namespace("env: production")]);
    assert_found(&labelled, "CS0401", 3, "label env: production");
    assert_silent(&with_mesh(&[disabled_metrics("back"), namespace("env: test")]), "CS0401");
    let production = "prod-eu/web";
    let rule = tls(production, WEB, "{mode: DISABLE}");
    assert_found(&with_mesh(&[rule]), "CS0401", 3, "by its name, prod-eu");
    assert_silent(&with_mesh(&[tls("reproduction/web", WEB, "{mode: DISABLE}")]), "CS0401");
}

#[test]
fn cs0402_permissive_for_more_than_thirty_days() {
    let policy = |created: &str| {
        let policy = peer_authentication("back/default", "{mtls: {mode: PERMISSIVE}}");
        policy.replacen("metadata: {", &format!("metadata: {{creationTimestamp: \"{created}\", "), 1)
    };
    assert_found(&with_mesh(&[policy("2026-11-01T00:00:00Z")]), "CS0402", 3, "for 61 days");
    assert_silent(&with_mesh(&[policy("2026-12-15T00:00:00Z")]), "CS0402");
}

#[test]
fn cs0403_a_workload_without_any_policy() {
    assert_found(&client_and_server(), "CS0403", 5, "back/web and 1 more");
    let mesh_wide = peer_authentication("istio-system/default", "{mtls: {mode: STRICT}}");
    assert_silent(&with_mesh(&[mesh_wide]), "CS0403");
}

#[test]
fn cs0404_certificates_that_live_for_more_than_a_day() {
    let (set, parsed) = parse_set([("f.yaml", client_and_server())]).unwrap();
    let (mesh, built) = Mesh::build(&set, &Settings::default());
    let of = |hours: u64| {
        let limits = Limits { workload_ttl: Some(Duration::from_secs(hours * 3600)), ..Limits::default() };
        found(&analyze(Subject { set: &set, mesh: &mesh, parsed: &parsed, built: &built }, &limits, NOW), "CS0404")
    };
    assert_eq!(of(48), ["certificates.workloadTtl:1: workload certificates live for 48 hours [CS0404]"]);
    assert_eq!(of(24), Vec::<String>::new());
    assert_silent(&client_and_server(), "CS0404");
}

#[test]
fn a_rule_that_contradicts_a_thousand_servers_is_listed_a_hundred_times() {
    let mut text = tls("shop/all", "*.local", "{mode: DISABLE}") + &workload_entry("shop/client", "10.9.0.1");
    for index in 0..250 {
        let name = format!("back/s{index}");
        text += &workload_entry(&name, &format!("10.0.0.{index}"));
        text += &service(&name, "[{port: 80}]");
    }
    text += &peer_authentication("back/default", "{mtls: {mode: STRICT}}");
    let report = report(&text);
    assert_eq!(found(&report, "CS0101").len(), 100);
    assert_eq!(report.left_out["CS0101"], 150);
}
