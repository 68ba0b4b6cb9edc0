//! Rules about Linkerd's policy. Line numbers count three lines an object, the spec on the third.

use super::{assert_found, assert_silent};
use crate::mesh::tests::text::{client_and_server, destination_rule, object, peer_authentication};

fn server(name: &str, port: &str) -> String {
    let spec = format!("{{podSelector: {{matchLabels: {{app: web}}}}, port: {port}}}");
    object("policy.linkerd.io/v1beta1", "Server", &format!("back/{name}"), &spec)
}

fn authorization(server: &str, client: &str) -> String {
    let spec = format!("{{server: {{name: {server}}}, client: {client}}}");
    object("policy.linkerd.io/v1beta1", "ServerAuthorization", &format!("back/{server}"), &spec)
}

const CLIENT: &str = "{meshTLS: {identities: [client.shop.serviceaccount.identity.linkerd.cluster.local]}}";
const EVERYBODY: &str = "{unauthenticated: true}";

#[test]
fn cs0701_two_dialects_differ() {
    let istio = |mode: &str| peer_authentication("back/default", &format!("{{mtls: {{mode: {mode}}}}}"));
    let with = |mode: &str, client: &str| {
        [istio(mode), server("web", "8080"), authorization("web", client), client_and_server()].concat()
    };
    let message = "back/web port 8080: Istio's policy (f.yaml:3) says PERMISSIVE, and Linkerd's (f.yaml:5) means STRICT: Linkerd's";
    assert_found(&with("PERMISSIVE", CLIENT), "CS0701", 3, message);
    assert_found(&with("STRICT", EVERYBODY), "CS0701", 5, "means PERMISSIVE: Istio's counts, which is stricter");
    assert_silent(&with("STRICT", CLIENT), "CS0701");
    assert_silent(&with("UNSET", CLIENT), "CS0701");

    let skipped = client_and_server().replace(
        "kind: Service, metadata: {",
        "kind: Service, metadata: {annotations: {config.linkerd.io/skip-outbound-ports: \"8080\"}, ",
    );
    let rule = |mode: &str| {
        destination_rule(
            "shop/web",
            &format!("{{host: web.back.svc.cluster.local, trafficPolicy: {{tls: {{mode: {mode}}}}}}}"),
        )
    };
    assert_found(&[skipped.clone(), rule("ISTIO_MUTUAL")].concat(), "CS0701", 8, "says ISTIO_MUTUAL: the rule counts");
    assert_silent(&[skipped, rule("DISABLE")].concat(), "CS0701");
}

#[test]
fn cs0702_two_servers_of_one_port() {
    let two = |port: &str| [server("one", "8080"), server("two", port), client_and_server()].concat();
    let message = "Server back/two and Server back/one (f.yaml:2) both select back/web port 8080";
    assert_found(&two("8080"), "CS0702", 5, message);
    assert_silent(&two("9090"), "CS0702");
}

#[test]
fn cs0703_nobody_is_let_in() {
    let text = [server("web", "8080"), client_and_server()].concat();
    assert_found(&text, "CS0703", 2, "Server back/web authorizes nobody");
    assert_silent(&[text, authorization("web", CLIENT)].concat(), "CS0703");
    let open = server("web", "8080")
        .replace("v1beta1", "v1beta3")
        .replace("port: 8080", "port: 8080, accessPolicy: all-authenticated");
    assert_silent(&[open, client_and_server()].concat(), "CS0703");
}

#[test]
fn cs0704_an_annotation_on_a_service() {
    let annotated = |annotation: &str| {
        client_and_server().replace(
            "kind: Service, metadata: {",
            &format!("kind: Service, metadata: {{annotations: {{config.linkerd.io/{annotation}: \"9090\"}}, "),
        )
    };
    assert_found(
        &annotated("skip-outbound-ports"),
        "CS0704",
        8,
        "Linkerd reads the annotation on Pods and Namespaces only",
    );
    assert_silent(&annotated("opaque-ports"), "CS0704");
    assert_found(&annotated("skip-inbound-ports"), "CS0002", 8, "skip-inbound-ports of Service back/web has no effect");
}

#[test]
fn cs0705_references_that_lead_nowhere() {
    let text = [server("web", "8080"), authorization("wep", CLIENT), client_and_server()].concat();
    assert_found(&text, "CS0705", 6, "is for the Server wep, which back does not have");
    let policy = |target: &str, required: &str| {
        let linkerd = "group: policy.linkerd.io";
        let spec = format!(
            "{{targetRef: {{{linkerd}, kind: Server, name: {target}}}, requiredAuthenticationRefs: [{{{linkerd}, kind: MeshTLSAuthentication, name: {required}}}]}}"
        );
        [
            server("web", "8080"),
            object("policy.linkerd.io/v1alpha1", "AuthorizationPolicy", "back/it", &spec),
            object("policy.linkerd.io/v1alpha1", "MeshTLSAuthentication", "back/known", "{identities: [\"*\"]}"),
            client_and_server(),
        ]
        .concat()
    };
    assert_found(
        &policy("web", "unknown"),
        "CS0705",
        6,
        "requires the MeshTLSAuthentication back/unknown, which does not exist",
    );
    assert_found(&policy("wep", "known"), "CS0705", 6, "AuthorizationPolicy back/it is for the Server wep");
    assert_silent(&policy("web", "known"), "CS0705");
}

#[test]
fn cs0706_an_identity_that_nobody_has() {
    let with = |client: &str| [server("web", "8080"), authorization("web", client), client_and_server()].concat();
    assert_found(&with(&CLIENT.replace("client.", "cleint.")), "CS0706", 6, "\"cleint.shop.serviceaccount.identity");
    assert_found(&with("{meshTLS: {serviceAccounts: [{name: client}]}}"), "CS0706", 6, "the service account client");
    assert_found(&with("{meshTLS: {identities: [\"spiffe://cluster.local/ns/a/sa/b\"]}}"), "CS0706", 6, "ns/a/sa/b");
    for client in [
        CLIENT,
        "{meshTLS: {serviceAccounts: [{name: client, namespace: shop}]}}",
        "{meshTLS: {identities: [\"*\"]}}",
        "{meshTLS: {identities: [\"*.nowhere.serviceaccount.identity.linkerd.cluster.local\"]}}",
        "{meshTLS: {identities: [\"spiffe://cluster.local/ns/shop/sa/client\"]}}",
    ] {
        assert_silent(&with(client), "CS0706");
    }
}

#[test]
fn cs0707_both_dialects_authorize() {
    let istio = object("security.istio.io/v1", "AuthorizationPolicy", "back/istio", "{rules: [{}]}");
    let linkerd = [server("web", "8080"), authorization("web", CLIENT), client_and_server()].concat();
    let message =
        "AuthorizationPolicy back/istio of Istio's (f.yaml:2) and ServerAuthorization back/web (f.yaml:8) both hold";
    assert_found(&[istio, linkerd.clone()].concat(), "CS0707", 8, message);
    assert_silent(&linkerd, "CS0707");
}
