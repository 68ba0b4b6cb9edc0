//! SPIRE's kinds: static entries, ClusterSPIFFEIDs and federated trust domains.

use super::*;

fn kind(kind: &str, spec: &str) -> String {
    format!("apiVersion: spire.spiffe.io/v1alpha1\nkind: {kind}\nmetadata:\n  name: it\nspec:\n{spec}\n")
}

const ENTRY: &str =
    "  spiffeID: spiffe://example.org/a\n  parentID: spiffe://example.org/agent\n  selectors: [\"k8s:ns:a\"]\n";

#[test]
fn every_field_of_a_static_entry_is_known() {
    let all = kind(
        "ClusterStaticEntry",
        &(ENTRY.to_owned()
            + "  dnsNames: [a.test, \"*.b.test\"]\n  x509SVIDTTL: 1h30m\n  federatesWith: [partner.test]\n  jwtSVIDTTL: 5m\n  hint: h\n  admin: true\n  \
               downstream: false\n  storeSVID: false\n  className: c\n"),
    );
    let (set, warnings) = good(&all);
    let entry = &set.static_entries[0].spec;
    assert_eq!(entry.spiffe_id.value, "spiffe://example.org/a");
    assert_eq!((entry.dns_names.join(" "), entry.ttl.map(|it| it.as_secs())), ("a.test *.b.test".into(), Some(5400)));
    assert_eq!(entry.selectors[0].value, Selector::Namespace("a".into()));
    assert_eq!(entry.federates_with[0].value, "partner.test");
    let warned: Vec<_> = warnings.iter().map(|it| it.split(' ').nth(1).unwrap()).collect();
    assert_eq!(warned, ["spec.jwtSVIDTTL", "spec.hint", "spec.admin", "spec.storeSVID", "spec.className"]);
    let (set, _) = good(&kind("ClusterStaticEntry", &(ENTRY.to_owned() + "  x509SVIDTTL: 0s\n")));
    assert_eq!(set.static_entries[0].spec.ttl, None);
}

#[test]
fn every_selector_is_read() {
    let of = |text: &str| {
        let (set, warnings) = good(&kind("ClusterStaticEntry", &ENTRY.replace("k8s:ns:a", text)));
        (set.static_entries[0].spec.selectors[0].value.clone(), warnings.len())
    };
    assert_eq!(of("k8s:sa:x"), (Selector::ServiceAccount("x".into()), 0));
    assert_eq!(of("k8s:pod-name:x"), (Selector::PodName("x".into()), 0));
    assert_eq!(of("k8s:pod-label:app.io/x:y:z"), (Selector::PodLabel("app.io/x".into(), "y:z".into()), 0));
    assert_eq!(of("unix:uid:1000"), (Selector::Uid(1000), 0));
    assert_eq!(of("unix:gid:7"), (Selector::Gid(7), 0));
    for other in ["unix:uid:-1", "unix:user:root", "docker:label:x", "k8s:container-image:x"] {
        assert_eq!(of(other), (Selector::Other(other.into()), 1));
    }
}

#[test]
fn every_field_of_a_cluster_spiffe_id_is_known() {
    let spec = "  spiffeIDTemplate: \"spiffe://{{ .TrustDomain }}/{{ .PodMeta.Name }}\"\n  podSelector: {matchLabels: {a: b}}\n  namespaceSelector: \
                {matchExpressions: [{key: k, operator: Exists}]}\n  dnsNameTemplates: [\"{{ .PodMeta.Name }}.test\"]\n  ttl: 1h\n  jwtTtl: 5m\n  \
                federatesWith: [partner.test]\n  className: c\n  fallback: true\n  hint: h\n  admin: true\n  downstream: true\n  autoPopulateDNSNames: true\n";
    let (set, warnings) = good(&kind("ClusterSPIFFEID", spec));
    let it = &set.cluster_spiffe_ids[0].spec;
    assert!(it.fallback && it.dns_names.len() == 1 && it.ttl.map(|it| it.as_secs()) == Some(3600));
    let mut warned: Vec<_> = warnings.iter().map(|it| it.split(' ').nth(1).unwrap()).collect();
    warned.sort_unstable();
    assert_eq!(
        warned,
        ["spec.admin", "spec.autoPopulateDNSNames", "spec.className", "spec.downstream", "spec.hint", "spec.jwtTtl"]
    );
}

#[test]
fn a_federated_trust_domain_is_known_and_its_endpoint_warned_of() {
    let spec = "  trustDomain: partner.test\n  bundleEndpointURL: https://partner.test/bundle\n  bundleEndpointProfile:\n    type: https_spiffe\n    \
                endpointSPIFFEID: spiffe://partner.test/server\n  trustDomainBundle: |\n    {}\n";
    let (set, warnings) = good(&kind("ClusterFederatedTrustDomain", spec));
    let it = &set.federated_trust_domains[0].spec;
    assert_eq!((it.trust_domain.value.as_str(), it.bundle.as_ref().map(|it| it.at.line)), ("partner.test", Some(12)));
    assert_eq!(
        warnings,
        ["f.yaml:7: bundles are not fetched: trustDomainBundle is taken in as it is here, until another stands here"]
    );
}

#[test]
fn a_mistake_in_spires_kinds_has_its_place_and_its_message() {
    let entry = |line: &str| kind("ClusterStaticEntry", &(ENTRY.to_owned() + line));
    let template = |text: &str| kind("ClusterSPIFFEID", text);
    let federated = |text: &str| {
        kind(
            "ClusterFederatedTrustDomain",
            &format!(
                "  trustDomain: a.test\n  bundleEndpointURL: https://a.test\n  bundleEndpointProfile: {{type: https_web}}\n{text}"
            ),
        )
    };
    let cases = [
        (entry("  ttl: 1h\n"), "f.yaml:9: spec: unknown field \"ttl\""),
        (
            entry("  x509SVIDTTL: 1d\n"),
            "f.yaml:9: spec.x509SVIDTTL: \"1d\" is not a duration (a number and h, m or s, as in \"1h30m\")",
        ),
        (
            entry("  x509SVIDTTL: 1s\n"),
            "f.yaml:9: spec.x509SVIDTTL: this leaves no time to renew (a certificate lives at least 10s)",
        ),
        (entry("  dnsNames: [\"a b\"]\n"), "f.yaml:9: spec.dnsNames: not a DNS name"),
        (entry("  federatesWith: [A]\n"), "f.yaml:9: spec: \"A\" is not a trust domain"),
        (
            entry("").replace("spiffe://example.org/a\n", "example.org/a\n"),
            "f.yaml:6: spec.spiffeID: \"example.org/a\" is not a SPIFFE ID: a SPIFFE ID starts with spiffe://",
        ),
        (
            entry("").replace("org/agent", "org/agent/"),
            "f.yaml:7: spec.parentID: \"spiffe://example.org/agent/\" is not a SPIFFE ID: the path has an empty segment",
        ),
        (entry("").replace("[\"k8s:ns:a\"]", "[]"), "f.yaml:8: spec.selectors: no selector is listed"),
        (
            entry("").replace("k8s:ns:a", "k8s"),
            "f.yaml:8: spec.selectors: \"k8s\" is not TYPE:VALUE, as in \"k8s:ns:default\"",
        ),
        (
            entry("").replace("  name: it", "  name: it\n  namespace: x"),
            "f.yaml:5: metadata.namespace: this kind is in no namespace (remove it)",
        ),
        (entry("").replace("v1alpha1", "v1"), "f.yaml:1: ClusterStaticEntry has no apiVersion \"spire.spiffe.io/v1\""),
        (template("  spiffeIDTemplate: \"\"\n"), "f.yaml:6: spec.spiffeIDTemplate: the template is empty"),
        (
            template("  spiffeIDTemplate: \"{{ .PodMeta.UID }}\"\n"),
            "f.yaml:6: spec.spiffeIDTemplate: `.PodMeta.UID` is not known here",
        ),
        (
            template("  spiffeIDTemplate: \"{{ .NodeMeta.Name }}\"\n"),
            "f.yaml:6: spec.spiffeIDTemplate: `.NodeMeta.Name`: nothing is known here of the node",
        ),
        (
            template("  spiffeIDTemplate: \"{{ .TrustDomain\"\n"),
            "f.yaml:6: spec.spiffeIDTemplate: an action that begins with `{{` does not end",
        ),
        (
            template("  spiffeIDTemplate: a\n  dnsNameTemplates: [\"{{ range }}\"]\n"),
            "f.yaml:7: spec.dnsNameTemplates: `range` is not known here",
        ),
        (
            template("  spiffeIDTemplate: a\n  workloadSelectorTemplates: [\"unix:uid:1\"]\n"),
            "f.yaml:7: spec.workloadSelectorTemplates: not served here",
        ),
        (
            template("  spiffeIDTemplate: a\n  podSelector: {matchExpressions: [{key: a, operator: Is}]}\n"),
            "f.yaml:7: spec.podSelector.matchExpressions[0].operator: unknown value \"Is\"",
        ),
        (
            template("  spiffeIDTemplate: a\n  podSelector: {matchExpressions: [{key: a, operator: In}]}\n"),
            "f.yaml:7: spec.podSelector.matchExpressions: the operator needs values",
        ),
        (template("  podSelector: {}\n"), "f.yaml:6: spec: the field \"spiffeIDTemplate\" is missing"),
        (
            federated("").replace("https://a.test", "http://a.test"),
            "f.yaml:7: spec.bundleEndpointURL: not the URL of a bundle endpoint (https://HOST/PATH, without a user)",
        ),
        (
            federated("").replace("https_web", "https_spiffe"),
            "f.yaml:8: spec.bundleEndpointProfile: https_spiffe needs an endpointSPIFFEID",
        ),
        (
            federated("").replace("https_web", "http"),
            "f.yaml:8: spec.bundleEndpointProfile.type: unknown value \"http\"",
        ),
        (federated("").replace("a.test\n  bundleE", "A\n  bundleE"), "f.yaml:6: spec: \"A\" is not a trust domain"),
    ];
    for (text, expected) in cases {
        let message = bad(&text);
        assert!(message.starts_with(expected), "{text}\n{message}");
    }
}
