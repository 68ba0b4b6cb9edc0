//! Policy sets at random: everything that turns a TLS mode this way or that, over few enough names that they meet.

use proptest::collection::vec;
use proptest::prelude::*;

use super::text::{destination_rule, object, peer_authentication, service, workload_entry};

const NAMESPACES: [&str; 3] = ["one", "two", "istio-system"];
const APPS: [&str; 3] = ["a", "b", "c"];

fn server_mode() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["UNSET", "DISABLE", "PERMISSIVE", "STRICT"])
}

fn namespace() -> impl Strategy<Value = &'static str> {
    prop::sample::select(NAMESPACES.to_vec())
}

fn app() -> impl Strategy<Value = &'static str> {
    prop::sample::select(APPS.to_vec())
}

fn client_tls() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec!["", ", subjectAltNames: [a.example]", ", sni: b.example"]);
    let modes = prop::sample::select(vec![
        "mode: DISABLE",
        "mode: SIMPLE",
        "mode: SIMPLE, caCertificates: /ca.pem",
        "mode: SIMPLE, caCertificates: system",
        "mode: SIMPLE, credentialName: secret",
        "mode: MUTUAL, clientCertificate: /c.pem, privateKey: /k.pem",
        "mode: MUTUAL, clientCertificate: /c.pem, privateKey: /k.pem, caCertificates: /ca.pem, caCrl: /crl.pem",
        "mode: MUTUAL, credentialName: secret",
        "mode: ISTIO_MUTUAL",
        "mode: ISTIO_MUTUAL",
    ]);
    (modes, names).prop_map(|(mode, names)| format!("{{{mode}{names}}}"))
}

fn host() -> impl Strategy<Value = String> {
    let of_service = (app(), namespace()).prop_map(|(app, namespace)| format!("{app}.{namespace}.svc.cluster.local"));
    let others = vec!["*.local", "*", "*.one.svc.cluster.local", "out.example", "in.example", "*.example", "a"];
    prop_oneof![of_service, prop::sample::select(others).prop_map(str::to_owned)]
}

fn rule() -> impl Strategy<Value = String> {
    let port_tls = prop::option::of(client_tls());
    (namespace(), host(), client_tls(), port_tls, prop::option::of(client_tls()), any::<bool>()).prop_map(
        |(namespace, host, tls, at_port, of_subset, selects)| {
            let ports = at_port
                .map(|tls| format!(", portLevelSettings: [{{port: {{number: 80}}, tls: {tls}}}]"))
                .unwrap_or_default();
            let subsets = of_subset
                .map(|tls| format!(", subsets: [{{name: v, labels: {{app: a}}, trafficPolicy: {{tls: {tls}}}}}]"))
                .unwrap_or_default();
            let selector = if selects { ", workloadSelector: {matchLabels: {app: b}}" } else { "" };
            let spec = format!("{{host: \"{host}\", trafficPolicy: {{tls: {tls}{ports}}}{subsets}{selector}}}");
            destination_rule(&format!("{namespace}/name"), &spec)
        },
    )
}

fn authentication() -> impl Strategy<Value = String> {
    let wide = (namespace(), server_mode()).prop_map(|(namespace, mode)| {
        peer_authentication(&format!("{namespace}/name"), &format!("{{mtls: {{mode: {mode}}}}}"))
    });
    let narrow = (namespace(), app(), server_mode(), server_mode()).prop_map(|(namespace, app, mode, at_port)| {
        let spec = format!(
            "{{selector: {{matchLabels: {{app: {app}}}}}, mtls: {{mode: {mode}}}, portLevelMtls: {{80: {{mode: {at_port}}}}}}}"
        );
        peer_authentication(&format!("{namespace}/name"), &spec)
    });
    prop_oneof![wide, narrow]
}

fn entry() -> impl Strategy<Value = String> {
    let location = prop::sample::select(vec!["MESH_INTERNAL", "MESH_EXTERNAL"]);
    let endpoints = prop::sample::select(vec![
        "resolution: DNS",
        "resolution: NONE",
        "resolution: STATIC, endpoints: [{address: 10.9.0.1}]",
        "resolution: STATIC, endpoints: [{address: 10.9.0.2, labels: {security.istio.io/tlsMode: istio}}]",
        "resolution: STATIC, workloadSelector: {labels: {app: a}}",
    ]);
    let names = prop::sample::select(vec!["", ", subjectAltNames: [c.example]"]);
    let hosts = prop::sample::select(vec!["out.example", "in.example"]);
    let protocols = prop::sample::select(vec!["HTTP", "HTTP2", "GRPC", "TCP", "TLS"]);
    (namespace(), hosts, location, endpoints, names, protocols).prop_map(
        |(namespace, host, location, endpoints, names, protocol)| {
            let ports = format!("[{{number: 80, name: p, protocol: {protocol}}}]");
            let spec = format!("{{hosts: [{host}], location: {location}, {endpoints}, ports: {ports}{names}}}");
            object("networking.istio.io/v1", "ServiceEntry", &format!("{namespace}/name"), &spec)
        },
    )
}

/// A Server of Linkerd's with an authorization: of identities, of networks, of everybody, or of nobody.
fn server() -> impl Strategy<Value = String> {
    let ports = prop::sample::select(vec![80, 90, 100]);
    let protocols = prop::sample::select(vec!["unknown", "HTTP/1", "HTTP/2", "gRPC", "opaque", "TLS"]);
    let access = prop::sample::select(vec!["deny", "deny", "all-unauthenticated", "cluster-authenticated"]);
    let clients = prop::sample::select(vec![
        "",
        "{unauthenticated: true}",
        "{unauthenticated: true, networks: [{cidr: 10.0.0.0/8}]}",
        "{meshTLS: {identities: [\"*\"]}}",
        "{meshTLS: {serviceAccounts: [{name: a}]}, networks: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}]}",
    ]);
    (namespace(), app(), ports, protocols, access, clients).prop_map(
        |(namespace, app, port, protocol, access, client)| {
            let name = format!("{namespace}/name");
            let selector = format!("podSelector: {{matchLabels: {{app: {app}}}}}");
            let spec = format!("{{{selector}, port: {port}, proxyProtocol: {protocol}, accessPolicy: {access}}}");
            let server = object("policy.linkerd.io/v1beta3", "Server", &name, &spec);
            let spec = format!("{{server: {{selector: {{}}}}, client: {client}}}");
            let authorization = object("policy.linkerd.io/v1beta1", "ServerAuthorization", &name, &spec);
            if client.is_empty() { server } else { server + &authorization }
        },
    )
}

fn sidecar() -> impl Strategy<Value = String> {
    let ingress = prop::sample::select(vec![
        "",
        "ingress: [{port: {number: 80, name: http}, defaultEndpoint: '127.0.0.1:8080'}, {port: {number: 90, name: tcp}}]",
        "ingress: [{port: {number: 80, name: https, protocol: HTTPS}, tls: {mode: SIMPLE, serverCertificate: /c.pem, \
         privateKey: /k.pem}}, {port: {number: 90, name: tls, protocol: TLS}, tls: {mode: MUTUAL, credentialName: own, \
         subjectAltNames: [a.example]}}]",
        "ingress: [{port: {number: 80, name: http}, captureMode: NONE}, {port: {number: 100, name: grpc}, captureMode: IPTABLES}]",
    ]);
    let egress = prop::sample::select(vec![
        "",
        "egress: [{hosts: ['./*', 'istio-system/*']}]",
        "egress: [{port: {number: 8001, name: http}, hosts: ['one/*']}, {hosts: ['*/*']}]",
        "egress: [{port: {number: 8002, name: tcp, protocol: TCP}, hosts: ['two/a.two.svc.cluster.local']}]",
        "outboundTrafficPolicy: {mode: REGISTRY_ONLY}",
    ]);
    (namespace(), prop::option::of(app()), ingress, egress).prop_map(|(namespace, app, ingress, egress)| {
        let selector = app.map(|app| format!("workloadSelector: {{labels: {{app: {app}}}}}")).unwrap_or_default();
        let parts: Vec<&str> = [&*selector, ingress, egress].into_iter().filter(|part| !part.is_empty()).collect();
        let spec = format!("{{{}}}", parts.join(", "));
        object("networking.istio.io/v1", "Sidecar", &format!("{namespace}/name"), &spec)
    })
}

fn access() -> impl Strategy<Value = String> {
    let action = prop::sample::select(vec!["ALLOW", "DENY"]);
    let rules = prop::sample::select(vec![
        "[{from: [{source: {principals: [cluster.local/ns/one/sa/a]}}]}]",
        "[{from: [{source: {namespaces: [one], notPrincipals: ['*/sa/b']}}], to: [{operation: {ports: ['80']}}]}]",
        "[{to: [{operation: {methods: [GET], paths: ['/public/*']}}]}]",
        "[{from: [{source: {ipBlocks: [10.0.0.0/8]}}], when: [{key: source.namespace, values: [two]}]}]",
        "[{}]",
    ]);
    (namespace(), prop::option::of(app()), action, rules).prop_map(|(namespace, app, action, rules)| {
        let selector = app.map(|app| format!("selector: {{matchLabels: {{app: {app}}}}}, ")).unwrap_or_default();
        let spec = format!("{{{selector}action: {action}, rules: {rules}}}");
        object("security.istio.io/v1", "AuthorizationPolicy", &format!("{namespace}/name"), &spec)
    })
}

/// A Gateway, and a VirtualService that may or may not lead from it.
fn gateway() -> impl Strategy<Value = String> {
    let server = prop::sample::select(vec![
        "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*.example']}",
        "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['one/a.example'], tls: {httpsRedirect: true}}",
        "{port: {number: 443, name: own, protocol: HTTPS}, hosts: [a.example], tls: {mode: SIMPLE, credentialName: own}}",
        "{port: {number: 443, name: both, protocol: HTTPS}, hosts: [a.example], tls: {mode: MUTUAL, serverCertificate: /c.pem, \
         privateKey: /k.pem, caCertificates: /ca.pem, subjectAltNames: [b.example]}}",
        "{port: {number: 443, name: mesh, protocol: HTTPS}, hosts: ['*'], tls: {mode: ISTIO_MUTUAL}}",
        "{port: {number: 443, name: through, protocol: TLS}, hosts: ['*.example'], tls: {mode: PASSTHROUGH}}",
        "{port: {number: 90, name: tcp, protocol: TCP}, hosts: ['*']}",
    ]);
    let route = prop::sample::select(vec![
        "http: [{match: [{uri: {prefix: /a}}], route: [{destination: {host: a, port: {number: 80}}}]}, \
         {route: [{destination: {host: b.two.svc.cluster.local, port: {number: 80}, subset: v}}]}]",
        "tls: [{match: [{sniHosts: [a.example]}], route: [{destination: {host: c, port: {number: 90}}}]}]",
        "tcp: [{route: [{destination: {host: out.example, port: {number: 80}}}]}]",
    ]);
    (namespace(), app(), vec(server, 1..3), namespace(), route).prop_map(
        |(namespace, app, servers, of_route, route)| {
            let numbered =
                servers.iter().enumerate().map(|(index, it)| it.replace(", protocol", &format!("-{index}, protocol")));
            let servers = numbered.collect::<Vec<_>>().join(", ");
            let spec = format!("{{selector: {{app: {app}}}, servers: [{servers}]}}");
            let gateway = object("networking.istio.io/v1", "Gateway", &format!("{namespace}/name"), &spec);
            let spec = format!("{{hosts: [a.example], gateways: [{namespace}/name], {route}}}");
            gateway + &object("networking.istio.io/v1", "VirtualService", &format!("{of_route}/name"), &spec)
        },
    )
}

/// Annotations of Linkerd's, in flow style.
fn annotations() -> impl Strategy<Value = String> {
    let policies = [
        "all-unauthenticated",
        "all-authenticated",
        "cluster-unauthenticated",
        "cluster-authenticated",
        "deny",
        "audit",
    ];
    let policies = policies.map(|it| format!("default-inbound-policy: {it}"));
    let ports = ["skip-inbound-ports", "skip-outbound-ports", "opaque-ports"];
    let ports = ports.iter().flat_map(|it| ["80", "90", "85-100"].map(|ports| format!("{it}: \"{ports}\"")));
    let one = prop::sample::select(policies.into_iter().chain(ports).collect::<Vec<_>>());
    prop::option::weighted(0.3, one)
        .prop_map(|it| it.map(|it| format!("annotations: {{config.linkerd.io/{it}}}, ")).unwrap_or_default())
}

/// Nine workloads and their services, under policies of every kind.
pub(crate) fn policies() -> impl Strategy<Value = String> {
    let tls = (vec(rule(), 0..6), vec(authentication(), 0..5), vec(entry(), 0..3));
    let around = (vec(sidecar(), 0..3), vec(access(), 0..3), vec(gateway(), 0..3));
    // A plain Service, one with an address, one whose clients choose.
    let kinds = any::<[u8; 9]>();
    let linkerd = (vec(server(), 0..4), vec(annotations(), 18));
    (tls, around, any::<[bool; 9]>(), kinds, linkerd).prop_map(
        |((rules, authentications, entries), (sidecars, access, gateways), unmeshed, kinds, (servers, annotations))| {
            let mut annotations = annotations.into_iter();
            let mut annotated = |document: String| {
                document.replace("metadata: {", &format!("metadata: {{{}", annotations.next().unwrap_or_default()))
            };
            let mut text = String::new();
            for (index, (unmeshed, kind)) in unmeshed.into_iter().zip(kinds).enumerate() {
                let name = format!("{}/{}", NAMESPACES[index / 3], APPS[index % 3]);
                let workload = workload_entry(&name, &format!("10.0.0.{}", index + 1));
                let label = if unmeshed { "labels: {security.istio.io/tlsMode: disabled, " } else { "labels: {" };
                text += &annotated(workload.replace("labels: {", label));
                let service =
                    service(&name, "[{name: http, port: 80}, {name: tcp, port: 90}, {name: grpc, port: 100}]");
                text += &annotated(match kind % 3 {
                    0 => service,
                    1 => service.replace("ports:", &format!("clusterIP: 10.96.0.{}, ports:", index + 1)),
                    _ => service.replace("ports:", "clusterIP: None, ports:"),
                });
            }
            let several = rules.into_iter().chain(authentications).chain(entries).chain(sidecars).chain(access);
            let several = several.chain(gateways).chain(servers).enumerate();
            text.extend(several.map(|(index, it)| {
                let it = it.replace("name: name,", &format!("name: name-{index},"));
                it.replace("/name]", &format!("/name-{index}]"))
            }));
            text
        },
    )
}
