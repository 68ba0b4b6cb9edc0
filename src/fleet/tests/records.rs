//! What is known of one stream.

use super::*;

fn sds(books: &Books) -> TypeRecord {
    books.of("ns/a").of(Secret).clone()
}

#[test]
fn sent_acknowledged_and_rejected_each_with_its_version_time_and_serial() {
    let books = Books::new();
    let (one, two) = (view([secret("s", "1")]), view([secret("s", "2")]));
    let mut it = books.join("ns/a");
    it.subscribe(Secret, &["s"], &one);
    let sent_at = books.at(1_010);
    let response = it.next(&one).unwrap();
    let record = sds(&books);
    assert_eq!((record.state(), record.in_flight), (State::Stale, Some(sent_at)));
    assert_eq!(record.resources["s"].sent.as_ref().unwrap().at, sent_at);
    let acknowledged_at = books.at(1_011);
    it.ack(&response, &one);
    it.drain(&one);
    let held = sds(&books).resources["s"].clone();
    let acknowledged = held.acknowledged.clone().unwrap();
    assert_eq!(acknowledged.version, version(&one, "s"));
    assert_eq!((acknowledged.at, acknowledged.serial.as_deref()), (acknowledged_at, Some("serial of 1")));
    assert_eq!((sds(&books).state(), sds(&books).in_flight), (State::Synced, None));

    let response = it.next(&two).unwrap();
    let refused_at = books.at(1_020);
    it.nack(&response, "KEY_VALUES_MISMATCH", &two);
    it.drain(&two);
    let held = sds(&books).resources["s"].clone();
    let refusal = held.rejected.clone().unwrap();
    assert_eq!((&*refusal.error, refusal.at, refusal.others), ("KEY_VALUES_MISMATCH", refused_at, 0));
    assert_eq!(refusal.version, version(&two, "s"));
    assert_eq!(held.acknowledged.as_ref().unwrap().serial.as_deref(), Some("serial of 1"), "it serves on");
    assert_eq!(sds(&books).state(), State::Rejected);
    assert_eq!(sds(&books).errors().collect::<Vec<_>>(), [("s", "KEY_VALUES_MISMATCH")]);

    let three = view([secret("s", "3")]);
    it.drain(&three);
    assert_eq!((sds(&books).state(), sds(&books).errors().count()), (State::Synced, 0));
}

#[test]
fn the_members_of_a_refused_response_are_suspect_until_each_is_cleared() {
    let books = Books::new();
    let all = view(["a", "b", "c"].map(|name| secret(name, "1")));
    let mut it = books.join("ns/a");
    it.subscribe(Secret, &["a", "b", "c"], &all);
    let together = it.next(&all).unwrap();
    it.nack(&together, "bad chain", &all);
    let record = sds(&books);
    assert_eq!(record.errors().collect::<Vec<_>>(), [("a", "bad chain"), ("b", "bad chain"), ("c", "bad chain")]);
    assert!(record.resources.values().all(|it| it.rejected.as_ref().is_some_and(|refusal| refusal.others == 2)));
    while let Some(alone) = it.next(&all) {
        if &*alone.contents[0].0 == "b" {
            it.nack(&alone, "bad chain", &all);
        } else {
            it.ack(&alone, &all);
        }
    }
    let record = sds(&books);
    assert_eq!(record.errors().collect::<Vec<_>>(), [("b", "bad chain")]);
    assert_eq!(record.resources["b"].rejected.as_ref().map(|refusal| refusal.others), Some(0));
    assert_eq!(record.resources["a"].state(), State::Synced);
}

#[test]
fn a_client_that_comes_back_is_on_the_books_with_what_it_brought() {
    let books = Books::new();
    let all = view([secret("a", "1")]);
    let mut it = books.join("ns/a");
    let initial_versions = [("a".to_owned(), version(&all, "a").to_string())].into();
    it.request(Secret, DeltaRequest { subscribe: vec!["a".into()], initial_versions, ..Default::default() }, &all);
    assert!(it.next(&all).is_none());
    assert_eq!(sds(&books).resources["a"].acknowledged.as_ref().map(|it| it.version), Some(version(&all, "a")));
    assert_eq!(sds(&books).state(), State::Synced);
}

#[test]
fn a_removed_resource_leaves_the_books() {
    let books = Books::new();
    let (both, one) = (view(["a", "b"].map(|name| secret(name, "1"))), view([secret("a", "1")]));
    let mut it = books.join("ns/a");
    it.subscribe(Secret, &["a", "b"], &both);
    it.drain(&both);
    let removal = it.next(&one).unwrap();
    it.ack(&removal, &one);
    assert_eq!(sds(&books).resources.keys().map(|name| &**name).collect::<Vec<_>>(), ["a"]);
    it.drain(&one);
    assert_eq!(sds(&books).resources.len(), 1);
}

#[test]
fn a_hundred_clusters_in_step_need_no_words_of_their_own_and_the_newest_changes_keep_their_times() {
    let books = Books::new();
    let cluster =
        |n: usize, content: &str| Resource::new(ResourceType::Cluster, format!("c{n:03}"), content.as_bytes());
    let mut all: Vec<_> = (0..100).map(|_| "1".to_owned()).collect();
    let show = |all: &[String]| view(all.iter().enumerate().map(|(n, content)| cluster(n, content)));
    let first = show(&all);
    let mut it = books.join("ns/a");
    it.subscribe(ResourceType::Cluster, &[], &first);
    it.drain(&first);
    let own = |books: &Books| {
        let entry = books.fleet.streams.iter().next().unwrap();
        read(entry.value(), |ledger| ledger.of(ResourceType::Cluster).words())
    };
    assert_eq!(own(&books), 0);
    assert_eq!(books.of("ns/a").of(ResourceType::Cluster).resources.len(), 100);
    let mut changed_at = Vec::new();
    for n in 0..30 {
        changed_at.push(books.at(2_000 + n));
        all[n as usize] = "2".to_owned();
        let now = show(&all);
        it.drain(&now);
    }
    assert!(own(&books) <= 8, "{}", own(&books));
    let record = books.of("ns/a").of(ResourceType::Cluster).clone();
    assert_eq!(record.state(), State::Synced);
    assert_eq!(record.resources["c029"].acknowledged.as_ref().unwrap().at, changed_at[29]);
    let folded = record.resources["c000"].acknowledged.as_ref().unwrap().at;
    assert!(folded >= changed_at[0] && folded < changed_at[29], "a time by which it was acknowledged");
}

#[test]
fn names_that_were_denied_are_remembered_up_to_a_bound() {
    let books = Books::new();
    let mut it = books.join("ns/a");
    assert!(it.observer.denied(Secret, "x"));
    assert!(!it.observer.denied(Secret, "x"));
    for n in 0..1_000 {
        it.observer.unavailable(Secret, &format!("n{n}"));
    }
    assert_eq!(sds(&books).denied.len(), 64);
}
