//! Whom Linkerd's kinds let in, and whom they must not.

use super::super::{AccessRule, Admission, Condition};
use super::*;

/// A Server for port 8080 of `back/web`, with one authorization whose client is this.
fn authorized(client: &str) -> String {
    let server = "{podSelector: {matchLabels: {app: web}}, port: 8080}";
    let linkerd = |version: &str, kind: &str, spec: &str| {
        format!(
            "---\n{{apiVersion: policy.linkerd.io/{version}, kind: {kind}, metadata: {{name: web, namespace: back}},\n spec: {spec}}}\n"
        )
    };
    [
        client_and_server(),
        linkerd("v1beta3", "Server", server),
        linkerd("v1beta1", "ServerAuthorization", &format!("{{server: {{name: web}}, client: {client}}}")),
    ]
    .concat()
}

/// Whom port 8080 of `back/web` lets in.
fn admission(text: &str) -> Admission {
    let (mesh, _) = mesh(text);
    let plan = proxy_plan(&mesh, mesh.workload(&"back/web".parse().unwrap()).unwrap(), Node::default());
    let inbound = plan.inbound.into_iter().find(|it| it.bind.port() == 8080).expect("the listener");
    inbound.admission.expect("somebody is kept out")
}

/// What a peer is asked for, all of it.
fn peers(text: &str) -> Vec<Vec<Condition>> {
    let rules: Vec<AccessRule> = admission(text).rules;
    assert_eq!(rules.len(), 1);
    rules.into_iter().flat_map(|rule| rule.peers).collect()
}

fn exact(id: &str) -> Test {
    Test::Peer(Pattern::Exact(id.to_owned()))
}

/// Whoever may let certificates be made, of another mesh, puts any DNS name into them.
#[test]
fn threat_02_a_dns_name_counts_beside_an_identity_of_ours_only() {
    for names in ["web.example.org", "\"*.example.org\"", "client.shop.serviceaccount.identity.linkerd.cluster.local"] {
        let alternatives = peers(&authorized(&format!("{{meshTLS: {{identities: [{names}]}}}}")));
        let by_name = |it: &&Vec<Condition>| {
            it.iter().any(|condition| condition.any_of.iter().any(|test| matches!(test, Test::PeerDns(_))))
        };
        let by_name: Vec<_> = alternatives.iter().filter(by_name).collect();
        assert_eq!(by_name.len(), 1, "{names}");
        let ours = Test::Peer(Pattern::Prefix("spiffe://cluster.local/".to_owned()));
        assert!(by_name[0].iter().any(|condition| condition.any_of == [ours.clone()]), "{names}: {by_name:?}");
    }
}

/// One namespace's wildcard ends where the namespace's name does, and nobody's is without an identity.
#[test]
fn threat_02_a_wildcard_means_one_namespace_and_no_other_that_begins_so() {
    let of_shop = "\"*.shop.serviceaccount.identity.linkerd.cluster.local\"";
    let alternatives = peers(&authorized(&format!("{{meshTLS: {{identities: [{of_shop}]}}}}")));
    let tests: Vec<&Test> = alternatives.iter().flatten().flat_map(|it| &it.any_of).collect();
    assert!(tests.contains(&&Test::Peer(Pattern::Prefix("spiffe://cluster.local/ns/shop/".to_owned()))));
    let suffix = ".shop.serviceaccount.identity.linkerd.cluster.local";
    assert!(tests.contains(&&Test::PeerDns(Pattern::Suffix(suffix.to_owned()))), "with its dot: {tests:?}");
    let everybody = peers(&authorized("{meshTLS: {identities: [\"*\"]}}"));
    let any = Condition { any_of: vec![Test::Peer(Pattern::Prefix("spiffe://".to_owned()))], none_of: Vec::new() };
    assert_eq!(everybody, [[any]]);
}

/// What a client writes into X-Forwarded-For is not where it comes from.
#[test]
fn threat_02_a_network_is_the_connections_and_not_a_headers() {
    let alternatives =
        peers(&authorized("{unauthenticated: true, networks: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}]}"));
    let all = alternatives.iter().flatten().flat_map(|it| it.any_of.iter().chain(&it.none_of));
    let all: Vec<&Test> = all.collect();
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|test| matches!(test, Test::Source(_))), "{all:?}");
}

/// A port that is left alone leaves no other one alone.
#[test]
fn threat_02_skipped_ports_open_no_others() {
    let skipping = authorized("{meshTLS: {identities: [\"*\"]}}").replacen(
        "name: web, namespace: back}",
        "name: web, namespace: back, annotations: {config.linkerd.io/skip-inbound-ports: \"81-90,9090\"}}",
        1,
    );
    assert_eq!(admission(&skipping), admission(&authorized("{meshTLS: {identities: [\"*\"]}}")));
}

fn registered(kind: &str, spec: &str) -> String {
    format!("---\n{{apiVersion: spire.spiffe.io/v1alpha1, kind: {kind}, metadata: {{name: it}}, spec: {spec}}}\n")
}

/// A service account means its workloads, whatever SPIRE's kinds call them.
#[test]
fn accounts_and_namespaces_follow_the_identity_that_spires_kinds_give() {
    let entry = registered(
        "ClusterStaticEntry",
        "{spiffeID: spiffe://cluster.local/pay/one, parentID: spiffe://cluster.local/agent, selectors: [\"k8s:ns:shop\"]}",
    );
    let template =
        registered("ClusterSPIFFEID", "{spiffeIDTemplate: \"spiffe://{{ .TrustDomain }}/pay/{{ .PodMeta.Name }}\"}");
    for (client, names_it) in [
        ("{meshTLS: {serviceAccounts: [{name: client, namespace: shop}]}}", true),
        ("{meshTLS: {serviceAccounts: [{name: client, namespace: other}]}}", false),
        ("{meshTLS: {identities: [client.shop.serviceaccount.identity.linkerd.cluster.local]}}", true),
        ("{meshTLS: {identities: [\"*.shop.serviceaccount.identity.linkerd.cluster.local\"]}}", true),
        ("{meshTLS: {identities: [\"*.other.serviceaccount.identity.linkerd.cluster.local\"]}}", false),
        ("{meshTLS: {identities: [\"*.linkerd.cluster.local\"]}}", true),
        ("{meshTLS: {identities: [spiffe://cluster.local/ns/shop/sa/client]}}", false),
    ] {
        for (kinds, id) in
            [(&entry, "spiffe://cluster.local/pay/one"), (&template, "spiffe://cluster.local/pay/client")]
        {
            let alternatives = peers(&[authorized(client), kinds.clone()].concat());
            let found = alternatives.iter().flatten().any(|it| it.any_of.contains(&exact(id)));
            assert_eq!(found, names_it, "{client} {id}: {alternatives:?}");
        }
    }
}

/// What the owner of a workload writes on it makes no name of another's account.
#[test]
fn threat_02_no_template_makes_the_linkerd_name_of_another_account() {
    let forging = registered(
        "ClusterSPIFFEID",
        "{spiffeIDTemplate: \"spiffe://{{ .TrustDomain }}/pay/{{ .PodMeta.Name }}\",\n dnsNameTemplates: [\"admin.back.serviceaccount.identity.linkerd.cluster.local\", \"{{ .PodMeta.Name }}.example.org\", \"client.shop.serviceaccount.identity.linkerd.cluster.local\"]}",
    );
    let (mesh, warnings) = mesh(&[client_and_server(), forging].concat());
    let names = |key: &str| mesh.workload(&key.parse().unwrap()).unwrap().dns_names.to_vec();
    assert_eq!(
        names("shop/client"),
        ["client.example.org", "client.shop.serviceaccount.identity.linkerd.cluster.local"]
    );
    assert_eq!(names("back/web"), ["web.example.org"]);
    let told = "gives back/web the DNS name admin.back.serviceaccount.identity.linkerd.cluster.local, by which Linkerd's policy knows";
    assert!(warnings.iter().any(|it| it.to_string().contains(told)), "{warnings:?}");
}
