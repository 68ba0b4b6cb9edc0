//! Refusals.

use super::*;

fn numbered(make: impl Fn(&str) -> Resource, count: usize) -> View {
    view((0..count).map(|n| make(&format!("n{n:03}"))))
}

/// How a client that refuses every response that `is_bad` gets on: the number of responses, what it took, and what it refused alone.
fn settle(
    it: &mut Delta,
    view: &View,
    is_bad: impl Fn(&str) -> bool,
) -> (usize, BTreeMap<String, String>, Vec<String>) {
    let (mut responses, mut took, mut refused) = (0, BTreeMap::new(), Vec::new());
    while let Some(response) = it.next(view) {
        responses += 1;
        let names: Vec<_> = response.contents.iter().map(|(name, _)| name.to_string()).collect();
        if names.iter().any(|name| is_bad(name)) {
            if let [alone] = names.as_slice() {
                refused.push(alone.clone());
            }
            it.nack(&response, view);
        } else {
            took.extend(names.into_iter().map(|name| (name, String::new())));
            it.ack(&response, view);
        }
    }
    (responses, took, refused)
}

#[test]
fn a_refused_multi_resource_response_is_divided_in_halves() {
    let view = numbered(|name| resource(Cluster, name, "1"), 64);
    let mut it = Delta::default();
    it.ask(Cluster, &[], &[], &view);
    let (responses, took, refused) = settle(&mut it, &view, |name| name == "n041");
    assert_eq!((took.len(), refused), (63, vec!["n041".to_owned()]));
    // The whole, then two halves at each of six levels.
    assert_eq!(responses, 1 + 2 * 6);
    assert!(it.next(&view).is_none(), "what was refused does not come again");
}

#[test]
fn secrets_that_cannot_be_restated_travel_alone_so_a_refusal_names_one() {
    let view = view(
        (0..5)
            .map(|n| resource(Secret, &format!("file-{n}"), "1"))
            .chain([restatable("default", "1"), restatable("ROOTCA", "1")]),
    );
    let mut it = Delta::default();
    let names: Vec<_> = view.resources(Secret).map(|it| it.name().to_string()).collect();
    it.ask(Secret, &names.iter().map(String::as_str).collect::<Vec<_>>(), &[], &view);
    let first = it.next(&view).unwrap();
    assert_eq!(contents(&first), ["ROOTCA=1", "default=1"]);
    it.ack(&first, &view);
    let (responses, took, refused) = settle(&mut it, &view, |name| name == "file-3");
    assert_eq!((responses, took.len(), refused), (5, 4, vec!["file-3".to_owned()]));
}

/// Envoy takes the bytes it has just refused without effect, so a second trial has others.
#[test]
fn secrets_of_a_refused_response_come_one_by_one_in_other_bytes() {
    let view = numbered(|name| restatable(name, "1"), 51);
    let names: Vec<_> = view.resources(Secret).map(|it| it.name().to_string()).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let values = |response: &Response| {
        let message = delta_message(response);
        message.resources.into_iter().map(|it| (it.name, it.resource.unwrap().value)).collect::<Vec<_>>()
    };
    let mut it = Delta::default();
    it.ask(Secret, &names, &[], &view);
    let all = it.next(&view).unwrap();
    assert_eq!(all.contents.len(), 51);
    it.nack(&all, &view);
    let refused = values(&all);
    let mut bad = Vec::new();
    let mut took = 0;
    while let Some(response) = it.next(&view) {
        let one = values(&response);
        assert!(one.len() == 1 && !refused.contains(&one[0]), "{one:?}");
        assert_eq!(
            delta_message(&response).resources[0].version,
            view.get(Secret, &one[0].0).unwrap().version().to_string()
        );
        if one[0].0 == "n013" {
            bad.push(one[0].0.clone());
            it.nack(&response, &view);
        } else {
            took += 1;
            it.ack(&response, &view);
        }
    }
    assert_eq!((took, bad), (50, vec!["n013".to_owned()]));

    // In the other variant the same.
    let mut sotw = Sotw::default();
    sotw.ask(Secret, &names, &view);
    let all = sotw.next(&view).unwrap();
    sotw.nack(&all, &names, &view);
    let one = sotw.next(&view).unwrap();
    assert_eq!(one.contents.len(), 1);
    assert!(sotw_message(&one).resources[0].value.ends_with(b"\n"));
}

#[test]
fn new_content_of_a_suspect_is_no_longer_suspect() {
    let before = numbered(|name| restatable(name, "1"), 3);
    let after = numbered(|name| restatable(name, "2"), 3);
    let mut it = Delta::default();
    it.ask(Secret, &["n000", "n001", "n002"], &[], &before);
    let all = it.next(&before).unwrap();
    it.nack(&all, &before);
    assert_eq!(it.drain(&after), ["n000=2", "n001=2", "n002=2"]);
}

#[test]
fn refused_content_does_not_come_again_even_after_other_content_was_shown() {
    let (good, bad) = (view([restatable("a", "1")]), view([restatable("a", "2")]));
    let mut it = Delta::default();
    it.ask(Secret, &["a"], &[], &good);
    it.drain(&good);
    let refused = it.next(&bad).unwrap();
    it.nack(&refused, &bad);
    assert!(it.next(&bad).is_none());
    // The client has the good one still.
    assert!(it.next(&good).is_none());
    assert!(it.next(&bad).is_none());
    // Who asks anew has dropped what it had, and what it knew.
    it.ask(Secret, &["a"], &[], &bad);
    assert_eq!(it.next(&bad).map(|it| contents(&it)), Some(vec!["a=2".to_owned()]));
}

#[test]
fn a_refusal_while_the_interest_changes_concerns_what_is_still_wanted() {
    let view = numbered(|name| restatable(name, "1"), 3);
    let mut it = Delta::default();
    it.ask(Secret, &["n000", "n001"], &[], &view);
    let all = it.next(&view).unwrap();
    let request = DeltaRequest {
        nonce: all.nonce.to_string(),
        error: Some("no".into()),
        subscribe: strings(&["n002"]),
        unsubscribe: strings(&["n000"]),
        ..DeltaRequest::default()
    };
    assert!(matches!(it.0.on_request(Secret, request, &view), Outcome::Rejected { error, .. } if error == "no"));
    let next = it.next(&view).unwrap();
    assert_eq!(contents(&next), ["n002=1"]);
    it.ack(&next, &view);
    let suspect = it.next(&view).unwrap();
    assert_eq!(suspect.contents[0].0.as_ref(), "n001");
    it.ack(&suspect, &view);
    assert!(it.next(&view).is_none());
}

/// Half a list would delete the other half. Envoy takes the good ones of a refused list, so nothing is lost by waiting.
#[test]
fn a_refused_sotw_list_waits_as_a_whole_for_its_next_version() {
    let with = |a: &str| view([resource(Cluster, "a", a), resource(Cluster, "b", "1")]);
    let mut it = Sotw::default();
    it.ask(Cluster, &[], &with("1"));
    it.drain(&[], &with("1"));
    let refused = it.next(&with("2")).unwrap();
    it.nack(&refused, &[], &with("2"));
    assert!(it.next(&with("2")).is_none());
    assert_eq!(it.drain(&[], &with("3")), ["a=3", "b=1"]);
}

#[test]
fn clusters_and_listeners_refused_for_a_bad_secret_come_again_when_it_is_replaced() {
    let with = |secret: &str| {
        view([
            resource(Cluster, "c", "1"),
            resource(Cluster, "d", "1"),
            resource(Listener, "l", "1"),
            resource(Secret, "s", secret),
        ])
    };
    let (bad, mended) = (with("1"), with("2"));
    let mut delta = Delta::default();
    delta.ask(Cluster, &[], &[], &bad);
    delta.ask(Secret, &["s"], &[], &bad);
    delta.ask(Listener, &[], &[], &bad);
    let mut nonces = Vec::new();
    while let Some(response) = delta.next(&bad) {
        nonces.push((response.ty, response.nonce));
        delta.nack(&response, &bad);
    }
    let secret = delta.next(&mended).unwrap();
    assert_eq!(contents(&secret), ["s=2"]);
    assert!(delta.next(&mended).is_none(), "not before the new one is acknowledged");
    delta.ack(&secret, &mended);
    let again = delta.next(&mended).unwrap();
    assert_eq!(contents(&again), ["c=1", "d=1"]);
    assert!(!nonces.contains(&(again.ty, again.nonce)));
    delta.ack(&again, &mended);
    assert_eq!(delta.drain(&mended), ["l=1"]);

    let mut sotw = Sotw::default();
    sotw.ask(Cluster, &[], &bad);
    sotw.ask(Secret, &["s"], &bad);
    sotw.ask(Listener, &[], &bad);
    while let Some(response) = sotw.next(&bad) {
        let names: &[&str] = if response.ty == Secret { &["s"] } else { &[] };
        sotw.nack(&response, names, &bad);
    }
    let secret = sotw.next(&mended).unwrap();
    assert_eq!(contents(&secret), ["s=2"]);
    sotw.ack(&secret, &["s"], &mended);
    let again = sotw.next(&mended).unwrap();
    assert_eq!((contents(&again).join(" "), again.nonce), ("c=1 d=1".to_owned(), 2));
    sotw.ack(&again, &[], &mended);
    assert_eq!(sotw.drain(&[], &mended), ["l=1"]);
}

#[test]
fn a_secret_that_is_new_to_the_client_mends_nothing() {
    let view = view([resource(Cluster, "c", "1"), restatable("s", "1")]);
    let mut it = Delta::default();
    it.ask(Cluster, &[], &[], &view);
    let refused = it.next(&view).unwrap();
    it.nack(&refused, &view);
    it.ask(Secret, &["s"], &[], &view);
    assert_eq!(it.drain(&view), ["s=1"]);
}

#[test]
fn two_refused_lists_do_not_take_turns() {
    // With what is to be removed, and without: both hold the bad one.
    let before = view([resource(Cluster, "a", "1"), resource(Cluster, "b", "1")]);
    let after = view([resource(Cluster, "a", "bad")]);
    let mut it = Sotw::default();
    it.ask(Cluster, &[], &before);
    it.drain(&[], &before);
    for list in [&["a=bad", "b=1"][..], &["a=bad"]] {
        let response = it.next(&after).unwrap();
        assert_eq!(contents(&response), list);
        it.nack(&response, &[], &after);
    }
    assert!(it.next(&after).is_none());
}

/// Under a wildcard a client keeps what it has when it lets a name go, and a secret that it holds as bad it takes without effect when the
/// same bytes come again.
#[test]
fn a_refused_secret_does_not_come_again_for_a_name_that_is_let_go_under_a_star() {
    let view = view([restatable("bad", "1")]);
    let mut it = Delta::default();
    it.ask(Secret, &["*", "bad"], &[], &view);
    let response = it.next(&view).unwrap();
    it.nack(&response, &view);
    it.ask(Secret, &[], &["bad"], &view);
    assert!(it.next(&view).is_none());
    let mended = super::view([restatable("bad", "2")]);
    assert_eq!(it.drain(&mended), ["bad=2"]);
}
