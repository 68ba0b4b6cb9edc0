//! Documents for tests. Each begins at a line of its own, and `spec` is one flow mapping, so that line numbers can be told.

/// One object: 3 lines, the spec on the third.
pub(crate) fn object(api: &str, kind: &str, name: &str, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    format!(
        "---\n{{apiVersion: {api}, kind: {kind}, metadata: {{name: {name}, namespace: {namespace}}},\n spec: {spec}}}\n"
    )
}

/// A PeerAuthentication `namespace/name`.
pub(crate) fn peer_authentication(name: &str, spec: &str) -> String {
    object("security.istio.io/v1", "PeerAuthentication", name, spec)
}

/// A DestinationRule `namespace/name`.
pub(crate) fn destination_rule(name: &str, spec: &str) -> String {
    object("networking.istio.io/v1", "DestinationRule", name, spec)
}

/// A WorkloadEntry `namespace/name`, with the label `app` and a service account of its name.
pub(crate) fn workload_entry(name: &str, address: &str) -> String {
    let app = name.split_once('/').unwrap().1;
    let spec = format!("{{address: {address}, serviceAccount: {app}, labels: {{app: {app}}}}}");
    object("networking.istio.io/v1", "WorkloadEntry", name, &spec)
}

/// A Service `namespace/name` for the workloads with that `app` label.
pub(crate) fn service(name: &str, ports: &str) -> String {
    let app = name.split_once('/').unwrap().1;
    object("v1", "Service", name, &format!("{{selector: {{app: {app}}}, ports: {ports}}}"))
}

/// A client `shop/client`, a server `back/web` and its Service with ports http 8080 and tcp 9090.
pub(crate) fn client_and_server() -> String {
    [
        workload_entry("shop/client", "10.0.0.1"),
        workload_entry("back/web", "10.0.0.2"),
        service("back/web", "[{name: http, port: 8080}, {name: tcp, port: 9090}]"),
    ]
    .concat()
}
