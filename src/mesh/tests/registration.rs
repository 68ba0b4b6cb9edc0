//! Who has which identity by SPIRE's kinds.

use super::text::{client_and_server, workload_entry};
use super::*;
use crate::mesh::Process;

fn spire(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: spire.spiffe.io/v1alpha1, kind: {kind}, metadata: {{name: {name}}},\n spec: {{{spec}}}}}\n"
    )
}

fn entry(name: &str, spec: &str) -> String {
    spire("ClusterStaticEntry", name, &format!("parentID: spiffe://cluster.local/agent, {spec}"))
}

fn template(name: &str, spec: &str) -> String {
    spire("ClusterSPIFFEID", name, spec)
}

fn built(documents: &[String]) -> (Mesh, Vec<String>) {
    let (set, _) =
        crate::policy::parse_set([("f.yaml", documents.concat())]).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let (mesh, warnings) = Mesh::build(&set, &Settings::default());
    let about = |warning: &&Warning| warning.topic != Topic::Unprotected;
    (mesh, warnings.iter().filter(about).map(ToString::to_string).collect())
}

fn identity(mesh: &Mesh, key: &str) -> String {
    mesh.workload(&key.parse().unwrap()).unwrap().spiffe_id.clone()
}

#[test]
fn each_selector_of_an_entry_has_to_fit() {
    let with = |selectors: &str| {
        let (mesh, _) = built(&[
            client_and_server(),
            entry("it", &format!("spiffeID: spiffe://cluster.local/new, selectors: [{selectors}]")),
        ]);
        identity(&mesh, "back/web") == "spiffe://cluster.local/new"
    };
    assert!(with("\"k8s:ns:back\""));
    assert!(with("\"k8s:sa:web\", \"k8s:ns:back\""));
    assert!(with("\"k8s:pod-name:web\""));
    assert!(with("\"k8s:pod-label:app:web\""));
    assert!(!with("\"k8s:pod-label:app:other\""));
    assert!(!with("\"k8s:ns:back\", \"k8s:sa:other\""));
    assert!(!with("\"k8s:ns:back\", \"unix:uid:1\""), "one that cannot be looked at fits nobody");
    assert!(!with("\"k8s:ns:back\", \"docker:label:x\""));
}

#[test]
fn a_registered_identity_is_the_only_one_and_peers_expect_it() {
    let entry = entry(
        "it",
        "spiffeID: spiffe://cluster.local/pay/one, selectors: [\"k8s:sa:web\"], dnsNames: [web.example.org], x509SVIDTTL: 30m",
    );
    let (mesh, warnings) = built(&[client_and_server(), entry]);
    assert_eq!(warnings, Vec::<String>::new());
    let web = mesh.workload(&"back/web".parse().unwrap()).unwrap();
    assert_eq!(web.spiffe_id, "spiffe://cluster.local/pay/one");
    assert_eq!((web.dns_names.join(","), web.leaf_ttl.map(|it| it.as_secs())), ("web.example.org".into(), Some(1800)));
    let client = mesh.workload(&"shop/client".parse().unwrap()).unwrap();
    let service = mesh.services().find(|service| service.name == "web").unwrap();
    let expected: Vec<_> = service.endpoints.iter().flat_map(|it| it.identities.iter().cloned()).collect();
    assert_eq!(expected, ["spiffe://cluster.local/pay/one"]);
    assert_eq!(client.spiffe_id, "spiffe://cluster.local/ns/shop/sa/client", "others keep theirs");
}

#[test]
fn aliases_of_the_trust_domain_have_the_same_path() {
    let entry = entry("it", "spiffeID: spiffe://cluster.local/pay, selectors: [\"k8s:sa:web\"]");
    let (set, _) = crate::policy::parse_set([("f.yaml", client_and_server() + &entry)]).unwrap();
    let settings = Settings { trust_domain_aliases: vec!["old.test".into()], ..Settings::default() };
    let (mesh, _) = Mesh::build(&set, &settings);
    let service = mesh.services().find(|service| service.name == "web").unwrap();
    assert_eq!(*service.endpoints[0].identities, ["spiffe://cluster.local/pay", "spiffe://old.test/pay"]);
}

#[test]
fn a_template_is_rendered_for_each_workload_that_it_selects() {
    let namespace =
        "---\n{apiVersion: v1, kind: Namespace,\n metadata: {name: back, labels: {tier: gold}}}\n".to_owned();
    let of = |selector: &str| {
        let spec = format!(
            "spiffeIDTemplate: \"spiffe://{{{{ .TrustDomain }}}}/x/{{{{ .PodMeta.Name }}}}\", dnsNameTemplates: [\"{{{{ .PodMeta.Name }}}}.{{{{ .ClusterDomain }}}}\"], {selector}"
        );
        let (mesh, _) = built(&[client_and_server(), namespace.clone(), template("it", &spec)]);
        ["back/web", "shop/client"].map(|key| identity(&mesh, key).starts_with("spiffe://cluster.local/x/"))
    };
    assert_eq!(of("fallback: false"), [true, true]);
    assert_eq!(of("podSelector: {matchLabels: {app: web}}"), [true, false]);
    assert_eq!(of("namespaceSelector: {matchLabels: {tier: gold}}"), [true, false]);
    assert_eq!(of("namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}"), [false, true]);
    assert_eq!(of("podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}"), [false, true]);
    assert_eq!(of("podSelector: {matchExpressions: [{key: app, operator: In, values: [web, x]}]}"), [true, false]);
    assert_eq!(of("podSelector: {matchExpressions: [{key: app, operator: Exists}]}"), [true, true]);
    assert_eq!(of("podSelector: {matchExpressions: [{key: none, operator: DoesNotExist}]}"), [true, true]);
}

#[test]
fn an_entry_goes_before_a_template_and_a_fallback_behind_all() {
    let fallback =
        template("a", "spiffeIDTemplate: \"spiffe://cluster.local/fallback/{{ .PodMeta.Name }}\", fallback: true");
    let web = template("b", "spiffeIDTemplate: \"spiffe://cluster.local/web\", podSelector: {matchLabels: {app: web}}");
    let (mesh, warnings) = built(&[client_and_server(), fallback.clone(), web.clone()]);
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(identity(&mesh, "back/web"), "spiffe://cluster.local/web");
    assert_eq!(identity(&mesh, "shop/client"), "spiffe://cluster.local/fallback/client");
    let first = entry("z", "spiffeID: spiffe://cluster.local/entry, selectors: [\"k8s:sa:web\"]");
    let (mesh, warnings) = built(&[client_and_server(), web, first]);
    assert_eq!(identity(&mesh, "back/web"), "spiffe://cluster.local/entry");
    assert!(warnings[0].contains("ClusterSPIFFEID b would give back/web a second identity"), "{warnings:?}");
}

#[test]
fn a_pod_and_its_annotations_are_known_too() {
    let pod = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: back, annotations: {team: blue}}\nspec: {serviceAccountName: s}\nstatus: {podIP: 10.0.0.9}\n";
    let spec = "spiffeIDTemplate: \"spiffe://cluster.local/{{ index .PodMeta.Annotations \\\"team\\\" }}/{{ .PodSpec.ServiceAccountName }}\"";
    let (mesh, _) = built(&[pod.to_owned(), template("it", spec)]);
    assert_eq!(identity(&mesh, "back/p"), "spiffe://cluster.local/blue/s");
}

#[test]
fn a_process_of_this_machine_is_a_workload_of_its_own() {
    let both = entry(
        "web",
        "spiffeID: spiffe://cluster.local/web, selectors: [\"unix:uid:1000\", \"unix:gid:7\"], dnsNames: [a.test]",
    );
    let (mesh, warnings) = built(&[both]);
    assert_eq!(warnings, Vec::<String>::new());
    let id = "spiffe://cluster.local/web".to_owned();
    assert_eq!(mesh.processes(), [Process { uid: Some(1000), gid: Some(7), spiffe_id: id.clone() }]);
    let web = mesh.workload(&"spire/web".parse().unwrap()).unwrap();
    assert_eq!((&web.spiffe_id, web.address, web.meshed), (&id, None, false));
    // With the identity of a workload it speaks for that one.
    let same = entry("it", "spiffeID: spiffe://cluster.local/ns/back/sa/web, selectors: [\"unix:uid:5\"]");
    let (mesh, _) = built(&[workload_entry("back/web", "10.0.0.2"), same]);
    assert_eq!((mesh.workloads().count(), mesh.processes().len()), (1, 1));
    // Two users at once are nobody.
    let two = entry("it", "spiffeID: spiffe://cluster.local/a, selectors: [\"unix:uid:5\", \"unix:uid:6\"]");
    assert!(built(&[two]).0.processes().is_empty());
}

/// What gives nobody an identity changes nobody's.
#[test]
fn threat_02_an_entry_of_another_trust_domain_gives_nothing() {
    let foreign = entry("it", "spiffeID: spiffe://other.test/a, selectors: [\"k8s:ns:back\"]");
    let process = entry("p", "spiffeID: spiffe://other.test/b, selectors: [\"unix:uid:0\"]");
    let alias = spire(
        "ClusterStaticEntry",
        "n",
        "parentID: spiffe://cluster.local/spire/server, spiffeID: spiffe://cluster.local/node, selectors: [\"k8s:ns:back\"]",
    );
    let (mesh, warnings) = built(&[client_and_server(), foreign, process, alias]);
    assert_eq!(identity(&mesh, "back/web"), "spiffe://cluster.local/ns/back/sa/web");
    assert!(mesh.processes().is_empty());
    assert_eq!(warnings.len(), 2, "{warnings:?}");
}

#[test]
fn federated_trust_domains_are_accepted() {
    let spec = "trustDomain: partner.test, bundleEndpointURL: \"https://partner.test/bundle\", bundleEndpointProfile: {type: https_web}";
    let (mesh, _) = built(&[spire("ClusterFederatedTrustDomain", "partner", spec)]);
    assert_eq!(mesh.settings().federated, ["partner.test"]);
}
