//! The way from the operator's text to Envoy's resources: 1,000 services, 2,000 workloads, 200 policies.
//!
//! `cargo bench --bench policy`

use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;

use countersign::analysis::{Filter, Limits, Subject, analyze, ways};
use countersign::envoy::{EncodedResource, class_resources, proxy_resources};
use countersign::mesh::{Mesh, Settings, Transit, Workload};
use countersign::plan::{self, class_plan, proxy_plan};
use countersign::policy::{MtlsMode, PolicySet, parse_set};
use criterion::{Criterion, criterion_group, criterion_main};

const NAMESPACES: usize = 20;

/// One file a namespace, as an operator would have them.
fn files(services: usize) -> Vec<(String, String)> {
    let in_each = services / NAMESPACES;
    let mut files = vec![(
        "mesh.yaml".to_owned(),
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: istio-system}\nspec: {mtls: {mode: STRICT}}\n"
            .to_owned(),
    )];
    for namespace in 0..NAMESPACES {
        let mut text = String::new();
        for service in 0..in_each {
            let name = format!("s{service}");
            write!(
                text,
                "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: n{namespace}\nspec:\n  selector:\n    app: {name}\n  ports:\n  - name: http\n    port: 80\n    targetPort: 8080\n"
            )
            .unwrap();
            for replica in 0..2 {
                write!(
                    text,
                    "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata:\n  name: {name}-{replica}\n  namespace: n{namespace}\nspec:\n  address: 10.{namespace}.{service}.{replica}\n  serviceAccount: {name}\n  labels:\n    app: {name}\n    version: v{replica}\n"
                )
                .unwrap();
            }
            // Of ten services one has a mode of its own, and one in thirteen a rule: with the namespaces' and the mesh's, 200 policies.
            if service % 10 == 0 {
                write!(
                    text,
                    "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n  name: {name}\n  namespace: n{namespace}\nspec:\n  selector:\n    matchLabels:\n      app: {name}\n  mtls:\n    mode: STRICT\n  portLevelMtls:\n    9090:\n      mode: DISABLE\n"
                )
                .unwrap();
            }
            if service % 13 == 0 {
                write!(
                    text,
                    "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: {name}\n  namespace: n{namespace}\nspec:\n  host: {name}\n  trafficPolicy:\n    tls:\n      mode: ISTIO_MUTUAL\n  subsets:\n  - name: v1\n    labels:\n      version: v1\n"
                )
                .unwrap();
            }
        }
        write!(
            text,
            "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n  name: default\n  namespace: n{namespace}\nspec:\n  mtls:\n    mode: STRICT\n"
        )
        .unwrap();
        files.push((format!("n{namespace}.yaml"), text));
    }
    files
}

fn parsed(files: &[(String, String)]) -> PolicySet {
    parse_set(files.iter().map(|(name, text)| (name, text))).unwrap_or_else(|errors| panic!("{}", errors[0])).0
}

fn built(set: &PolicySet) -> Mesh {
    Mesh::build(set, &Settings::default()).0
}

fn client(mesh: &Mesh) -> &Workload {
    mesh.workloads().next().unwrap()
}

fn of_class(mesh: &Mesh, workload: &Workload) -> Vec<EncodedResource> {
    class_resources(&class_plan(mesh, workload, plan::Node::default(), &plan::Settings::default()))
}

fn whole_mesh(c: &mut Criterion) {
    let files = files(1000);
    let set = parsed(&files);
    assert_eq!((set.services.len(), set.workload_entries.len()), (1000, 2000));
    c.bench_function("parse 1000 services, 2000 workloads, 200 policies", |b| b.iter(|| parsed(black_box(&files))));
    c.bench_function("model of it", |b| b.iter(|| built(black_box(&set))));
    c.bench_function("model of it from YAML", |b| b.iter(|| built(&parsed(black_box(&files)))));
    let mesh = built(&set);
    let subject = Subject { set: &set, mesh: &mesh, parsed: &[], built: &[] };
    let now = time::OffsetDateTime::UNIX_EPOCH;
    c.bench_function("analysis of all its pairs", |b| b.iter(|| analyze(subject, &Limits::default(), black_box(now))));
    c.bench_function("tls-check of all its pairs", |b| b.iter(|| ways(black_box(&mesh), &Filter::default())));
    c.bench_function("one class of it: 1000 services, encoded", |b| {
        b.iter(|| of_class(&mesh, black_box(client(&mesh))))
    });
}

/// One PeerAuthentication turns to PERMISSIVE: the next model, and what the workloads it governs get; made anew, and after the model before.
fn one_change(c: &mut Criterion) {
    let mut set = parsed(&files(1000));
    for (name, after) in [
        ("one PeerAuthentication changed: a new model and its workloads' listeners", false),
        ("one PeerAuthentication changed: the next model and its workloads' listeners", true),
    ] {
        let mut before = built(&set);
        c.bench_function(name, |b| {
            b.iter(|| {
                let mut policies = set.peer_authentications.to_vec();
                let policy = policies.iter_mut().find(|it| it.spec.selector.is_some()).map(Arc::make_mut).unwrap();
                let mode = policy.spec.mode.as_mut().unwrap();
                mode.value = if mode.value == MtlsMode::Strict { MtlsMode::Permissive } else { MtlsMode::Strict };
                let (namespace, selector) = (policy.meta.namespace.clone(), policy.spec.selector.clone().unwrap());
                set.peer_authentications = policies.into_iter().collect();
                let was = after.then_some(&before);
                before = Mesh::build_after(was, &set, &Settings::default(), Transit::default()).0;
                let mesh = &before;
                let touched =
                    mesh.workloads().filter(|it| it.key.namespace == namespace && selector.matches(&it.labels));
                touched.map(|it| proxy_resources(&proxy_plan(mesh, it, plan::Node::default())).len()).sum::<usize>()
            });
        });
    }
}

/// A Secret changed, which no part of the model is made from.
fn another_change(c: &mut Criterion) {
    let set = parsed(&files(1000));
    let before = built(&set);
    c.bench_function("a Secret changed: the next model", |b| {
        b.iter(|| Mesh::build_after(Some(&before), black_box(&set), &Settings::default(), Transit::default()));
    });
}

fn one_proxy(c: &mut Criterion) {
    let mesh = built(&parsed(&files(100)));
    c.bench_function("clusters, endpoints and routes of one proxy: 100 services", |b| {
        b.iter(|| of_class(&mesh, black_box(client(&mesh))));
    });
    // A listener that no service has the port of routes nothing.
    let bytes = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default, namespace: n0}\nspec: {egress: [{port: {number: 9, name: tcp, protocol: TCP}, hosts: [\"*/*\"]}]}\n";
    let without_routes = built(&parsed(&[files(100), vec![("sidecar.yaml".to_owned(), bytes.to_owned())]].concat()));
    let resources = of_class(&without_routes, client(&without_routes));
    assert!(resources.len() > 200 && resources.iter().all(|it| !it.type_url.contains("Route")));
    c.bench_function("clusters and endpoints of one proxy: 100 services", |b| {
        b.iter(|| of_class(&without_routes, black_box(client(&without_routes))));
    });
    c.bench_function("a STRICT inbound listener", |b| {
        b.iter(|| proxy_resources(&proxy_plan(&mesh, black_box(client(&mesh)), plan::Node::default())));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = whole_mesh, one_change, another_change, one_proxy
}
criterion_main!(benches);
