//! `tls-check` and `describe`.

use super::super::{Filter, Status, Way, describe_service, describe_workload, ways};
use crate::mesh::tests::mesh;
use crate::mesh::tests::text::{client_and_server, destination_rule, object, peer_authentication, workload_entry};

const WEB: &str = "web.back.svc.cluster.local";

fn policy() -> String {
    let servers = "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {9090: {mode: DISABLE}}}";
    let clients = format!(
        "{{host: {WEB}, trafficPolicy: {{portLevelSettings: [{{port: {{number: 8080}}, tls: {{mode: DISABLE}}}}]}}}}"
    );
    [peer_authentication("back/web", servers), destination_rule("shop/web", &clients), client_and_server()].concat()
}

fn asked(text: &str, filter: &Filter) -> Vec<Way> {
    ways(&mesh(text).0, filter)
}

fn row(way: &Way) -> [String; 7] {
    let Way { clients, port, status, server, client, authn_policy, destination_rule, .. } = way;
    let cells = [server, client, authn_policy, destination_rule];
    let [server, client, policy, rule] = cells.map(Clone::clone);
    [clients.join(","), port.to_string(), status.to_string(), server, client, policy, rule]
}

#[test]
fn each_pair_has_its_status_both_ends_and_who_decided() {
    let client = Filter { workload: Some("shop/client".parse().unwrap()), ..Filter::default() };
    let rows: Vec<_> = asked(&policy(), &client).iter().map(row).collect();
    assert_eq!(
        rows,
        [
            ["shop/client", "8080", "CONFLICT", "STRICT", "PLAINTEXT", "back/web", "shop/web"],
            ["shop/client", "9090", "AUTO", "DISABLE", "PLAINTEXT", "back/web", ""],
        ]
    );
}

#[test]
fn every_step_of_a_conflict_has_its_place() {
    let filter = Filter { host: Some("web.back".into()), port: Some(8080), ..Filter::default() };
    let ways = asked(&policy(), &filter);
    let conflict = ways.iter().find(|way| way.status == Status::Conflict).unwrap();
    let [client, servers @ .., warning] = &conflict.reasons[..] else { panic!("{conflict:?}") };
    assert_eq!(*client, format!("client: f.yaml:6: DestinationRule shop/web (host {WEB}) sets DISABLE"));
    assert_eq!(
        servers,
        ["server back/web port 8080: f.yaml:3: PeerAuthentication back/web sets STRICT for the workloads it selects"]
    );
    assert!(warning.starts_with("warning: f.yaml:6: "), "{warning}");
}

#[test]
fn a_filter_knows_short_names_and_ports() {
    let named = |host: &str| asked(&policy(), &Filter { host: Some(host.into()), ..Filter::default() }).len();
    assert_eq!(named(WEB), 4, "two ports, from two groups of clients");
    assert_eq!(
        (named("web"), named("web.back"), named("web.back.svc"), named("WEB.back.svc.cluster.local.")),
        (4, 4, 4, 4)
    );
    assert_eq!(named("web.shop"), 0);
    let port = Filter { port: Some(9090), ..Filter::default() };
    assert_eq!(asked(&policy(), &port).len(), 2);
}

#[test]
fn alike_clients_share_a_row_and_a_sidecar_hides_what_it_does_not_list() {
    let twins = [workload_entry("shop/a", "10.0.0.3"), workload_entry("shop/b", "10.0.0.4")].concat();
    let sidecar = "{workloadSelector: {labels: {app: b}}, egress: [{hosts: [\"~/*\"]}]}";
    let text = [policy(), twins, object("networking.istio.io/v1", "Sidecar", "shop/b", sidecar)].concat();
    let rows = asked(&text, &Filter { port: Some(8080), ..Filter::default() });
    let of_shop = rows.iter().find(|way| way.clients.contains(&"shop/a".to_owned())).unwrap();
    assert_eq!(of_shop.clients, ["shop/a", "shop/client"]);
}

#[test]
fn endpoints_that_differ_are_both_shown() {
    let unmeshed = workload_entry("back/raw", "10.0.0.9")
        .replace("app: raw", "app: web")
        .replace("labels: {", "labels: {security.istio.io/tlsMode: disabled, ");
    let text = [peer_authentication("back/default", "{mtls: {mode: STRICT}}"), unmeshed, client_and_server()].concat();
    let rows = asked(&text, &Filter { port: Some(8080), ..Filter::default() });
    let client = rows.iter().find(|way| way.clients == ["shop/client"]).unwrap();
    assert_eq!((client.server.as_str(), client.client.as_str()), ("DISABLE,STRICT", "ISTIO_MUTUAL,PLAINTEXT"));
}

#[test]
fn a_workload_is_described_with_ports_and_ways() {
    let (mesh, _) = mesh(&policy());
    let web = describe_workload(&mesh, &"back/web".parse().unwrap()).unwrap();
    assert_eq!(web.identity, "spiffe://cluster.local/ns/back/sa/web");
    assert_eq!(web.services, [WEB]);
    let ports: Vec<_> = web.ports.iter().map(|it| (it.port, it.mode.as_str(), it.policy.as_str())).collect();
    assert_eq!(ports, [(8080, "STRICT", "back/web"), (9090, "DISABLE", "back/web")]);
    assert!(web.ports[1].reasons[0].starts_with("f.yaml:3: "), "{:?}", web.ports);
    assert!(web.ways.iter().all(|way| way.clients == ["back/web"]));
    assert_eq!(describe_workload(&mesh, &"back/none".parse().unwrap()), None);
}

#[test]
fn a_service_is_described_with_endpoints_and_clients() {
    let (mesh, _) = mesh(&policy());
    let [web] = &describe_service(&mesh, "web.back")[..] else { panic!("one service") };
    assert_eq!((web.host.as_str(), web.ports.as_slice()), (WEB, &[8080, 9090][..]));
    assert_eq!((web.endpoints[0].address.as_str(), web.endpoints[0].workload.as_str()), ("10.0.0.2", "back/web"));
    assert!(web.ways.iter().any(|way| way.clients == ["shop/client"] && way.status == Status::Conflict));
    assert_eq!(describe_service(&mesh, "nobody.example"), []);
}
