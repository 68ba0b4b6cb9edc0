//! Rules about what SPIRE's files say. Line numbers count three lines an object, the spec on the third.

use super::*;
use crate::mesh::ServerConf;
use crate::mesh::tests::text::client_and_server;

const SEED: &str = include_str!("../../../config/policies/seed/spire.yaml");

fn object(kind: &str, spec: &str) -> String {
    format!("---\n{{apiVersion: spire.spiffe.io/v1alpha1, kind: {kind}, metadata: {{name: it}},\n spec: {{{spec}}}}}\n")
}

fn templated(spec: &str) -> String {
    object("ClusterSPIFFEID", spec) + &client_and_server()
}

fn entry(spec: &str) -> String {
    object("ClusterStaticEntry", &format!("parentID: spiffe://cluster.local/agent, {spec}")) + &client_and_server()
}

#[test]
fn cs0801_an_authority_that_lives_too_short() {
    let short = SEED.replace("\"168h\"", "\"5h\"");
    assert_found(&short, "CS0801", 15, "set default_x509_svid_ttl to 50m or less, or ca_ttl to 6h or more");
    assert_silent(SEED, "CS0801");
}

#[test]
fn cs0802_a_template_that_makes_no_identity() {
    let of = |template: &str| {
        templated(&format!("spiffeIDTemplate: \"{template}\", podSelector: {{matchLabels: {{app: web}}}}"))
    };
    let lacks = of("spiffe://cluster.local/{{ .PodMeta.Labels.team }}");
    assert_found(&lacks, "CS0802", 3, "makes \"spiffe://cluster.local/\" of back/web");
    let dns = of("spiffe://cluster.local/a\", dnsNameTemplates: [\"{{ .PodMeta.Labels.team }}.\"], hint: \"h");
    assert_found(&dns, "CS0802", 3, "which is not a DNS name");
    assert_silent(&of("spiffe://cluster.local/{{ .PodMeta.Name }}"), "CS0802");
}

#[test]
fn cs0803_workloads_that_are_one_to_everybody_else() {
    assert_found(
        &templated("spiffeIDTemplate: \"spiffe://cluster.local/all\""),
        "CS0803",
        2,
        "are of different service accounts",
    );
    assert_silent(
        &templated("spiffeIDTemplate: \"spiffe://cluster.local/{{ .PodSpec.ServiceAccountName }}\""),
        "CS0803",
    );
    let taken = entry("spiffeID: spiffe://cluster.local/ns/shop/sa/client, selectors: [\"k8s:ns:back\"]");
    assert_found(&taken, "CS0803", 2, "spiffe://cluster.local/ns/shop/sa/client");
}

#[test]
fn cs0804_a_registration_that_fits_nobody() {
    let nobody = entry("spiffeID: spiffe://cluster.local/a, selectors: [\"k8s:ns:back\", \"k8s:sa:other\"]");
    assert_found(&nobody, "CS0804", 2, "fit no workload");
    let nobody = templated("spiffeIDTemplate: \"spiffe://cluster.local/a\", podSelector: {matchLabels: {app: none}}");
    assert_found(&nobody, "CS0804", 2, "selects no workload");
    assert_silent(&entry("spiffeID: spiffe://cluster.local/a, selectors: [\"unix:uid:1\"]"), "CS0804");
}

#[test]
fn cs0805_an_identity_outside_of_the_trust_domain() {
    let foreign = entry("spiffeID: spiffe://other.test/a, selectors: [\"k8s:ns:back\"]");
    assert_found(&foreign, "CS0805", 3, "is of another trust domain than cluster.local");
    let foreign = templated(
        "spiffeIDTemplate: \"spiffe://other.test/{{ .PodMeta.Name }}\", podSelector: {matchLabels: {app: web}}",
    );
    assert_found(&foreign, "CS0805", 3, "spiffe://other.test/web");
}

#[test]
fn cs0806_a_change_that_waits_for_the_next_start() {
    let (set, _) = parse_set([("f.yaml", SEED)]).unwrap();
    let started = set.spire_servers.iter().next().unwrap().spec.clone();
    let settings = |server_conf| Settings { trust_domain: "example.org".into(), server_conf, ..Settings::default() };
    let running = settings(ServerConf::Of(started.into()));
    let codes = |text: &str, settings: &Settings| found(&report_with(text, settings), "CS0806");
    assert_eq!(codes(SEED, &running), Vec::<String>::new());
    let moved = SEED.replace("\"8081\"", "8082").replace("\"168h\"", "\"100h\"");
    let found = codes(&moved, &running);
    assert!(found.len() == 2 && found[0].starts_with("f.yaml:10: bind_address or bind_port is another"), "{found:?}");
    assert!(found[1].starts_with("f.yaml:14: ca_ttl is another than at the server's start"), "{found:?}");
    assert_eq!(codes(SEED, &settings(ServerConf::None)).len(), 1);
    assert_eq!(codes(SEED, &Settings::default()), Vec::<String>::new(), "without a server nobody knows");
}
