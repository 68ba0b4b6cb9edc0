//! What a client's stream leaves to its next.

use super::*;

fn again(it: &Delta) -> Delta {
    Delta(Session::new(it.0.memory()))
}

fn sotw_again(it: &Sotw) -> Sotw {
    Sotw(Session::new(it.0.memory()))
}

#[test]
fn a_stream_without_incidents_leaves_nothing() {
    let view = view([resource(Secret, "a", "1"), resource(Cluster, "c", "1")]);
    let (mut delta, mut sotw) = (Delta::default(), Sotw::default());
    delta.ask(Secret, &["a", "absent"], &[], &view);
    delta.ask(Cluster, &[], &[], &view);
    delta.drain(&view);
    sotw.ask(Secret, &["a", "absent"], &view);
    sotw.drain(&["a", "absent"], &view);
    assert!(delta.0.memory().is_empty() && sotw.0.memory().is_empty());
}

#[test]
fn a_sotw_client_that_let_a_name_go_is_not_believed_to_have_it() {
    let view = view([restatable("a", "1"), restatable("b", "1")]);
    let mut it = Sotw::default();
    it.ask(Secret, &["a", "b"], &view);
    let both = it.next(&view).unwrap();
    let version = sotw_message(&both).version_info;
    it.ack(&both, &["a", "b"], &view);
    assert!(matches!(sotw_again(&it).hello(Secret, &["a", "b"], &version, &view), Outcome::Resumed(_)));
    // It drops one and asks for it again, and the stream ends before it has it. The version that it names is still the same.
    it.ack(&both, &["a"], &view);
    it.ack(&both, &["a", "b"], &view);
    it.next(&view).unwrap();
    let mut next = sotw_again(&it);
    assert!(matches!(next.hello(Secret, &["a", "b"], &version, &view), Outcome::Request));
    let first = next.next(&view).unwrap();
    // Nor is it on the stream after that, before it has taken something.
    assert!(matches!(sotw_again(&next).hello(Secret, &["a", "b"], &version, &view), Outcome::Request));
    next.ack(&first, &["a", "b"], &view);
    let others = next.drain(&["a", "b"], &view);
    assert_eq!([contents(&first), others].concat(), ["a=1", "b=1"]);
    assert!(matches!(sotw_again(&next).hello(Secret, &["a", "b"], &version, &view), Outcome::Resumed(_)));
}

#[test]
fn a_secret_that_was_refused_comes_in_other_bytes_on_each_stream() {
    let view = view([restatable("a", "1")]);
    let mut it = Delta::default();
    it.ask(Secret, &["a"], &[], &view);
    for lines in 0..4 {
        let response = it.next(&view).unwrap();
        let value = &delta_message(&response).resources[0].resource.clone().unwrap().value;
        assert_eq!(String::from_utf8_lossy(value), format!("1{}", "\n".repeat(lines)));
        it.nack(&response, &view);
        assert!(it.next(&view).is_none());
        it = again(&it);
        it.hello(Secret, &["a"], &BTreeMap::new(), &view);
    }
    let mut sotw = Sotw::default();
    sotw.ask(Secret, &["a"], &view);
    for lines in 0..4 {
        let response = sotw.next(&view).unwrap();
        let value = &sotw_message(&response).resources[0].value;
        assert_eq!(String::from_utf8_lossy(value), format!("1{}", "\n".repeat(lines)));
        // The stream may end before the refusal is here.
        if lines % 2 == 0 {
            sotw.nack(&response, &["a"], &view);
        }
        sotw = sotw_again(&sotw);
        sotw.hello(Secret, &["a"], "", &view);
    }
    // Taken in the end: forgotten.
    let response = sotw.next(&view).unwrap();
    sotw.ack(&response, &["a"], &view);
    assert!(sotw.0.memory().is_empty());
}

#[test]
fn a_refused_secret_that_cannot_be_restated_stays_refused() {
    let (before, after) = (view([resource(Secret, "a", "1")]), view([resource(Secret, "a", "2")]));
    let mut it = Delta::default();
    it.ask(Secret, &["a"], &[], &before);
    let response = it.next(&before).unwrap();
    it.nack(&response, &before);
    let mut next = again(&it);
    next.hello(Secret, &["a"], &BTreeMap::new(), &before);
    assert!(next.next(&before).is_none());
    assert_eq!(next.next(&after).map(|it| contents(&it)), Some(vec!["a=2".to_owned()]));
}

#[test]
fn what_a_client_may_have_taken_of_a_refused_response_is_put_right() {
    let both = |a: &str, b: &str| view([resource(Cluster, "a", a), resource(Cluster, "b", b)]);
    let (before, after) = (both("1", "1"), both("2", "bad"));
    let mut it = Delta::default();
    it.ask(Cluster, &[], &[], &before);
    it.drain(&before);
    let versions = |view: &View| {
        let all = view.resources(Cluster).map(|it| (it.name().to_string(), it.version().to_string()));
        all.collect::<BTreeMap<_, _>>()
    };
    let response = it.next(&after).unwrap();
    it.nack(&response, &after);
    // Envoy runs a=2 now, and says on its next stream that it has a=1.
    let mut next = again(&it);
    next.hello(Cluster, &[], &versions(&before), &before);
    assert_eq!(next.drain(&before), ["a=1", "b=1"]);
    // And the same on this stream.
    assert_eq!(it.drain(&before), ["a=1", "b=1"]);
    // What is gone by then, it is told so.
    let mut it = Delta::default();
    it.ask(Cluster, &[], &[], &view([]));
    it.drain(&view([]));
    let response = it.next(&after).unwrap();
    it.nack(&response, &after);
    let mut next = again(&it);
    next.hello(Cluster, &[], &BTreeMap::new(), &view([]));
    assert_eq!(next.drain(&view([])), ["-a", "-b"]);
}

#[test]
fn a_sotw_client_that_may_have_taken_a_part_of_a_refused_list_is_given_the_list_again() {
    let view_of = |clusters: &[(&str, &str)]| view(clusters.iter().map(|(name, it)| resource(Cluster, name, it)));
    let (good, bad) = (view_of(&[("a", "1")]), view_of(&[("a", "2"), ("b", "bad")]));
    let mut it = Sotw::default();
    it.ask(Cluster, &[], &good);
    it.drain(&[], &good);
    let refused = it.next(&bad).unwrap();
    it.nack(&refused, &[], &bad);
    assert!(it.next(&bad).is_none());
    assert_eq!(it.drain(&[], &good), ["a=1"]);
}

/// Envoy takes the bytes that it has refused without effect when they come again. What was on its way when the stream ended it may never
/// have seen, so what it refused before that counts too.
#[test]
fn a_refusal_is_remembered_beside_what_was_on_its_way_after_it() {
    let secret = |content| view([restatable("a", content)]);
    let (bad, other) = (secret("bad"), secret("other"));
    let mut it = Sotw::default();
    it.ask(Secret, &["a"], &bad);
    let first = it.next(&bad).unwrap();
    it.nack(&first, &["a"], &other);
    it.next(&other).unwrap();
    for now in [&bad, &other] {
        let mut next = sotw_again(&it);
        next.ask(Secret, &["a"], now);
        let again = sotw_message(&next.next(now).unwrap());
        let fresh = sotw_message(&{
            let mut fresh = Sotw::default();
            fresh.ask(Secret, &["a"], now);
            fresh.next(now).unwrap()
        });
        assert_eq!(again.resources[0].value.len(), fresh.resources[0].value.len() + 1, "in other bytes");
    }
}
