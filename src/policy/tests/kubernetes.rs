//! Pods, EndpointSlices, Endpoints, and what a file set may hold besides.

use super::*;

#[test]
fn a_pod_as_a_cluster_prints_it() {
    let (set, warnings) = good(
        "apiVersion: v1
kind: Pod
metadata:
  name: web-7d4b9
  namespace: shop
  labels: {app: web}
  annotations: {sidecar.istio.io/status: '{}'}
  ownerReferences: [{kind: ReplicaSet, name: web}]
spec:
  serviceAccountName: web
  nodeName: one
  initContainers:
  - name: istio-proxy
    ports: [{containerPort: 15090, name: http-envoy-prom, protocol: TCP}]
  containers:
  - name: web
    image: web
    ports:
    - {containerPort: 8080, name: http, protocol: TCP}
    - {containerPort: 8081}
    - {containerPort: 53, name: dns, protocol: UDP}
  tolerations: []
status:
  phase: Running
  podIP: 10.1.0.4
  podIPs: [{ip: 10.1.0.4}]
  conditions: [{type: Ready, status: 'True'}]
",
    );
    assert_eq!(warnings, Vec::<String>::new());
    let pod = &set.pods[0].spec;
    assert_eq!(pod.service_account, "web");
    assert_eq!(pod.address.as_ref().map(|it| it.value.to_string()).as_deref(), Some("10.1.0.4"));
    assert_eq!(
        pod.ports.iter().map(|(name, port)| (name.as_str(), *port)).collect::<Vec<_>>(),
        [("http", 8080), ("http-envoy-prom", 15090)]
    );
    assert!(pod.injected && pod.ready && !pod.host_network);
}

fn pod(rest: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n{rest}\n")
}

#[test]
fn what_a_pod_says_of_itself() {
    let read = |rest: &str| good(&pod(rest)).0.pods[0].spec.clone();
    assert_eq!(read("").service_account, "default");
    assert_eq!(read("").address, None);
    assert!(read("spec: {hostNetwork: true}").host_network);
    assert!(!read("status: {conditions: [{type: Ready, status: 'False'}]}").ready);
    assert_eq!(read("status: {podIP: 10.0.0.1, phase: Succeeded}").address, None, "it has ended");
    assert!(read("  labels: {security.istio.io/tlsMode: istio}").injected);
    assert!(read("spec: {containers: [{name: istio-proxy}]}").injected);
    assert!(!read("spec: {containers: [{name: web}]}").injected);
    assert_eq!(bad(&pod("status: {podIP: here}")), "f.yaml:5: status.podIP: not an IP address");
    assert_eq!(
        bad(&pod("spec: {containers: [{ports: [{name: a, containerPort: 70000}]}]}")),
        "f.yaml:5: spec.containers.ports.containerPort: 70000 is not a port: 1 to 65535"
    );
    assert_eq!(bad(&pod("spce: {}")), "f.yaml:5: unknown field \"spce\" (did you mean \"spec\"?)");
}

fn slice(rest: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: web-x\n  namespace: shop\n  labels: {{kubernetes.io/service-name: web}}\n{rest}\n"
    )
}

#[test]
fn an_endpoint_slice_as_a_cluster_prints_it() {
    let (set, warnings) = good(&slice(
        "addressType: IPv4
ports:
- {name: http, port: 8080, protocol: TCP, appProtocol: http}
- {name: dns, port: 53, protocol: UDP}
endpoints:
- addresses: [10.1.0.4]
  conditions: {ready: true, serving: true, terminating: false}
  nodeName: one
  zone: a
  targetRef: {kind: Pod, name: web-1, namespace: shop, uid: x}
- addresses: [10.1.0.5]
  conditions: {ready: false}
- addresses: [10.1.0.6]
  conditions: {ready: true, terminating: true}
- addresses: [10.1.0.7]",
    ));
    assert_eq!(warnings, Vec::<String>::new());
    let slice = &set.endpoint_slices[0].spec;
    assert_eq!(slice.service.as_deref(), Some("web"));
    assert_eq!(slice.ports.iter().collect::<Vec<_>>(), [(&"http".to_owned(), &8080)]);
    let ready: Vec<bool> = slice.endpoints.iter().map(|endpoint| endpoint.ready).collect();
    assert_eq!(ready, [true, false, false, true]);
    assert_eq!(slice.endpoints[0].pod, Some(("shop".to_owned(), "web-1".to_owned())));
}

#[test]
fn what_is_wrong_in_a_slice_has_its_place() {
    let fault = |rest: &str| bad(&slice(rest));
    assert_eq!(fault("endpoints: []"), "f.yaml:1: the field \"addressType\" is missing");
    assert_eq!(fault("addressType: IPv5"), "f.yaml:7: addressType: unknown value \"IPv5\" (did you mean \"IPv6\"?)");
    assert_eq!(
        fault("addressType: IPv6\nendpoints: [{addresses: [10.0.0.1]}]"),
        "f.yaml:8: endpoints[0].addresses: not an address of the slice's addressType"
    );
    assert_eq!(
        fault("addressType: IPv4\nendpoints: [{addresses: [web]}]"),
        "f.yaml:8: endpoints[0].addresses: not an IP address"
    );
    assert_eq!(fault("addressType: IPv4\nports: [{port: 0}]"), "f.yaml:8: ports: 0 is not a port: 1 to 65535");
    let (_, warnings) = good(&slice("addressType: FQDN"));
    assert_eq!(warnings, ["f.yaml:7: addressType FQDN is not served: the slice is left out"]);
    let (_, warnings) =
        good(&slice("addressType: IPv4").replace("labels: {kubernetes.io/service-name: web}", "labels: {}"));
    assert_eq!(warnings, ["f.yaml:7: the label kubernetes.io/service-name is missing: the slice is no Service's"]);
    let errors = bad(&slice("addressType: IPv4").replace("discovery.k8s.io/v1", "discovery.k8s.io/v1beta1"));
    assert!(errors.starts_with("f.yaml:1: EndpointSlice has no apiVersion \"discovery.k8s.io/v1beta1\""), "{errors}");
}

#[test]
fn endpoints_become_slices() {
    let endpoints = |subsets: &str| {
        format!("apiVersion: v1\nkind: Endpoints\nmetadata: {{name: web, namespace: shop}}\nsubsets:\n{subsets}\n")
    };
    let (set, _) = good(&endpoints(
        "- addresses: [{ip: 10.1.0.4, targetRef: {kind: Pod, name: web-1}}]
  notReadyAddresses: [{ip: 10.1.0.5}]
  ports: [{name: http, port: 8080}]",
    ));
    let slice = &set.endpoints[0].spec[0];
    assert_eq!(slice.service.as_deref(), Some("web"));
    let [first, second] = &slice.endpoints[..] else { panic!("{slice:?}") };
    assert!(first.ready && !second.ready);
    assert_eq!(
        first.pod,
        Some(("shop".to_owned(), "web-1".to_owned())),
        "a reference is of the object's own namespace"
    );
    assert_eq!(
        bad(&endpoints("- addresses: [{ip: a.example}]")),
        "f.yaml:5: subsets[0].addresses.ip: not an IP address"
    );
}

#[test]
fn a_workload_group() {
    let group = |template: &str| {
        object("WorkloadGroup", &format!("  metadata: {{labels: {{app: web}}}}\n  template: {{{template}}}"))
    };
    let (set, warnings) = good(&group("serviceAccount: web, ports: {http: 8080}, labels: {tier: x}, network: n"));
    assert_eq!(warnings, ["f.yaml:7: spec.template.network has no effect here"]);
    let group_spec = &set.workload_groups[0].spec;
    assert_eq!(group_spec.labels.len(), 2);
    assert_eq!((group_spec.service_account.as_deref(), group_spec.ports["http"]), (Some("web"), 8080));
    assert_eq!(
        bad(&group("address: 10.0.0.1")),
        "f.yaml:7: spec.template.address: a group has no address (each WorkloadEntry has its own)"
    );
    assert_eq!(bad(&group("ports: {http: 0}")), "f.yaml:7: spec.template.ports.http: 0 is not a port: 1 to 65535");
    assert_eq!(bad(&object("WorkloadGroup", "  metadata: {}")), "f.yaml:6: spec: the field \"template\" is missing");
}

#[test]
fn what_a_cluster_makes_pods_from_is_a_note() {
    for (api, kind) in
        [("apps/v1", "Deployment"), ("apps/v1", "StatefulSet"), ("batch/v1", "Job"), ("v1", "ServiceAccount")]
    {
        let (set, warnings) = parse_set([(
            "f.yaml",
            format!("apiVersion: {api}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{x: 1}}\n"),
        )])
        .unwrap();
        assert!(set.is_empty());
        assert_eq!(warnings.len(), 1);
        assert_eq!(warnings[0].topic, Topic::Elsewhere, "{kind}");
        assert_eq!(warnings[0].to_string(), format!("f.yaml:1: {api} {kind} is not read"));
    }
    let (_, warnings) =
        parse_set([("f.yaml", "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\n")]).unwrap();
    assert_eq!(warnings[0].topic, Topic::Unserved);
}
