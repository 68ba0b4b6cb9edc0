//! A model after a model: what is taken over is what making it anew would give, and nothing is made anew for nothing.

use std::collections::BTreeMap;
use std::fmt::Write;

use proptest::prelude::*;

use super::random::policies;
use super::text::{client_and_server, destination_rule, object, peer_authentication};
use super::*;
use crate::mesh::decide::{InboundMode, inbound, outbound};
use crate::mesh::{Moving, Step, Transit};
use crate::plan::{Flavour, Node, class_of, proxy_plan};
use crate::policy::{PolicySet, Warning as Parsed, parse_set_after};

/// A set of files that changes, as the source reads it: what stands in files that are the same is shared.
#[derive(Default)]
struct Files {
    texts: BTreeMap<String, String>,
    read: BTreeMap<String, String>,
    set: PolicySet,
    warnings: Vec<Parsed>,
}

impl Files {
    fn put(&mut self, document: &str) {
        let name: String = document.chars().filter(|it| !it.is_whitespace()).take_while(|it| *it != '}').collect();
        self.texts.insert(name, document.to_owned());
    }

    /// `false`: it is no good, and the set stays as it was.
    fn parse(&mut self) -> bool {
        let unread = |(name, text): (&String, &String)| (self.read.get(name) != Some(text)).then(|| text.clone());
        let documents: Vec<_> = self.texts.iter().map(|it| (it.0.clone(), unread(it))).collect();
        let Ok((set, warnings)) = parse_set_after(&self.set, &self.warnings, documents) else { return false };
        (self.set, self.warnings) = (set, warnings);
        self.read.clone_from(&self.texts);
        true
    }
}

fn documents(text: &str) -> Vec<String> {
    text.split("---\n").filter(|it| !it.is_empty()).map(str::to_owned).collect()
}

/// Everything that a model answers.
fn answers((mesh, warnings): &(Mesh, Vec<super::super::Warning>)) -> String {
    let mut said = format!("{:?}\n{:?}\n{:?}\n", mesh.settings(), mesh.transit(), mesh.modes());
    for warning in warnings {
        writeln!(said, "{warning}").unwrap();
    }
    for service in mesh.services() {
        writeln!(said, "{service:?}").unwrap();
    }
    for workload in mesh.workloads() {
        let hosts: Vec<_> = mesh.services_of(&workload.key).map(|service| &service.host).collect();
        let gateways: Vec<_> = mesh.gateways_of(&workload.key).map(|it| &it.meta.name).collect();
        let (labels, ports) = (mesh.client_labels(workload), mesh.served_ports(workload));
        writeln!(said, "{workload:?} {hosts:?} {gateways:?} {labels:?} {ports:?} {:?}", inbound(mesh, workload, 80))
            .unwrap();
        for service in mesh.reachable_from(workload) {
            for port in &service.ports {
                writeln!(said, "{:?}", outbound(mesh, workload, service, port, None)).unwrap();
            }
        }
    }
    said
}

/// Kinds that the random policies do not have, in two variants each.
fn others(variant: bool) -> Vec<String> {
    let pick = |one: &'static str, other: &'static str| if variant { one } else { other };
    let networking = |kind: &str, name: &str, spec: &str| object("networking.istio.io/v1", kind, name, spec);
    let slice = format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: a-1, namespace: one, labels: {{kubernetes.io/service-name: a}}}},\n \
         addressType: IPv4, ports: [{{name: http, port: {}}}], endpoints: [{{addresses: [10.0.0.1]}}]}}\n",
        pick("8080", "8081")
    );
    let mesh_config = format!(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: istio, namespace: istio-system}},\n data: {{mesh: \"rootNamespace: {}\"}}}}\n",
        pick("istio-system", "two")
    );
    let pod = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p, namespace: one, labels: {{app: {}}}}},\n \
         spec: {{containers: []}}, status: {{podIP: 10.0.0.20, phase: Running}}}}\n",
        pick("a", "b")
    );
    let rest = [
        networking("Sidecar", "one/default", pick("{egress: [{hosts: [\"./*\"]}]}", "{egress: [{hosts: [\"*/*\"]}]}")),
        networking("Sidecar", "two/a", "{workloadSelector: {labels: {app: a}}, egress: [{hosts: [\"two/*\"]}]}"),
        networking("WorkloadGroup", "one/g", "{template: {serviceAccount: g}}"),
        networking(
            "Gateway",
            "one/gw",
            pick(
                "{selector: {app: b}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [\"*\"]}]}",
                "{selector: {app: c}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [\"*\"]}]}",
            ),
        ),
        networking(
            "VirtualService",
            "one/vs",
            pick(
                "{hosts: [x.test], gateways: [gw], http: [{route: [{destination: {host: a, port: {number: 80}}}]}]}",
                "{hosts: [x.test], gateways: [gone], http: [{route: [{destination: {host: nobody}}]}]}",
            ),
        ),
        object(
            "security.istio.io/v1",
            "AuthorizationPolicy",
            "istio-system/all",
            pick(
                "{selector: {matchLabels: {app: a}}, rules: [{}]}",
                "{action: DENY, selector: {matchLabels: {app: nobody}}, rules: [{}]}",
            ),
        ),
    ];
    rest.iter().flat_map(|text| documents(text)).chain([slice, mesh_config, pod]).collect()
}

/// Whatever is served by the same in two models is planned alike in both.
fn alike(before: &Mesh, after: &Mesh) -> Result<(), TestCaseError> {
    for workload in after.workloads() {
        let (Some(was), Some(is)) = (before.basis(&workload.key), after.basis(&workload.key)) else { continue };
        let nodes = || Node::all().map(|node| (node, Flavour::Envoy(node)));
        for (node, _) in nodes().filter(|(node, _)| !node.is_gateway && was.serves_alike(&is)) {
            prop_assert_eq!(proxy_plan(before, was.workload(), node), proxy_plan(after, workload, node));
        }
        for (_, flavour) in nodes().filter(|_| was.calls_alike(&is)) {
            prop_assert_eq!(class_of(before, was.workload(), flavour), class_of(after, workload, flavour));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn each_model_is_that_of_making_it_anew(
        texts in prop::collection::vec(policies(), 2..4),
        steps in prop::collection::vec((any::<u32>(), any::<u32>(), any::<bool>(), any::<u8>()), 2..6),
    ) {
        let mut files = Files::default();
        let mut before: Option<(Mesh, Vec<super::super::Warning>)> = None;
        for (index, (changed, removed, variant, moving)) in steps.into_iter().enumerate() {
            let has = |mask: u32, index: usize| mask & (1 << (index % 32)) != 0;
            let new = documents(&texts[index % texts.len()]).into_iter().chain(others(variant)).enumerate();
            new.filter(|(at, _)| index == 0 || has(changed, *at)).for_each(|(_, document)| files.put(&document));
            let mut at = 0;
            files.texts.retain(|_, _| { at += 1; index == 0 || !has(removed & removed.rotate_left(7), at) });
            if !files.parse() {
                continue;
            }
            let settings = Settings::default();
            let keys = Mesh::build(&files.set, &settings).0;
            let moves = |at: usize| Moving { from: InboundMode::Disable, step: Step::ALL[at % 3] };
            let transit: Transit = keys.workloads().enumerate()
                .filter(|(at, _)| at % 4 == usize::from(moving % 5))
                .map(|(at, workload)| (workload.key.clone(), 80, moves(at)))
                .collect();
            let after = Mesh::build_after(before.as_ref().map(|it| &it.0), &files.set, &settings, transit.clone());
            let anew = Mesh::build_in_transit(&files.set, &settings, transit);
            prop_assert_eq!(answers(&after), answers(&anew));
            if let Some((before, _)) = &before {
                alike(before, &after.0)?;
            }
            before = Some(after);
        }
    }
}

fn changed(before: &Mesh, after: &Mesh) -> (Vec<String>, Vec<String>) {
    let workloads = after.workloads().filter(|it| !before.workload(&it.key).is_some_and(|was| Arc::ptr_eq(was, it)));
    let was = |service: &&Arc<Service>| before.services().any(|was| Arc::ptr_eq(was, service));
    let services = after.services().filter(|it| !was(it));
    (workloads.map(|it| it.key.to_string()).collect(), services.map(|it| it.host.clone()).collect())
}

#[test]
fn nothing_is_made_anew_that_has_not_changed() {
    let mut files = Files::default();
    let other = [
        super::text::workload_entry("back/other", "10.0.0.3"),
        super::text::service("back/other", "[{name: http, port: 80}]"),
    ];
    documents(&(client_and_server() + &other.concat())).iter().for_each(|it| files.put(it));
    assert!(files.parse());
    let settings = Settings::default();
    let first = Mesh::build(&files.set, &settings).0;
    let next = |files: &mut Files, before: &Mesh, document: &str| {
        documents(document).iter().for_each(|it| files.put(it));
        assert!(files.parse());
        Mesh::build_after(Some(before), &files.set, &settings, Transit::default()).0
    };
    let none = (Vec::new(), Vec::new());
    // A Secret, a rule for clients: no workload, no service, no mode.
    let secret = "---\n{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: back}, stringData: {a: b}}\n";
    let mesh = next(&mut files, &first, secret);
    assert_eq!(changed(&first, &mesh), none);
    assert!(Arc::ptr_eq(mesh.modes(), first.modes()));
    let with_rule = next(&mut files, &mesh, &destination_rule("back/web", "{host: web}"));
    assert_eq!(changed(&mesh, &with_rule), none);
    // A mode of one workload: that one, and the service that leads to it.
    let of_web = "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}}";
    let strict = next(&mut files, &with_rule, &peer_authentication("back/web", of_web));
    let web = (vec!["back/web".to_owned()], vec!["web.back.svc.cluster.local".to_owned()]);
    assert_eq!(changed(&with_rule, &strict), web);
    assert!(!Arc::ptr_eq(strict.modes(), with_rule.modes()));
    // A service that leads to no workload.
    let spec =
        "{hosts: [x.test], resolution: STATIC, endpoints: [{address: 10.9.9.9}], ports: [{number: 80, name: http}]}";
    let external = next(&mut files, &strict, &object("networking.istio.io/v1", "ServiceEntry", "back/x", spec));
    assert_eq!(changed(&strict, &external), (Vec::new(), vec!["x.test".to_owned()]));
    assert!(Arc::ptr_eq(external.modes(), strict.modes()));
}
