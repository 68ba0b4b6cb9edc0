//! What a MeshConfig changes.

use std::net::SocketAddr;

use super::super::decide::{OutboundMode, outbound};
use super::super::{Mesh, Settings, Topic, Warning};
use super::text::{client_and_server, destination_rule, peer_authentication};
use super::{service, workload};
use crate::policy::{OutboundTrafficPolicy, TlsVersion, parse_mesh_config, parse_set};

const WEB: &str = "web.back.svc.cluster.local";

/// Six lines and the text's own.
fn map(namespace: &str, mesh: &str) -> String {
    let indented: String = mesh.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: {namespace}}}\ndata:\n  mesh: |\n{indented}"
    )
}

fn mesh(text: &str) -> (Mesh, Vec<Warning>) {
    mesh_with(text, &Settings::default())
}

fn mesh_with(text: &str, settings: &Settings) -> (Mesh, Vec<Warning>) {
    let (set, _) = parse_set([("f.yaml", text)]).unwrap_or_else(|errors| panic!("{}\n{text}", errors[0]));
    Mesh::build(&set, settings)
}

fn of_server(mesh: &str) -> Settings {
    let (mesh_config, _) = parse_mesh_config("c.yaml", &format!("meshConfig: {mesh}\n")).unwrap();
    Settings { mesh_config, ..Settings::default() }
}

#[test]
fn the_config_map_of_the_root_namespace_counts() {
    let text = "trustDomainAliases: [old.example, cluster.local]\nrootNamespace: policies\nproxyHttpPort: 3128\n\
                meshMTLS: {minProtocolVersion: TLSV1_3}\noutboundTrafficPolicy: {mode: REGISTRY_ONLY}";
    let strict = peer_authentication("policies/default", "{mtls: {mode: STRICT}}");
    let (mesh, warnings) = mesh(&[map("istio-system", text), strict, client_and_server()].concat());
    let settings = mesh.settings();
    assert_eq!(settings.trust_domain_aliases, ["old.example"], "the trust domain is no alias of itself");
    assert_eq!(settings.root_namespace, "policies");
    assert_eq!(settings.mesh_tls().minimum, Some(TlsVersion::V1_3));
    assert_eq!(settings.outbound_traffic_policy(), Some(OutboundTrafficPolicy::RegistryOnly));
    let default: SocketAddr = "127.0.0.9:15001".parse().unwrap();
    assert_eq!(settings.http_proxy(default), "127.0.0.9:3128".parse().unwrap());
    assert!(warnings.iter().all(|it| it.topic != Topic::Unprotected), "its policies are the mesh's: {warnings:?}");
    assert_eq!(service(&mesh, WEB).endpoints[0].identities.len(), 2);
}

#[test]
fn a_config_map_elsewhere_is_ignored_with_a_warning() {
    let (mesh, warnings) = mesh(&[map("shop", "enableAutoMtls: false"), client_and_server()].concat());
    assert!(mesh.settings().auto_mtls().is_ok());
    let ignored: Vec<_> = warnings.iter().filter(|it| it.topic == Topic::Ignored).map(ToString::to_string).collect();
    assert_eq!(
        ignored,
        ["f.yaml:2: the ConfigMap istio is in shop, and is ignored: that of the root namespace istio-system counts"]
    );
}

#[test]
fn the_servers_own_configuration_counts_and_the_other_is_told() {
    let settings = of_server("{enableAutoMtls: true, trustDomainAliases: [a.example]}");
    let text = map("istio-system", "enableAutoMtls: false\ntrustDomainAliases: [a.example]\nproxyHttpPort: 1");
    let (mesh, warnings) = mesh_with(&(text + &client_and_server()), &settings);
    assert!(mesh.settings().auto_mtls().is_ok());
    assert_eq!(mesh.settings().trust_domain_aliases, ["a.example"]);
    assert_eq!(mesh.settings().mesh_config.proxy_http_port.as_ref().map(|it| it.value), Some(1), "both are heard");
    let told: Vec<_> = warnings.iter().filter(|it| it.topic == Topic::Shadowed).map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "f.yaml:7: enableAutoMtls has no effect: the server's configuration says otherwise (c.yaml:1), and counts; make \
          them the same, or remove one"
        ]
    );
}

#[test]
fn another_trust_domain_is_told_and_the_servers_counts() {
    let (built, warnings) = mesh(&[map("istio-system", "trustDomain: prod.example"), client_and_server()].concat());
    assert_eq!(built.settings().trust_domain, "cluster.local");
    let told = warnings.iter().find(|it| it.topic == Topic::Disagreement).unwrap().to_string();
    assert!(told.starts_with("f.yaml:7: trustDomain is prod.example, and this server issues"), "{told}");
    let (_, warnings) = mesh(&[map("istio-system", "trustDomain: cluster.local"), client_and_server()].concat());
    assert!(warnings.iter().all(|it| it.topic != Topic::Disagreement));
}

#[test]
fn without_automatic_mutual_tls_only_a_rule_turns_it_on() {
    let off = map("istio-system", "enableAutoMtls: false");
    let strict = peer_authentication("back/default", "{mtls: {mode: STRICT}}");
    let decide = |text: &str| {
        let (mesh, _) = mesh(text);
        let web = service(&mesh, WEB);
        outbound(&mesh, workload(&mesh, "shop/client"), web, &web.ports[0], None)
    };
    let plain = decide(&[off.clone(), client_and_server()].concat());
    assert_eq!(plain.mode, OutboundMode::Plaintext);
    assert_eq!(plain.warnings, []);
    assert_eq!(plain.reasons[1].at.as_ref().map(ToString::to_string).as_deref(), Some("f.yaml:7"));
    let refused = decide(&[off.clone(), strict.clone(), client_and_server()].concat());
    assert_eq!(refused.warnings[0].topic, Topic::Contradiction);
    assert!(refused.warnings[0].message.contains("back/web port 8080 is STRICT (f.yaml:10)"), "{:?}", refused.warnings);
    let rule =
        destination_rule("shop/web", &format!("{{host: {WEB}, trafficPolicy: {{tls: {{mode: ISTIO_MUTUAL}}}}}}"));
    let asked = decide(&[off, strict, rule, client_and_server()].concat());
    assert!(matches!(asked.mode, OutboundMode::IstioMutual { .. }), "{asked:?}");
}

#[test]
fn identities_of_further_authorities_are_taken_inbound() {
    let pem = include_str!("../../analysis/tests/rsa_1024.pem");
    let start = pem.find("-----BEGIN CERTIFICATE-----").unwrap();
    let pem: String = pem[start..].lines().map(|line| format!("    {line}\n")).collect();
    let text = format!("caCertificates:\n- trustDomains: [partner.example]\n  pem: |\n{pem}");
    let (mesh, _) = mesh(&[map("istio-system", &text), client_and_server()].concat());
    assert_eq!(mesh.settings().accepted_trust_domains(), ["cluster.local", "partner.example"]);
    assert_eq!(mesh.settings().trust_domains().count(), 1, "servers are still expected to be ours");
}
