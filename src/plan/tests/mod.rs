//! Plans of policies written as YAML: what two plans have in common, which a golden file of one cannot show.

mod linkerd;

use proptest::prelude::*;

use super::{
    Authorization, ClassPlan, Flavour, Node, Pattern, ProxyPlan, Settings, Test, class_of, class_plan, proxy_plan,
};
use crate::mesh::Mesh;
use crate::mesh::tests::random::policies;
use crate::mesh::tests::text::{client_and_server, destination_rule, object, workload_entry};
use crate::mesh::tests::{mesh, mesh_with};

/// A proxy that says nothing of itself.
const ENVOY: Flavour = Flavour::Envoy(Node::PLAIN);

fn plans(mesh: &Mesh) -> Vec<(ClassPlan, ProxyPlan)> {
    let settings = Settings::default();
    mesh.workloads()
        .map(|it| (class_plan(mesh, it, Node::default(), &settings), proxy_plan(mesh, it, Node::default())))
        .collect()
}

fn class(mesh: &Mesh, key: &str) -> super::ClassKey {
    class_of(mesh, mesh.workload(&key.parse().unwrap()).unwrap(), ENVOY)
}

#[test]
fn labels_make_a_class_only_where_a_rule_reads_them() {
    let twins = [workload_entry("shop/a", "10.0.0.3"), workload_entry("shop/b", "10.0.0.4")].concat();
    let (plain, _) = mesh(&[client_and_server(), twins.clone()].concat());
    assert_eq!(class(&plain, "shop/a"), class(&plain, "shop/b"));
    assert_ne!(class(&plain, "shop/a"), class(&plain, "back/web"));
    let rule = "{host: \"*\", workloadSelector: {matchLabels: {app: a}}, trafficPolicy: {tls: {mode: DISABLE}}}";
    let (selecting, _) = mesh(&[client_and_server(), twins, destination_rule("shop/some", rule)].concat());
    assert_ne!(class(&selecting, "shop/a"), class(&selecting, "shop/b"));
}

#[test]
fn a_workload_without_a_proxy_or_an_address_has_no_listener() {
    let without =
        workload_entry("back/web", "10.0.0.2").replace("labels: {", "labels: {security.istio.io/tlsMode: disabled, ");
    for entry in [without, workload_entry("back/web", "db.example")] {
        let text = client_and_server().replace(&workload_entry("back/web", "10.0.0.2"), &entry);
        let (mesh, _) = mesh(&text);
        let web = mesh.workload(&"back/web".parse().unwrap()).unwrap();
        assert_eq!(proxy_plan(&mesh, web, Node::default()).inbound, []);
    }
}

/// Whom the plan of back/web refuses and lets in, where the policy names `principals`.
fn principals(action: &str, principals: &str, settings: &crate::mesh::Settings) -> Vec<Test> {
    let spec = format!("{{action: {action}, rules: [{{from: [{{source: {{principals: [{principals}]}}}}]}}]}}");
    let policy = object("security.istio.io/v1", "AuthorizationPolicy", "back/a", &spec);
    let (mesh, _) = mesh_with(&(client_and_server() + &policy), settings);
    let web = mesh.workload(&"back/web".parse().unwrap()).unwrap();
    let Authorization { deny, allow } = proxy_plan(&mesh, web, Node::default()).authorization;
    let rules = deny.into_iter().chain(allow.into_iter().flatten());
    rules.flat_map(|rule| rule.peers).flatten().flat_map(|condition| condition.any_of).collect()
}

#[test]
fn cluster_local_is_another_mesh_where_its_identities_are_accepted() {
    let here = crate::mesh::Settings { trust_domain: "prod.example".into(), ..Default::default() };
    let beside = crate::mesh::Settings { federated: vec!["cluster.local".into()], ..here.clone() };
    let exact = |domain: &str| Test::Peer(Pattern::Exact(format!("spiffe://{domain}/ns/a/sa/b")));
    let [ours, theirs] = ["prod.example", "cluster.local"].map(exact);
    let written = "cluster.local/ns/a/sa/b";
    for action in ["ALLOW", "DENY"] {
        assert_eq!(principals(action, written, &here), std::slice::from_ref(&ours), "{action}");
    }
    assert_eq!(principals("ALLOW", written, &beside), std::slice::from_ref(&theirs));
    assert_eq!(principals("DENY", written, &beside), [ours, theirs]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Equal classes have equal plans, and neither the order of documents nor a second run changes anything.
    #[test]
    fn plans_depend_on_the_class_and_not_on_the_order(text in policies()) {
        let (forward, _) = mesh(&text);
        let mut documents: Vec<&str> = text.split_inclusive("---\n").collect();
        documents.reverse();
        // `---` ends up behind its document, which is as good.
        let (backward, _) = mesh(&documents.join("\n---\n"));
        let (plans_forward, plans_backward) = (plans(&forward), plans(&backward));
        prop_assert_eq!(&plans_forward, &plans_backward);
        for (a, plan_a) in forward.workloads().zip(&plans_forward) {
            for (b, plan_b) in forward.workloads().zip(&plans_forward) {
                if class_of(&forward, a, ENVOY) == class_of(&forward, b, ENVOY) {
                    prop_assert_eq!(&plan_a.0, &plan_b.0);
                }
            }
        }
    }
}
