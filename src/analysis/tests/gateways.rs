//! Rules about the mesh's edge. Line numbers count three lines an object, the spec on the third.

use super::certificates::{good, named_secret};
use super::{assert_found, assert_silent};
use crate::mesh::tests::text::{client_and_server, destination_rule, object, service, workload_entry};

const WEB: &str = "web.back.svc.cluster.local";
const NETWORKING: &str = "networking.istio.io/v1";

/// A Gateway `edge/edge`, its workload of that name, and the client and server of other tests.
fn with_gateway(server: &str, documents: &[String]) -> String {
    let gateway = format!("{{selector: {{app: edge}}, servers: [{server}]}}");
    let gateway = object(NETWORKING, "Gateway", "edge/edge", &gateway);
    [gateway, documents.concat(), workload_entry("edge/edge", "10.0.0.9"), client_and_server()].concat()
}

fn route(host: &str, routes: &str) -> String {
    let spec = format!("{{hosts: [{host}], gateways: [edge/edge], {routes}}}");
    object(NETWORKING, "VirtualService", "back/web", &spec)
}

fn http(to: &str) -> String {
    route("web.test", &format!("http: [{{route: [{{destination: {to}}}]}}]"))
}

const HTTP: &str = "{port: {number: 80, name: http, protocol: HTTP}, hosts: [web.test]}";
const THROUGH: &str = "{port: {number: 443, name: tls, protocol: TLS}, hosts: [web.test], tls: {mode: PASSTHROUGH}}";
const TO_WEB: &str = "{host: web, port: {number: 8080}}";

fn tls_route(host: &str) -> String {
    let routes = format!("tls: [{{match: [{{sniHosts: [{host}]}}], route: [{{destination: {TO_WEB}}}]}}]");
    route(host, &routes)
}

#[test]
fn cs0107_tls_within_tls() {
    let rule = |mode: &str| {
        let tls = format!("{{mode: {mode}, caCertificates: /ca.pem}}");
        destination_rule("edge/web", &format!("{{host: {WEB}, trafficPolicy: {{tls: {tls}}}}}"))
    };
    let text = with_gateway(THROUGH, &[tls_route("web.test"), rule("SIMPLE")]);
    assert_found(&text, "CS0107", 6, "DestinationRule edge/web wraps it in TLS once more");
    // The server's proxy unwraps what this one wraps.
    let within =
        destination_rule("edge/web", &format!("{{host: {WEB}, trafficPolicy: {{tls: {{mode: ISTIO_MUTUAL}}}}}}"));
    assert_silent(&with_gateway(THROUGH, &[tls_route("web.test"), within]), "CS0107");
    assert_silent(&with_gateway(HTTP, &[http(TO_WEB), rule("SIMPLE")]), "CS0107");
}

#[test]
fn cs0108_requests_to_a_port_of_tls() {
    let secure = service("back/secure", "[{name: https, port: 8443}]").replace("app: secure", "app: web");
    let to = http("{host: secure}");
    assert_found(&with_gateway(HTTP, &[to.clone(), secure.clone()]), "CS0108", 6, "port 8443, a port of TLS");
    let tls = "{host: secure.back.svc.cluster.local, trafficPolicy: {tls: {mode: SIMPLE, caCertificates: /ca.pem}}}";
    assert_silent(&with_gateway(HTTP, &[to, secure, destination_rule("edge/secure", tls)]), "CS0108");
    assert_silent(&with_gateway(HTTP, &[http(TO_WEB)]), "CS0108");
}

#[test]
fn cs0208_a_host_that_leads_nowhere() {
    assert_found(&with_gateway(HTTP, &[]), "CS0208", 3, "no VirtualService leads it anywhere");
    assert_found(
        &with_gateway(THROUGH, &[http(TO_WEB)]),
        "CS0208",
        3,
        "VirtualService back/web (f.yaml:5) has no `tls` routes",
    );
    let other = HTTP.replace("web.test", "other.test");
    assert_found(&with_gateway(&other, &[http(TO_WEB)]), "CS0208", 3, "serves other.test on port 80");
    assert_silent(&with_gateway(HTTP, &[http(TO_WEB)]), "CS0208");
    assert_silent(&with_gateway(THROUGH, &[tls_route("web.test")]), "CS0208");
    assert_silent(&with_gateway(&HTTP.replace("web.test", "'back/*.test'"), &[http(TO_WEB)]), "CS0208");
    let redirect = HTTP.replace("hosts", "tls: {httpsRedirect: true}, hosts");
    assert_silent(&with_gateway(&redirect, &[]), "CS0208");
}

#[test]
fn cs0209_a_virtual_service_whose_host_nobody_serves() {
    let other = HTTP.replace("web.test", "other.test");
    assert_found(
        &with_gateway(&other, &[http(TO_WEB)]),
        "CS0209",
        6,
        "is for web.test, which no server of Gateway edge/edge",
    );
    let of_another_namespace = HTTP.replace("web.test", "./web.test");
    assert_found(&with_gateway(&of_another_namespace, &[http(TO_WEB)]), "CS0209", 6, "lets it have");
    assert_silent(&with_gateway(HTTP, &[http(TO_WEB)]), "CS0209");
    let short = route("web", &format!("http: [{{route: [{{destination: {TO_WEB}}}]}}]"));
    assert_silent(&with_gateway(&HTTP.replace("web.test", WEB), &[short]), "CS0209");
}

#[test]
fn cs0210_a_subset_that_nobody_defines() {
    let to = http("{host: web, port: {number: 8080}, subset: v2}");
    assert_found(&with_gateway(HTTP, std::slice::from_ref(&to)), "CS0210", 6, "names the subset \"v2\"");
    let defined = |namespace: &str, export: &str| {
        let spec = format!("{{host: {WEB}, {export} subsets: [{{name: v2, labels: {{app: web}}}}]}}");
        destination_rule(&format!("{namespace}/web"), &spec)
    };
    assert_silent(&with_gateway(HTTP, &[to.clone(), defined("back", "")]), "CS0210");
    assert_found(&with_gateway(HTTP, &[to, defined("back", "exportTo: [.],")]), "CS0210", 6, "that governs");
}

#[test]
fn cs0211_a_port_to_which_no_service_leads() {
    let of_edge = |port: u16| service("edge/edge", &format!("[{{name: http, port: 80, targetPort: {port}}}]"));
    assert_found(
        &with_gateway(HTTP, &[http(TO_WEB), of_edge(8080)]),
        "CS0211",
        3,
        "to which no Service of edge/edge leads",
    );
    assert_silent(&with_gateway(HTTP, &[http(TO_WEB), of_edge(80)]), "CS0211");
    assert_silent(&with_gateway(HTTP, &[http(TO_WEB)]), "CS0211");
}

#[test]
fn cs0305_a_servers_credential() {
    let server = |mode: &str| {
        format!(
            "{{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: [web.test], tls: {{mode: {mode}, credentialName: own{}}}}}",
            if mode == "MUTUAL" { ", subjectAltNames: [a.test]" } else { "" }
        )
    };
    let (chain, key) = good();
    let (pair, roots) = ([("tls.crt", chain.as_str()), ("tls.key", &key)], [("ca.crt", chain.as_str())]);
    let with = |mode: &str, secrets: &[String]| with_gateway(&server(mode), &[&[http(TO_WEB)], secrets].concat());
    let own = |namespace: &str| named_secret(namespace, "own", &pair);
    assert_found(&with("SIMPLE", &[]), "CS0305", 3, "for workloads in edge: there is none in edge");
    assert_found(&with("SIMPLE", &[own("back")]), "CS0305", 3, "there is one in back");
    assert_silent(&with("SIMPLE", &[own("edge")]), "CS0305");
    assert_found(&with("MUTUAL", &[own("edge")]), "CS0305", 3, "it has no ca.crt");
    assert_silent(&with("MUTUAL", &[own("edge"), named_secret("edge", "own-cacert", &roots)]), "CS0305");
    let other_key = [("tls.crt", chain.as_str()), ("tls.key", &good().1)].map(|(name, value)| (name, value.to_owned()));
    let other_key: Vec<_> = other_key.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_found(&with("SIMPLE", &[named_secret("edge", "own", &other_key)]), "CS0305", 3, "it is not served: ");

    let sidecar =
        "{ingress: [{port: {number: 8443, name: https, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: own}}]}";
    let sidecar = object(NETWORKING, "Sidecar", "back/default", sidecar);
    let text = |secrets: &[String]| [&[sidecar.clone(), client_and_server()], secrets].concat().concat();
    assert_found(&text(&[]), "CS0305", 3, "Sidecar back/default names the Secret \"own\" for workloads in back");
    assert_silent(&text(&[own("back")]), "CS0305");
}
