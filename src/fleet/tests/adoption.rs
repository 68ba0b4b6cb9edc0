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
    let adoption = ask(&books, version(&new, "ROOTCA"));
    assert_eq!(adoption.missing.len(), 3);
    assert_eq!(adoption.unused.iter().map(|who| who.workload.as_str()).collect::<Vec<_>>(), ["ns/silent"]);
}

/// A client of secrets alone may have a stream for each of them, and each stream knows of its own only.
#[test]
fn of_a_client_with_a_stream_for_each_secret_the_one_that_asks_counts() {
    let books = Books::new();
    let now = view([secret("ROOTCA", "1"), secret("default", "1")]);
    let mut streams = [books.join("ns/a"), books.join("ns/a")];
    for (stream, name) in streams.iter_mut().zip(["ROOTCA", "default"]) {
        stream.subscribe(Secret, &[name], &now);
        stream.drain(&now);
    }
    let adoption = ask(&books, version(&now, "ROOTCA"));
    assert!(adoption.is_complete() && adoption.unused.is_empty() && adoption.acknowledged == 1, "{adoption:?}");
    assert!(books.fleet.acknowledged("ns/a", Secret, &[("ROOTCA".into(), version(&now, "ROOTCA"))]));
    assert!(
        !books.fleet.acknowledged("ns/a", Secret, &[("ALL".into(), version(&now, "ROOTCA"))]),
        "nobody has asked for it"
    );
    let newer = view([secret("ROOTCA", "2"), secret("default", "1")]);
    let adoption = ask(&books, version(&newer, "ROOTCA"));
    assert_eq!(adoption.missing.len(), 1, "the other stream is not waited for: {adoption:?}");
    assert!(!books.fleet.acknowledged("ns/a", Secret, &[("ROOTCA".into(), version(&newer, "ROOTCA"))]));
    streams[0].drain(&newer);
    assert!(ask(&books, version(&newer, "ROOTCA")).is_complete());
}

/// What a client does not ask for, it does not use; but first it has to have had the time, and all that could make it ask.
#[test]
fn who_does_not_use_a_secret_is_told_apart_from_who_has_not_asked_yet() {
    use ResourceType::{Cluster, Listener};
    let books = Books::new();
    let all = view([
        secret("ROOTCA", "1"),
        secret("default", "1"),
        Resource::new(Cluster, "c", b"1"),
        Resource::new(Listener, "l", b"1"),
    ]);
    let names = ["ns/ads", "ns/clusters", "ns/connected", "ns/fresh", "ns/secrets"];
    let [mut ads, mut clusters, _connected, mut fresh, mut secrets] = names.map(|name| books.join(name));
    clusters.subscribe(Cluster, &[], &all);
    clusters.drain(&all);
    for ty in [Cluster, Listener] {
        ads.subscribe(ty, &[], &all);
        ads.drain(&all);
    }
    secrets.subscribe(Secret, &["default"], &all);
    secrets.drain(&all);
    let told = || {
        let adoption = ask(&books, version(&all, "ROOTCA"));
        let missing: Vec<_> = adoption.missing.iter().map(|it| it.description.workload.clone()).collect();
        let unused: Vec<_> = adoption.unused.iter().map(|it| it.workload.clone()).collect();
        (missing.join(" "), unused.join(" "))
    };
    assert_eq!(told(), (names.join(" "), String::new()), "nobody has had the time");
    books.at(1_016);
    // Envoy asks for listeners when its clusters are there, and each may need secrets.
    assert_eq!(told(), ("ns/clusters ns/connected ns/fresh".into(), "ns/ads ns/secrets".into()));
    // A listener that is not acknowledged may ask for what none has asked for so far.
    fresh.subscribe(Cluster, &[], &all);
    fresh.drain(&all);
    fresh.subscribe(Listener, &[], &all);
    let listener = fresh.next(&all).unwrap();
    assert_eq!(told().1, "ns/ads ns/secrets");
    fresh.ack(&listener, &all);
    assert_eq!(told().1, "ns/ads ns/fresh ns/secrets");
}

/// The quick looks say the same as the copies.
#[test]
fn a_look_at_a_stream_is_what_its_record_says() {
    let books = Books::new();
    let (one, two) = (view(["a", "b"].map(|name| secret(name, "1"))), view(["a", "b"].map(|name| secret(name, "2"))));
    let mut it = books.join("ns/a");
    let check = |what: &str| {
        books.fleet.look(|stream| {
            let record = stream.record();
            for ty in ResourceType::ALL {
                assert_eq!(stream.state(ty), record.of(ty).state(), "{what}: {ty}");
                let names =
                    |it: &std::collections::BTreeMap<Arc<str>, ResourceRecord>| it.keys().cloned().collect::<Vec<_>>();
                assert_eq!(names(&stream.resources(ty)), names(&record.of(ty).resources), "{what}: {ty}");
                for name in ["a", "b", "none"] {
                    let (quick, copied) = (stream.resource(ty, name), record.of(ty).resources.get(name));
                    assert_eq!(
                        quick.map(|it| it.acknowledged),
                        copied.map(|it| it.acknowledged.clone()),
                        "{what}: {name}"
                    );
                }
            }
            None::<()>
        });
    };
    check("nothing asked");
    it.subscribe(Secret, &["a", "b"], &one);
    check("asked");
    let response = it.next(&one).unwrap();
    check("sent");
    it.ack(&response, &one);
    it.drain(&one);
    check("in step");
    let response = it.next(&two).unwrap();
    check("a change on its way");
    it.nack(&response, "no", &two);
    check("refused");
    it.drain(&two);
    check("in step again");
    it.drain(&view([secret("a", "3")]));
    check("one is gone");
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
    assert!(books.fleet.acknowledged("ns/a", Secret, &[("default".into(), version(&views[0], "default"))]));
    assert!(!books.fleet.acknowledged("ns/b", Secret, &[("default".into(), version(&views[0], "default"))]));
    assert!(!books.fleet.acknowledged("ns/none", Secret, &[("default".into(), version(&views[0], "default"))]));
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

/// What was acknowledged is not what the client will have, while it is sent something else under the name.
#[test]
fn a_version_that_is_being_replaced_is_lacked_until_it_is_sent_and_taken_again() {
    let books = Books::new();
    let (one, two) = (view([secret("ROOTCA", "1")]), view([secret("ROOTCA", "2")]));
    let mut stream = books.join("ns/a");
    let lacks = |view: &View| {
        let (now, version) = (books.fleet.look(|it| Some(it.has_had_time(books.at(1_015)))), version(view, "ROOTCA"));
        assert_eq!(now, [false]);
        books.fleet.look(|it| Some(it.lacks(Secret, "ROOTCA", version))).remove(0)
    };
    assert!(matches!(lacks(&one), Some(Reason::NotSubscribed)));
    stream.subscribe(Secret, &["ROOTCA"], &one);
    stream.drain(&one);
    assert!(lacks(&one).is_none());
    let replacing = stream.next(&two).unwrap();
    assert!(matches!(lacks(&one), Some(Reason::InFlight { .. })), "{:?}", lacks(&one));
    assert!(matches!(lacks(&two), Some(Reason::InFlight { .. })));
    assert_eq!(books.fleet.look(|it| Some(it.is_waiting(Secret))), [true]);
    stream.ack(&replacing, &one);
    stream.drain(&one);
    assert!(lacks(&one).is_none());
    assert_eq!(books.fleet.look(|it| Some((it.is_waiting(Secret), it.has_had_time(books.at(1_016))))), [(false, true)]);
}
