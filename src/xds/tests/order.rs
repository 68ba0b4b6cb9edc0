//! Make before break.

use super::*;
use ResourceType::Route;

fn mesh(cluster: &str, content: &str) -> View {
    view([
        resource(Cluster, cluster, content),
        resource(Endpoint, cluster, content),
        restatable("s", content),
        resource(Listener, "l", content),
        resource(Route, "r", content),
    ])
}

fn types(delta: &mut Delta, view: &View) -> Vec<(ResourceType, Vec<String>)> {
    let mut sent = Vec::new();
    while let Some(response) = delta.next(view) {
        sent.push((response.ty, contents(&response)));
        delta.ack(&response, view);
    }
    sent
}

fn connected(before: &View) -> Delta {
    let mut it = Delta::default();
    it.ask(Cluster, &[], &[], before);
    it.ask(Endpoint, &["old", "new"], &[], before);
    it.ask(Secret, &["s"], &[], before);
    it.ask(Listener, &[], &[], before);
    it.ask(Route, &["r"], &[], before);
    types(&mut it, before);
    it
}

#[test]
fn a_change_crosses_in_order_with_removals_last() {
    let (before, after) = (mesh("old", "1"), mesh("new", "2"));
    let mut it = connected(&before);
    let sent = types(&mut it, &after);
    let order: Vec<_> = sent.iter().map(|(ty, contents)| format!("{ty} {}", contents.join(" "))).collect();
    assert_eq!(order, ["CDS new=2", "EDS new=2", "SDS s=2", "LDS l=2", "RDS r=2", "CDS -old", "EDS -old"]);
}

#[test]
fn listeners_wait_until_clusters_and_endpoints_are_acknowledged() {
    let (before, after) = (mesh("old", "1"), mesh("new", "2"));
    let mut it = connected(&before);
    let mut first = Vec::new();
    while let Some(response) = it.next(&after) {
        first.push(response);
    }
    assert_eq!(first.iter().map(|response| response.ty).collect::<Vec<_>>(), [Cluster, Endpoint, Secret]);
    it.ack(&first[0], &after);
    assert!(it.next(&after).is_none());
    it.ack(&first[1], &after);
    assert_eq!(it.next(&after).map(|response| response.ty), Some(Listener));
}

#[test]
fn a_cluster_is_not_removed_before_listeners_and_routes_are_acknowledged() {
    let (before, after) = (mesh("old", "1"), mesh("new", "2"));
    let mut it = connected(&before);
    let mut last = Vec::new();
    while let Some(response) = it.next(&after) {
        if matches!(response.ty, Listener | Route) {
            last.push(response);
        } else {
            it.ack(&response, &after);
        }
    }
    assert_eq!(last.len(), 2);
    it.ack(&last[0], &after);
    assert!(it.next(&after).is_none());
    it.ack(&last[1], &after);
    assert_eq!(it.next(&after).map(|it| contents(&it)), Some(vec!["-old".to_owned()]));
}

#[test]
fn a_cluster_stays_while_a_refused_listener_runs_on_in_its_old_form() {
    let (before, after) = (mesh("old", "1"), mesh("new", "2"));
    let mut it = connected(&before);
    let mut sent = Vec::new();
    while let Some(response) = it.next(&after) {
        sent.extend(contents(&response));
        if response.ty == Listener {
            it.nack(&response, &after);
        } else {
            it.ack(&response, &after);
        }
    }
    assert!(!sent.iter().any(|it| it.starts_with('-')), "{sent:?}");
    let mended = mesh("new", "3");
    let sent: Vec<_> = types(&mut it, &mended).into_iter().flat_map(|(_, contents)| contents).collect();
    assert!(sent.contains(&"-old".to_owned()), "{sent:?}");
}

#[test]
fn a_sotw_list_goes_on_holding_what_is_to_be_removed_until_then() {
    let (before, after) = (mesh("old", "1"), mesh("new", "2"));
    let mut it = Sotw::default();
    it.ask(Cluster, &[], &before);
    it.ask(Listener, &[], &before);
    it.drain(&[], &before);
    let lists: Vec<_> = std::iter::from_fn(|| {
        let response = it.next(&after)?;
        it.ack(&response, &[], &after);
        Some(contents(&response).join(" "))
    })
    .collect();
    assert_eq!(lists, ["new=2 old=1", "l=2", "new=2"]);
}

#[test]
fn endpoints_of_a_cluster_that_is_sent_anew_are_sent_again() {
    let with = |cluster: &str| view([resource(Cluster, "c", cluster), resource(Endpoint, "c", "1")]);
    let mut it = Delta::default();
    it.ask(Cluster, &[], &[], &with("1"));
    it.ask(Endpoint, &["c"], &[], &with("1"));
    it.drain(&with("1"));
    assert_eq!(it.drain(&with("2")), ["c=2", "c=1"]);
}
