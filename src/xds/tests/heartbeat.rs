//! Resources that live for a time.

use std::time::{Duration, Instant};

use super::*;

const TTL: Duration = Duration::from_secs(30);

fn mortal() -> View {
    view([restatable("a", "1").with_ttl(TTL), restatable("b", "1")])
}

#[test]
fn a_delta_heartbeat_is_the_name_without_the_resource_before_the_time_runs_out() {
    let (view, mut it, start) = (mortal(), Delta::default(), Instant::now());
    it.ask(Secret, &["a", "b"], &[], &view);
    let first = delta_message(&it.next(&view).unwrap());
    assert_eq!(first.resources[0].ttl.map(|ttl| ttl.seconds), Some(30));
    assert_eq!(first.resources[1].ttl, None);
    it.0.on_request(Secret, DeltaRequest { nonce: first.nonce, ..DeltaRequest::default() }, &view);
    assert!(it.next(&view).is_none());
    assert!(it.0.heartbeat(start).is_none(), "it was sent just now");
    let due = it.0.next_heartbeat().unwrap();
    assert!(due < start + TTL / 2);
    assert!(it.0.heartbeat(due - Duration::from_millis(1)).is_none());
    let beat = it.0.heartbeat(due).unwrap();
    let message = delta_message(&beat);
    assert_eq!(message.resources.len(), 1);
    assert_eq!((message.resources[0].name.as_str(), &message.resources[0].resource), ("a", &None));
    assert_eq!(message.resources[0].ttl.map(|ttl| ttl.seconds), Some(30));
    it.ack(&beat, &view);
    assert!(it.next(&view).is_none() && it.0.heartbeat(due).is_none());
    assert!(it.0.heartbeat(due + TTL / 2).is_some());
}

#[test]
fn a_sotw_heartbeat_is_a_wrapper_without_the_resource_and_with_the_version_the_client_has() {
    use envoy_types::pb::envoy::service::discovery::v3::Resource as Wrapper;
    let (view, mut it, start) = (mortal(), Sotw::default(), Instant::now());
    it.ask(Secret, &["a", "b"], &view);
    let first = it.next(&view).unwrap();
    let message = sotw_message(&first);
    let wrapped = Wrapper::decode(&*message.resources[0].value).unwrap();
    assert!(message.resources[0].type_url.ends_with("envoy.service.discovery.v3.Resource"));
    assert_eq!((wrapped.name.as_str(), wrapped.resource.is_some()), ("a", true));
    assert_eq!(message.resources[1].type_url, Secret.url());
    it.ack(&first, &["a", "b"], &view);
    assert!(it.next(&view).is_none() && it.0.heartbeat(start).is_none());
    let beat = it.0.heartbeat(start + TTL / 2).unwrap();
    let beat = sotw_message(&beat);
    assert_eq!(beat.resources.len(), 1);
    let wrapped = Wrapper::decode(&*beat.resources[0].value).unwrap();
    assert_eq!((wrapped.name.as_str(), wrapped.resource), ("a", None));
    assert_eq!(wrapped.version, beat.version_info);
    assert_eq!(beat.version_info, message.version_info);
}

#[test]
fn a_sotw_list_is_repeated_as_a_heartbeat_because_what_it_leaves_out_is_deleted() {
    let view = view([resource(Cluster, "a", "1").with_ttl(TTL), resource(Cluster, "b", "1")]);
    let (mut it, start) = (Sotw::default(), Instant::now());
    it.ask(Cluster, &[], &view);
    it.drain(&[], &view);
    it.0.heartbeat(start);
    let beat = it.0.heartbeat(start + TTL / 2).unwrap();
    assert_eq!(beat.contents.len(), 2);
    it.ack(&beat, &[], &view);
    assert!(it.next(&view).is_none());
}

#[test]
fn without_a_time_to_live_there_is_no_heartbeat() {
    let (view, mut it, start) = (view([restatable("b", "1")]), Delta::default(), Instant::now());
    it.ask(Secret, &["b"], &[], &view);
    it.drain(&view);
    assert!(it.0.heartbeat(start).is_none() && it.0.next_heartbeat().is_none());
}

#[test]
fn no_heartbeat_overtakes_a_response_in_flight() {
    let (view, mut it, start) = (mortal(), Delta::default(), Instant::now());
    it.ask(Secret, &["a", "b"], &[], &view);
    it.drain(&view);
    it.0.heartbeat(start);
    let beat = it.0.heartbeat(start + TTL / 2).unwrap();
    assert!(it.0.heartbeat(start + TTL).is_none());
    it.ack(&beat, &view);
    assert!(it.0.heartbeat(start + 2 * TTL).is_some());
}

/// Nobody knows how long the client has been without: what it has from an earlier stream may be about to end.
#[test]
fn who_comes_back_with_what_lives_for_a_time_is_told_at_once_that_it_lives_on() {
    let (view, start) = (mortal(), Instant::now());
    let mut it = Delta::default();
    let has = ["a", "b"].map(|name| (name.to_owned(), view.get(Secret, name).unwrap().version().to_string()));
    let request =
        DeltaRequest { subscribe: strings(&["a", "b"]), initial_versions: has.into(), ..DeltaRequest::default() };
    it.0.on_request(Secret, request, &view);
    assert!(it.next(&view).is_none(), "it has everything");
    let beat = it.0.heartbeat(start).expect("at once");
    assert_eq!(beat.contents.len(), 1);
    it.ack(&beat, &view);
    assert!(it.0.heartbeat(start).is_none());
    assert!(it.0.heartbeat(start + TTL / 2).is_some());

    let mut it = Sotw::default();
    it.ask(Secret, &["a", "b"], &view);
    let first = it.next(&view).unwrap();
    let version = sotw_message(&first).version_info;
    let mut again = Sotw::default();
    let request = SotwRequest { names: strings(&["a", "b"]), version, ..SotwRequest::default() };
    again.0.on_request(Secret, request, &view);
    assert!(again.next(&view).is_none(), "it has everything");
    assert!(again.0.heartbeat(start).is_some());
}

/// Else a server that is started again without the limit, and sends nothing since nothing has changed, would let everything end.
#[test]
fn the_time_is_a_part_of_the_version() {
    let versions = [restatable("a", "1"), restatable("a", "1").with_ttl(TTL), restatable("a", "1").with_ttl(TTL * 2)];
    let versions = versions.map(|resource| resource.version());
    assert!(versions[0] != versions[1] && versions[1] != versions[2]);
}
