//! What one change of policy makes anew, and what it leaves as it is.

use std::sync::Arc;

use time::OffsetDateTime;

use crate::mesh::tests::text::{client_and_server, object, peer_authentication, workload_entry};
use crate::mesh::{self, Mesh, Transit};
use crate::plan::{self, Flavour, Node};
use crate::policy::{PolicySet, parse_set_after};
use crate::server::model::{Class, Model};

/// One file an object, as the source reads them: what did not change is the very same.
fn read(before: &PolicySet, files: &[(&str, String)], changed: &str) -> PolicySet {
    let texts = files.iter().map(|(name, text)| (name.to_string(), (*name == changed).then(|| text.clone())));
    parse_set_after(before, &[], texts.collect::<Vec<_>>()).unwrap().0
}

fn model(before: Option<&Model>, set: PolicySet) -> Model {
    let was = before.map(|model| &model.mesh);
    let (mesh, found) = Mesh::build_after(was, &set, &mesh::Settings::default(), Transit::default());
    Model::new(mesh, Arc::new(set), 1, (Vec::new(), found), plan::Settings::default(), before)
}

fn class(model: &Model, name: &str) -> Class {
    let workload = model.mesh.workload(&name.parse().unwrap()).unwrap();
    model.class(workload, Flavour::Envoy(Node::PLAIN), OffsetDateTime::UNIX_EPOCH)
}

#[test]
fn a_peer_authentication_leaves_the_classes_that_do_not_reach_its_workloads_as_they_are() {
    let only_itself = object("networking.istio.io/v1", "Sidecar", "far/default", "{egress: [{hosts: [\"./*\"]}]}");
    let strict = peer_authentication("back/web", "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}}");
    let mut files = vec![
        ("mesh", client_and_server()),
        ("far", workload_entry("far/client", "10.0.0.9") + &only_itself),
        ("mode", strict.clone()),
    ];
    let all: String = files.iter().map(|(_, text)| text.as_str()).collect();
    let mut set = PolicySet::default();
    for at in 0..files.len() {
        let name = files[at].0;
        set = read(&set, &files[..=at], name);
    }
    assert_eq!(set.workload_entries.len(), 3, "{all}");
    let before = model(None, set.clone());
    let was = ["far/client", "shop/client"].map(|name| class(&before, name));

    files[2].1 = strict.replace("STRICT", "DISABLE");
    let after = model(Some(&before), read(&set, &files, "mode"));
    let is = ["far/client", "shop/client"].map(|name| class(&after, name));

    assert!(Arc::ptr_eq(&was[0].configuration, &is[0].configuration), "it reaches nobody that has changed");
    assert!(is[0].was_taken_over_from(&was[0]), "and nothing was planned or encoded for it");
    assert!(!is[1].was_taken_over_from(&was[1]));
    assert_ne!(was[1].configuration.version(), is[1].configuration.version());
}
