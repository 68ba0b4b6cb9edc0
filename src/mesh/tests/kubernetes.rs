//! Workloads and endpoints from a cluster's own objects.

use super::super::{Endpoint, EndpointAddress, Mesh};
use super::text::{object, peer_authentication, service, workload_entry};
use super::{mesh, workload};

/// A Pod `namespace/name` with the label `app: web`; three lines.
fn pod(name: &str, address: &str, more: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    format!(
        "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: {namespace}, labels: {{app: web, security.istio.io/tlsMode: istio}}}},\n \
         spec: {{serviceAccountName: {name}, containers: [{{name: a, ports: [{{name: http, containerPort: 9999}}, {{name: api, containerPort: 8080}}]}}]{more}}}, status: {{podIP: {address}}}}}\n"
    )
}

fn slice(name: &str, endpoints: &str) -> String {
    format!(
        "---\n{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: {name}, namespace: back, labels: {{kubernetes.io/service-name: web}}}},\n \
         addressType: IPv4, ports: [{{name: http, port: 7070}}], endpoints: {endpoints}}}\n"
    )
}

/// `address:port` of the Service's first port; `-` for an endpoint that does not serve it.
fn endpoints(mesh: &Mesh) -> Vec<String> {
    let service = mesh.services().find(|service| service.host == "web.back.svc.cluster.local").unwrap();
    let port = |endpoint: &super::super::Endpoint| {
        endpoint.port(&service.ports[0]).map_or("-".to_owned(), |it| it.to_string())
    };
    let named = |endpoint: &super::super::Endpoint| match &endpoint.workload {
        Some(workload) => format!("{} {}", workload.key, port(endpoint)),
        None => format!("? {}", port(endpoint)),
    };
    service.endpoints.iter().filter(|endpoint| endpoint.ready).map(named).collect()
}

#[test]
fn a_service_selects_pods_and_its_target_port_is_a_container_s() {
    let (mesh, _) = mesh(
        &[pod("back/a", "10.0.0.1", ""), service("back/web", "[{name: http, port: 80, targetPort: api}]")].concat(),
    );
    assert_eq!(endpoints(&mesh), ["back/a 8080"]);
    let by_number =
        [pod("back/a", "10.0.0.1", ""), service("back/web", "[{name: http, port: 80, targetPort: 81}]")].concat();
    let (mesh, _) = super::mesh(&by_number);
    assert_eq!(endpoints(&mesh), ["back/a 81"], "a container's port that is called like the Service's means nothing");
    assert_eq!(workload(&mesh, "back/a").spiffe_id, "spiffe://cluster.local/ns/back/sa/a");
}

#[test]
fn slices_decide_who_is_behind_a_service() {
    let text = [
        pod("back/a", "10.0.0.1", ""),
        pod("back/b", "10.0.0.2", ""),
        pod("back/c", "10.0.0.3", ""),
        workload_entry("back/web", "10.0.0.4"),
        service("back/web", "[{name: http, port: 80, targetPort: 8080}, {name: other, port: 81}]"),
        slice("one", "[{addresses: [10.0.0.1], targetRef: {kind: Pod, name: a}}, {addresses: [10.0.0.2], conditions: {ready: false}}]"),
        slice("two", "[{addresses: [10.0.0.3]}, {addresses: [10.9.9.9]}]"),
    ]
    .concat();
    let (mesh, _) = mesh(&text);
    assert_eq!(endpoints(&mesh), ["back/a 7070", "back/c 7070", "back/web 8080", "? 7070"]);
    let service = mesh.services().next().unwrap();
    assert_eq!(service.endpoints[0].port(&service.ports[1]), None, "the slice does not have the port");
    assert!(service.endpoints[0].meshed && !service.endpoints[4].meshed, "nobody knows who is at 10.9.9.9");
    assert_eq!(service.endpoints[0].identities[..], ["spiffe://cluster.local/ns/back/sa/a"]);
    let served = mesh.sent_to(workload(&mesh, "back/b"));
    assert!(served.contains_key(&7070), "or its readiness could never be probed: {served:?}");
    assert!(mesh.modes().contains_key(&workload(&mesh, "back/b").key));
}

#[test]
fn a_proxy_is_reached_at_the_address_it_binds() {
    let by_name = "targetRef: {kind: Pod, name: a}";
    let second = slice("two", &format!("[{{addresses: [\"fd00::1\"], {by_name}}}]")).replace("IPv4", "IPv6");
    let text = [
        pod("back/a", "10.0.0.1", ""),
        service("back/web", "[{name: http, port: 80, targetPort: 8080}]"),
        slice("one", &format!("[{{addresses: [10.0.0.1], {by_name}}}]")),
        second,
    ]
    .concat();
    assert_eq!(endpoints(&mesh(&text).0), ["back/a 7070"], "nobody listens at fd00::1");
    let without = text.replace("security.istio.io/tlsMode: istio", "security.istio.io/tlsMode: disabled");
    let (mesh, _) = mesh(&without);
    assert_eq!(endpoints(&mesh), ["back/a 7070"]);
    let endpoint = &mesh.services().next().unwrap().endpoints[0];
    assert_eq!(endpoint.other_address, "fd00::1".parse().ok(), "an application binds what it likes");
}

#[test]
fn a_pod_of_two_families_is_one_endpoint_with_two_addresses() {
    let by_name = "targetRef: {kind: Pod, name: a}";
    let v4 = slice("one", &format!("[{{addresses: [10.0.0.1], {by_name}}}]"));
    let v6 = slice("two", &format!("[{{addresses: [\"fd00::1\"], {by_name}}}]")).replace("IPv4", "IPv6");
    let pod =
        pod("back/a", "10.0.0.1", "").replace("status: {", "status: {podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}], ");
    let service = service("back/web", "[{name: http, port: 80, targetPort: 8080}]");
    let addresses = |slices: &[&String]| {
        let slices: String = slices.iter().map(|slice| slice.as_str()).collect();
        let (mesh, _) = mesh(&[pod.clone(), service.clone(), slices].concat());
        let endpoints = &mesh.services().next().unwrap().endpoints;
        let both = |it: &Endpoint| (it.address.clone(), it.other_address.map(|address| address.to_string()));
        endpoints.iter().map(both).collect::<Vec<_>>()
    };
    let ip = |text: &str| EndpointAddress::Ip(text.parse().unwrap());
    let one = [(ip("10.0.0.1"), Some("fd00::1".to_owned()))];
    assert_eq!(addresses(&[&v4, &v6]), one);
    assert_eq!(addresses(&[&v6, &v4]), one, "in whatever order they come");
    assert_eq!(addresses(&[&v6]), [(ip("fd00::1"), None)], "the Service is of that family");
    assert_eq!(addresses(&[]), [(ip("10.0.0.1"), None)]);
    let by_address = |slice: &String| slice.replace(&format!(", {by_name}"), "");
    assert_eq!(addresses(&[&by_address(&v4), &by_address(&v6)]), one, "by its addresses too");
}

#[test]
fn a_service_may_publish_who_is_not_ready() {
    let pod =
        pod("back/a", "10.0.0.1", "").replace("status: {", "status: {conditions: [{type: Ready, status: 'False'}], ");
    let service = service("back/web", "[{name: http, port: 80, targetPort: api}]");
    assert!(endpoints(&mesh(&[pod.clone(), service.clone()].concat()).0).is_empty());
    let publishing = service.replace("ports:", "publishNotReadyAddresses: true, ports:");
    assert_eq!(endpoints(&mesh(&[pod, publishing].concat()).0), ["back/a 8080"]);
}

#[test]
fn endpoints_count_where_there_is_no_slice() {
    let endpoints_of = |name: &str| {
        format!(
            "---\n{{apiVersion: v1, kind: Endpoints, metadata: {{name: {name}, namespace: back}},\n subsets: [{{addresses: [{{ip: 10.0.0.1}}], ports: [{{name: http, port: 6060}}]}}]}}\n"
        )
    };
    let selectorless = object("v1", "Service", "back/web", "{ports: [{name: http, port: 80}]}");
    let (mesh, _) = mesh(&[pod("back/a", "10.0.0.1", ""), selectorless.clone(), endpoints_of("web")].concat());
    assert_eq!(endpoints(&mesh), ["back/a 6060"], "by its address");
    let (mesh, _) =
        super::mesh(&[selectorless, endpoints_of("web"), slice("one", "[{addresses: [10.0.0.5]}]")].concat());
    assert_eq!(endpoints(&mesh), ["? 7070"], "a cluster keeps both");
}

#[test]
fn a_pod_without_a_proxy_takes_plaintext() {
    let strict = peer_authentication("back/default", "{mtls: {mode: STRICT}}");
    let text = [strict, pod("back/a", "10.0.0.1", ""), pod("back/node", "10.0.0.9", ", hostNetwork: true")].concat();
    let (mesh, _) = mesh(&text);
    assert!(workload(&mesh, "back/a").meshed);
    assert!(!workload(&mesh, "back/node").meshed, "on its machine's network there is no proxy");
    let (mesh, _) = super::mesh(&pod("back/a", "10.0.0.1", "").replace(", security.istio.io/tlsMode: istio", ""));
    assert!(!workload(&mesh, "back/a").meshed, "the injector has left no mark");
}

#[test]
fn two_workloads_of_one_name_are_told() {
    let (_, warnings) = mesh(&[workload_entry("back/a", "10.0.0.1"), pod("back/a", "10.0.0.2", "")].concat());
    let told = "f.yaml:5: a second workload back/a (Pod): the one at f.yaml:2 counts";
    assert!(warnings.iter().any(|it| it == told), "{warnings:?}");
}

#[test]
fn an_entry_takes_from_its_group_what_it_does_not_say() {
    let group = object(
        "networking.istio.io/v1",
        "WorkloadGroup",
        "back/web",
        "{metadata: {labels: {app: web, tier: x}}, template: {serviceAccount: web, ports: {http: 8080}}}",
    );
    let entry = |spec: &str| {
        object("networking.istio.io/v1", "WorkloadEntry", "back/web-1", spec)
            .replace("metadata: {", "metadata: {annotations: {istio.io/autoRegistrationGroup: web}, ")
    };
    let text =
        [group, entry("{address: 10.0.0.1, labels: {tier: y}}"), service("back/web", "[{name: http, port: 80}]")]
            .concat();
    let (mesh, _) = mesh(&text);
    assert_eq!(endpoints(&mesh), ["back/web-1 8080"]);
    let web = workload(&mesh, "back/web-1");
    assert_eq!((web.service_account.as_str(), web.labels["tier"].as_str()), ("web", "y"));
    let (mesh, warnings) = super::mesh(&entry("{address: 10.0.0.1}"));
    assert_eq!(workload(&mesh, "back/web-1").service_account, "default");
    let told = "f.yaml:2: WorkloadEntry back/web-1 names the WorkloadGroup \"web\", and back has none of that name";
    assert!(warnings.iter().any(|it| it == told), "{warnings:?}");
}

#[test]
fn a_slice_of_a_service_that_is_not_there_is_told() {
    let (_, warnings) = mesh(&slice("one", "[]"));
    assert!(
        warnings.iter().any(|it| it.contains("EndpointSlice back/one is for the Service \"web\", which is not there")),
        "{warnings:?}"
    );
}
