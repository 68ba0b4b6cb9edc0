//! Who has what everyone should have, and why not.

use super::*;

fn ask(books: &Books, version: Version) -> Adoption {
    books.fleet.adoption(Secret, "ROOTCA", |_| Some(version))
}

#[test]
fn everyone_missing_is_named_with_the_reason() {
    let books = Books::new();
    let (old, new) = (view([secret("ROOTCA", "1")]), view([secret("ROOTCA", "2")]));
    let names = ["ns/done", "ns/flight", "ns/held", "ns/refused", "ns/silent"];
    let mut streams: Vec<_> = names.iter().map(|name| books.join(name)).collect();
    for stream in &mut streams[..4] {
        stream.subscribe(Secret, &["ROOTCA"], &old);
        stream.drain(&old);
    }
    streams[0].drain(&new);
    let since = books.at(2_000);
    let _waiting = streams[1].next(&new).unwrap();
    let refused = streams[3].next(&new).unwrap();
    streams[3].nack(&refused, "no", &new);
    books.at(2_005);
    let adoption = ask(&books, version(&new, "ROOTCA"));
    assert_eq!((adoption.acknowledged, adoption.is_complete()), (1, false));
    let reasons: Vec<_> = adoption.missing.iter().map(|it| (it.description.workload.as_str(), &it.reason)).collect();
    assert!(matches!(reasons[0], ("ns/flight", Reason::InFlight { since: at }) if *at == since), "{reasons:?}");
    assert!(
        matches!(reasons[1], ("ns/held", Reason::Holds(Some(event))) if event.version == version(&old, "ROOTCA")),
        "{reasons:?}"
    );
    assert!(matches!(reasons[2], ("ns/refused", Reason::Rejected(refusal)) if &*refusal.error == "no"), "{reasons:?}");
    assert!(matches!(reasons[3], ("ns/silent", Reason::NotSubscribed)), "{reasons:?}");
    // And a client that asked for other secrets only.
    streams[4].subscribe(Secret, &["other"], &new);
    streams[4].drain(&new);
    assert!(matches!(ask(&books, version(&new, "ROOTCA")).missing[3].reason, Reason::NotSubscribed));
}

#[test]
fn each_workload_may_be_expected_to_have_a_version_of_its_own() {
    let books = Books::new();
    let views: Vec<_> = ["a", "b"].iter().map(|content| view([secret("default", content)])).collect();
    let mut streams: Vec<_> = ["ns/a", "ns/b"].iter().map(|name| books.join(name)).collect();
    for (stream, view) in streams.iter_mut().zip(&views) {
        stream.subscribe(Secret, &["default"], view);
        stream.drain(view);
    }
    let own = |who: &Description| Some(version(&views[usize::from(who.workload == "ns/b")], "default"));
    assert!(books.fleet.adoption(Secret, "default", own).is_complete());
    let of_a = |_: &Description| Some(version(&views[0], "default"));
    assert_eq!(books.fleet.adoption(Secret, "default", of_a).missing.len(), 1);
    let only_a = |who: &Description| (who.workload == "ns/a").then(|| version(&views[0], "default"));
    assert!(books.fleet.adoption(Secret, "default", only_a).is_complete());
    assert!(books.fleet.acknowledged("ns/a", Secret, "default", version(&views[0], "default")));
    assert!(!books.fleet.acknowledged("ns/b", Secret, "default", version(&views[0], "default")));
    assert!(!books.fleet.acknowledged("ns/none", Secret, "default", version(&views[0], "default")));
}

#[test]
fn a_stream_that_connected_after_the_question_is_told_apart() {
    let books = Books::new();
    let now = view([secret("ROOTCA", "1")]);
    let mut early = books.join("ns/a");
    early.subscribe(Secret, &["ROOTCA"], &now);
    early.drain(&now);
    let asked = books.at(2_000);
    books.at(2_001);
    let _late = books.join("ns/b");
    let adoption = ask(&books, version(&now, "ROOTCA"));
    assert_eq!(adoption.missing.len(), 1);
    assert_eq!(adoption.missing_since(asked).count(), 0);
}

#[test]
fn who_is_gone_was_last_seen_then_with_these_secrets() {
    let books = Books::new();
    let now = view([secret("ROOTCA", "1")]);
    let mut it = books.join("ns/a");
    it.subscribe(Secret, &["ROOTCA"], &now);
    it.drain(&now);
    let left = books.at(3_000);
    drop(it);
    books.at(4_000);
    let adoption = ask(&books, version(&now, "ROOTCA"));
    assert!(adoption.is_complete());
    let [gone] = adoption.gone.as_slice() else { panic!("{adoption:?}") };
    assert_eq!((gone.description.workload.as_str(), gone.last_seen), ("ns/a", left));
    let [(name, held)] = gone.secrets.as_slice() else { panic!("{gone:?}") };
    assert_eq!((&**name, *held), ("ROOTCA", version(&now, "ROOTCA")));
    // Back again, it is not among the gone.
    let _back = books.join("ns/a");
    assert!(ask(&books, version(&now, "ROOTCA")).gone.is_empty());
}

#[test]
fn the_record_of_the_departed_is_bounded_and_says_what_it_has_given_up() {
    let books = Books::new();
    for n in 0..16 * 1024 + 3 {
        drop(books.join(&format!("ns/{n}")));
    }
    drop(books.join("ns/16386"));
    let adoption = ask(&books, Version::of(b""));
    assert_eq!((adoption.gone.len(), adoption.forgotten), (16 * 1024, 3));
    assert_eq!(adoption.gone[0].description.workload, "ns/3");
}

#[test]
fn answers_wake_whoever_waits() {
    let books = Books::new();
    let now = view([secret("ROOTCA", "1")]);
    let mut answers = books.fleet.answers();
    let mut it = books.join("ns/a");
    it.subscribe(Secret, &["ROOTCA"], &now);
    assert!(!answers.has_changed().unwrap(), "a subscription is no answer");
    it.drain(&now);
    assert!(answers.has_changed().unwrap());
    answers.mark_unchanged();
    drop(it);
    assert!(answers.has_changed().unwrap());
}
