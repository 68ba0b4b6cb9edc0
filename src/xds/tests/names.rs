//! Names: asked for, given up, not there, not yet there, and stale.

use super::*;

#[test]
fn a_name_subscribed_again_is_sent_again() {
    let (view, mut it) = (view([restatable("a", "1"), restatable("b", "1")]), Delta::default());
    it.ask(Secret, &["a", "b"], &[], &view);
    it.drain(&view);
    it.ask(Secret, &["a"], &[], &view);
    assert_eq!(it.drain(&view), ["a=1"]);
    it.ask(Secret, &["b"], &["b"], &view);
    it.ask(Secret, &["b", "b"], &[], &view);
    assert_eq!(it.drain(&view), ["b=1"]);
}

#[test]
fn a_name_that_does_not_exist_is_removed_at_once_in_delta_and_left_out_in_sotw() {
    let view = view([restatable("a", "1")]);
    let mut delta = Delta::default();
    delta.ask(Secret, &["a", "none"], &[], &view);
    assert_eq!(delta.drain(&view), ["a=1", "-none"]);
    let mut sotw = Sotw::default();
    sotw.ask(Secret, &["a", "none"], &view);
    assert_eq!(sotw.drain(&["a", "none"], &view), ["a=1"]);
    let mut nothing = Sotw::default();
    nothing.ask(Secret, &["none"], &view);
    assert!(nothing.next(&view).is_none());
}

#[test]
fn a_secret_in_preparation_is_waited_for() {
    let pending = View::new(&[Arc::new(Layer::pending(Secret, ["a".into()]))]);
    let there = view([restatable("a", "1")]);
    let (mut delta, mut sotw) = (Delta::default(), Sotw::default());
    delta.ask(Secret, &["a"], &[], &pending);
    sotw.ask(Secret, &["a"], &pending);
    assert!(delta.next(&pending).is_none() && sotw.next(&pending).is_none());
    assert_eq!(delta.drain(&there), ["a=1"]);
    assert_eq!(sotw.drain(&["a"], &there), ["a=1"]);
    // One that was there and is being prepared anew stays as it is; then it has gone for good.
    assert!(delta.next(&pending).is_none());
    assert_eq!(delta.drain(&view([])), ["-a"]);
}

#[test]
fn a_removed_resource_is_told_once_and_comes_back() {
    let (there, gone) = (view([restatable("a", "1")]), view([]));
    let mut it = Delta::default();
    it.ask(Secret, &["a"], &[], &there);
    it.drain(&there);
    assert_eq!(it.drain(&gone), ["-a"]);
    assert_eq!(it.drain(&gone), [""; 0]);
    assert_eq!(it.drain(&there), ["a=1"]);
}

#[test]
fn an_answer_to_an_older_nonce_is_stale_but_its_subscriptions_count_in_delta() {
    let view = view([restatable("a", "1"), restatable("b", "1")]);
    let mut it = Delta::default();
    it.ask(Secret, &["a"], &[], &view);
    let first = it.next(&view).unwrap();
    it.ack(&first, &view);
    it.ask(Secret, &["a"], &[], &view);
    let second = it.next(&view).unwrap();
    let late = DeltaRequest {
        nonce: first.nonce.to_string(),
        error: Some("late".into()),
        subscribe: strings(&["b"]),
        ..DeltaRequest::default()
    };
    assert!(matches!(it.0.on_request(Secret, late, &view), Outcome::Stale));
    assert!(it.next(&view).is_none(), "one response in flight");
    assert!(matches!(it.ack(&second, &view), Outcome::Acknowledged(_)));
    assert_eq!(it.drain(&view), ["b=1"]);
}

#[test]
fn a_stale_request_is_dropped_whole_in_sotw() {
    let before = view([restatable("a", "1"), restatable("b", "1")]);
    let after = view([restatable("a", "2"), restatable("b", "1")]);
    let mut it = Sotw::default();
    it.ask(Secret, &["a"], &before);
    let first = it.next(&before).unwrap();
    it.ack(&first, &["a"], &before);
    let second = it.next(&after).unwrap();
    assert!(matches!(it.ack(&first, &["a", "b"], &after), Outcome::Stale));
    it.ack(&second, &["a"], &after);
    assert_eq!(it.drain(&["a"], &after), [""; 0]);
}

#[test]
fn two_quick_lists_without_a_nonce_are_both_answered() {
    let view = view([restatable("a", "1"), restatable("b", "1")]);
    let mut it = Sotw::default();
    it.ask(Secret, &["a"], &view);
    let first = it.next(&view).unwrap();
    it.ask(Secret, &["a", "b"], &view);
    assert!(it.next(&view).is_none(), "one response in flight");
    assert!(matches!(it.ack(&first, &["a", "b"], &view), Outcome::Acknowledged(_)));
    assert_eq!(it.drain(&["a", "b"], &view), ["b=1"]);
}

#[test]
fn what_is_unsubscribed_before_it_is_sent_is_not_sent() {
    let (old, new) =
        (view([restatable("a", "1"), restatable("b", "1")]), view([restatable("a", "2"), restatable("b", "2")]));
    let mut delta = Delta::default();
    delta.ask(Secret, &["a", "b"], &[], &old);
    delta.drain(&old);
    delta.ask(Secret, &[], &["a"], &new);
    assert_eq!(delta.drain(&new), ["b=2"]);
    let mut sotw = Sotw::default();
    sotw.ask(Secret, &["a", "b"], &old);
    sotw.drain(&["a", "b"], &old);
    sotw.ask(Secret, &["b"], &new);
    assert_eq!(sotw.drain(&["b"], &new), ["b=2"]);
}

#[test]
fn a_list_that_adds_names_is_answered_and_one_that_only_removes_is_not() {
    let secrets = view([restatable("a", "1"), restatable("b", "1")]);
    let mut it = Sotw::default();
    it.ask(Secret, &["a"], &secrets);
    it.drain(&["a"], &secrets);
    it.ask(Secret, &["a", "b"], &secrets);
    assert_eq!(it.drain(&["a", "b"], &secrets), ["b=1"]);
    it.ask(Secret, &["a"], &secrets);
    assert!(it.next(&secrets).is_none());
    let clusters = view([resource(Cluster, "a", "1"), resource(Cluster, "b", "1")]);
    it.ask(Cluster, &["a", "b"], &clusters);
    it.drain(&["a", "b"], &clusters);
    it.ask(Cluster, &["b"], &clusters);
    assert!(it.next(&clusters).is_none());
}

#[test]
fn a_sotw_sds_response_holds_only_what_changed() {
    let before = view([restatable("a", "1"), restatable("b", "1")]);
    let mut it = Sotw::default();
    it.ask(Secret, &["a", "b"], &before);
    assert_eq!(it.drain(&["a", "b"], &before), ["a=1", "b=1"]);
    let after = view([restatable("a", "1"), restatable("b", "2")]);
    assert_eq!(it.drain(&["a", "b"], &after), ["b=2"]);
}

#[test]
fn changes_while_a_response_is_in_flight_coalesce() {
    let versions: Vec<_> = (0..4).map(|n| view([restatable("a", &n.to_string())])).collect();
    let mut it = Delta::default();
    it.ask(Secret, &["a"], &[], &versions[0]);
    let first = it.next(&versions[0]).unwrap();
    assert!(versions.iter().all(|view| it.next(view).is_none()));
    it.ack(&first, &versions[3]);
    assert_eq!(it.drain(&versions[3]), ["a=3"]);
}

#[test]
fn a_change_that_leaves_the_bytes_the_same_sends_nothing() {
    let same = || view([resource(Cluster, "a", "1")]);
    let (mut delta, mut sotw) = (Delta::default(), Sotw::default());
    delta.ask(Cluster, &[], &[], &same());
    sotw.ask(Cluster, &[], &same());
    delta.drain(&same());
    sotw.drain(&[], &same());
    assert!(delta.next(&same()).is_none() && sotw.next(&same()).is_none());
}
