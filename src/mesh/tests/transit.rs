//! Ports on their way to another mode: what their listeners take, and what their clients do.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::decide::{InboundMode, OutboundMode, inbound, outbound};
use super::super::{Mesh, Moving, Settings, Step, Transit};
use super::random::policies;
use super::text::{client_and_server, destination_rule, peer_authentication};
use super::{said, service, strict, workload};
use crate::policy::parse_set;

const WEB: &str = "web.back.svc.cluster.local";
const MODES: [InboundMode; 3] = [InboundMode::Disable, InboundMode::Permissive, InboundMode::Strict];

fn mesh(text: &str, settings: &Settings, transit: Transit) -> Mesh {
    let (set, _) = parse_set([("f.yaml", text)]).unwrap();
    Mesh::build_in_transit(&set, settings, transit).0
}

fn web(from: InboundMode, step: Step) -> Transit {
    [("back/web".parse().unwrap(), 8080, Moving { from, step })].into_iter().collect()
}

#[test]
fn a_reader_is_told_that_a_port_is_on_its_way_and_how_far() {
    let text = [peer_authentication("back/default", "{mtls: {mode: STRICT}}"), client_and_server()].concat();
    let mesh = mesh(&text, &Settings::default(), web(InboundMode::Disable, Step::Accepting));
    let decision = inbound(&mesh, workload(&mesh, "back/web"), 8080);
    assert_eq!(decision.mode, InboundMode::Permissive);
    assert_eq!(
        said(&decision.reasons)[1],
        "on its way from DISABLE to STRICT (accepting): it begins to take both, and clients still do what DISABLE takes"
    );
    assert_eq!(inbound(&mesh, workload(&mesh, "back/web"), 9090).mode, InboundMode::Strict, "the other port is not");
    let web = service(&mesh, WEB);
    let way = outbound(&mesh, workload(&mesh, "shop/client"), web, &web.ports[0], Some(&web.endpoints[0]));
    assert_eq!(way.mode, OutboundMode::Plaintext);
    assert_eq!(
        said(&way.reasons)[1],
        "f.yaml:3 back/web port 8080 is still DISABLE (on its way to STRICT) and accepts only plaintext"
    );
}

/// What the analysis warns of is what is written, not what is on its way.
#[test]
fn a_port_on_its_way_is_no_contradiction_and_hides_none() {
    let text = |mode: &str, rule: &str| {
        [
            peer_authentication("back/default", &format!("{{mtls: {{mode: {mode}}}}}")),
            destination_rule("shop/web", &format!("{{host: {WEB}, trafficPolicy: {{tls: {{mode: {rule}}}}}}}")),
            client_and_server(),
        ]
        .concat()
    };
    let warnings = |mode, rule, from| {
        let mesh = mesh(&text(mode, rule), &Settings::default(), web(from, Step::Accepting));
        let service = service(&mesh, WEB);
        outbound(&mesh, workload(&mesh, "shop/client"), service, &service.ports[0], None).warnings.len()
    };
    assert_eq!(warnings("STRICT", "ISTIO_MUTUAL", InboundMode::Disable), 0);
    assert_eq!(warnings("STRICT", "DISABLE", InboundMode::Disable), 1);
}

#[test]
fn the_ports_that_services_lead_to_are_told_with_what_is_written_of_them() {
    let opted_out = peer_authentication("back/web", "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}}")
        .replace("namespace: back}", "namespace: back, annotations: {countersign.dev/staged: \"false\"}}");
    let mesh = mesh(
        &[opted_out, client_and_server()].concat(),
        &Settings::default(),
        web(InboundMode::Disable, Step::Closing),
    );
    let modes = mesh.modes();
    assert_eq!(modes.len(), 2);
    assert!(modes[&"shop/client".parse().unwrap()].is_empty(), "it is there, and serves nothing");
    let ports: Vec<_> =
        modes[&"back/web".parse().unwrap()].iter().map(|(port, it)| (*port, it.mode, it.staged)).collect();
    assert_eq!(ports, [(8080, InboundMode::Strict, false), (9090, InboundMode::Strict, false)]);
}

/// Its listeners go at once, so its clients may not be held to what it served before.
#[test]
fn a_workload_that_leaves_the_mesh_does_not_go_in_steps() {
    let web = "labels: {app: web";
    let text = [peer_authentication("back/default", "{mtls: {mode: STRICT}}"), client_and_server()].concat();
    let outside = text.replace(web, "labels: {security.istio.io/tlsMode: disabled, app: web");
    assert_ne!(text, outside);
    let staged = |text: &str| {
        let modes = Arc::clone(mesh(text, &Settings::default(), Transit::default()).modes());
        let port = modes[&"back/web".parse().unwrap()][&8080];
        (port.mode, port.staged)
    };
    assert_eq!(staged(&text), (InboundMode::Strict, true));
    assert_eq!(staged(&outside), (InboundMode::Disable, false));
}

fn transit() -> impl Strategy<Value = Vec<(usize, u16, InboundMode, Step)>> {
    let (port, from) = (prop::sample::select(vec![80_u16, 90, 100]), prop::sample::select(MODES.to_vec()));
    prop::collection::vec((0_usize..9, port, from, prop::sample::select(Step::ALL.to_vec())), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// At every step what a client does is what the listener takes, unless what is written excludes one another; and the whole of a
    /// service is decided as each of its endpoints is.
    #[test]
    fn clients_do_what_listeners_take_at_every_step(text in policies(), literal in any::<bool>(), ports in transit()) {
        let settings = if literal { strict() } else { Settings::default() };
        let at_rest = mesh(&text, &settings, Transit::default());
        let (keys, modes): (Vec<_>, _) = (at_rest.workloads().map(|it| it.key.clone()).collect(), at_rest.modes());
        let moving = ports.into_iter().map(|(index, port, from, step)| (keys[index].clone(), port, Moving { from, step }));
        let moving = moving.filter(|(key, port, _)| modes[key][port].staged);
        let mesh = mesh(&text, &settings, moving.collect());
        for client in mesh.workloads() {
            for service in mesh.visible_to(&client.key.namespace) {
                for port in &service.ports {
                    let whole = outbound(&mesh, client, service, port, None).mode;
                    for endpoint in &service.endpoints {
                        let one = outbound(&mesh, client, service, port, Some(endpoint));
                        let mtls = matches!(one.mode, OutboundMode::IstioMutual { .. });
                        prop_assert_eq!(whole.is_mtls_to(endpoint, port), mtls, "{} to {}\n{}", client.key, service.host, text);
                        let (Some(server), Some(number)) = (&endpoint.workload, endpoint.port(port)) else { continue };
                        // Who left the mesh has no listener any more.
                        let takes = if server.meshed { inbound(&mesh, server, number).mode } else { InboundMode::Disable };
                        let of_the_mesh = mtls || matches!(one.mode, OutboundMode::Plaintext);
                        let fits = takes == InboundMode::Permissive || mtls == (takes == InboundMode::Strict);
                        if of_the_mesh && mesh.transit().get(&server.key, number).is_some() && one.warnings.is_empty() {
                            prop_assert!(fits, "{} to {} port {number}\n{}", client.key, server.key, text);
                        }
                    }
                }
            }
        }
    }
}
