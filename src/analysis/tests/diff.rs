//! What another set would change.

use super::super::{Change, Filter, Status, diff, ways};
use crate::mesh::tests::mesh;
use crate::mesh::tests::text::{client_and_server, destination_rule, peer_authentication, workload_entry};

const WEB: &str = "web.back.svc.cluster.local";

fn changes(old: &str, new: &str) -> Vec<Change> {
    let all = |text: &str| ways(&mesh(text).0, &Filter::default());
    diff(&all(old), &all(new))
}

fn plaintext_clients() -> String {
    destination_rule("shop/web", &format!("{{host: {WEB}, trafficPolicy: {{tls: {{mode: DISABLE}}}}}}"))
}

#[test]
fn the_same_set_changes_nothing() {
    let text = plaintext_clients() + &client_and_server();
    assert_eq!(changes(&text, &text), []);
}

#[test]
fn a_change_to_strict_breaks_plaintext_clients_and_they_come_first() {
    let before = plaintext_clients() + &client_and_server();
    let after = peer_authentication("back/default", "{mtls: {mode: STRICT}}") + &before;
    let changes = changes(&before, &after);
    let broken: Vec<_> = changes.iter().take_while(|change| change.breaks).collect();
    assert_eq!(broken.iter().map(|it| it.port).collect::<Vec<_>>(), [8080, 9090]);
    assert!(broken.iter().all(|it| it.clients == ["shop/client"]));
    let after = broken[0].after.as_ref().unwrap();
    assert_eq!((after.status, after.client.as_str(), after.server.as_str()), (Status::Conflict, "PLAINTEXT", "STRICT"));
    assert!(broken[0].reasons.iter().any(|it| it.contains("sets STRICT")), "{:?}", broken[0].reasons);
    // The others go on, and the change of the server's mode is shown.
    assert!(changes[2..].iter().all(|it| !it.breaks && it.clients == ["back/web"]), "{changes:?}");
}

#[test]
fn a_service_that_goes_breaks_and_one_that_comes_does_not() {
    let (with, without) = (client_and_server(), workload_entry("shop/client", "10.0.0.1"));
    let gone = changes(&with, &without);
    assert!(gone.iter().all(|it| it.breaks && it.after.is_none() && it.host == WEB), "{gone:?}");
    let come = changes(&without, &with);
    assert!(come.iter().all(|it| !it.breaks && it.before.is_none() && it.host == WEB), "{come:?}");
    assert_eq!((gone.len(), come.len()), (2, 2), "one for each port, all clients together");
}
