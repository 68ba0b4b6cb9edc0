//! Everything, by `*` and by the legacy empty list.

use super::*;

fn two() -> View {
    view([resource(Cluster, "a", "1"), resource(Cluster, "b", "1")])
}

#[test]
fn an_empty_first_list_is_everything_in_sotw() {
    let (view, mut it) = (two(), Sotw::default());
    it.ask(Cluster, &[], &view);
    assert_eq!(it.drain(&[], &view), ["a=1", "b=1"]);
}

#[test]
fn cds_and_lds_are_answered_also_when_empty() {
    let empty = view([]);
    for ty in [Cluster, Listener] {
        let mut sotw = Sotw::default();
        sotw.ask(ty, &[], &empty);
        assert!(sotw.next(&empty).is_some_and(|response| response.contents.is_empty()));
        let mut delta = Delta::default();
        delta.ask(ty, &[], &[], &empty);
        assert!(delta.next(&empty).is_some_and(|response| response.contents.is_empty()));
        // By name too: absence is deletion, and the client waits for it.
        let mut named = Sotw::default();
        named.ask(ty, &["none"], &empty);
        assert!(named.next(&empty).is_some_and(|response| response.contents.is_empty()));
    }
}

#[test]
fn once_a_name_was_given_an_empty_list_is_nothing() {
    let (before, mut it) = (two(), Sotw::default());
    it.ask(Cluster, &["a"], &before);
    assert_eq!(it.drain(&["a"], &before), ["a=1"]);
    it.ask(Cluster, &[], &before);
    assert_eq!(it.drain(&[], &before), [""; 0]);
    let after = view([resource(Cluster, "a", "2"), resource(Cluster, "b", "2")]);
    assert_eq!(it.drain(&[], &after), [""; 0]);
}

#[test]
fn a_star_beside_names_is_everything_and_a_star_removed_ends_it() {
    let (before, mut it) = (two(), Sotw::default());
    it.ask(Cluster, &["*", "a"], &before);
    assert_eq!(it.drain(&["*", "a"], &before), ["a=1", "b=1"]);
    it.ask(Cluster, &["a"], &before);
    let after = view([resource(Cluster, "a", "2"), resource(Cluster, "b", "2")]);
    assert_eq!(it.drain(&["a"], &after), ["a=2"]);
}

#[test]
fn a_star_counts_as_a_name_so_the_empty_list_after_it_is_nothing() {
    let (before, mut it) = (two(), Sotw::default());
    it.ask(Cluster, &["*"], &before);
    assert_eq!(it.drain(&["*"], &before), ["a=1", "b=1"]);
    it.ask(Cluster, &[], &before);
    let after = view([resource(Cluster, "a", "2")]);
    assert_eq!(it.drain(&[], &after), [""; 0]);
}

#[test]
fn legacy_everything_ends_with_the_first_name_in_sotw() {
    let (before, mut it) = (two(), Sotw::default());
    it.ask(Cluster, &[], &before);
    it.drain(&[], &before);
    it.ask(Cluster, &["b"], &before);
    // A list that adds a name is answered, with that name and no others.
    assert_eq!(it.drain(&["b"], &before), ["b=1"]);
}

#[test]
fn star_and_the_legacy_empty_first_subscription_are_everything_in_delta() {
    let view = two();
    for names in [&[][..], &["*"][..]] {
        let mut it = Delta::default();
        it.ask(Cluster, names, &[], &view);
        assert_eq!(it.drain(&view), ["a=1", "b=1"]);
    }
    // For types that have no list of everything, an empty subscription is nothing.
    let secrets = super::view([restatable("s", "1")]);
    let mut it = Delta::default();
    it.ask(Secret, &[], &[], &secrets);
    assert_eq!(it.drain(&secrets), [""; 0]);
}

#[test]
fn unsubscribing_the_star_keeps_names_subscribed_explicitly() {
    let (before, mut it) = (two(), Delta::default());
    it.ask(Cluster, &["*", "a"], &[], &before);
    it.drain(&before);
    it.ask(Cluster, &[], &["*"], &before);
    let after = view([resource(Cluster, "a", "2"), resource(Cluster, "b", "2")]);
    assert_eq!(it.drain(&after), ["a=2"]);
    // Everything again: what was let go in between is sent.
    it.ask(Cluster, &["*"], &[], &after);
    assert_eq!(it.drain(&after), ["b=2"]);
}

#[test]
fn unsubscribing_a_name_under_a_star_is_answered_with_what_there_is() {
    let (view, mut it) = (two(), Delta::default());
    it.ask(Cluster, &["*", "a", "none"], &[], &view);
    it.drain(&view);
    it.ask(Cluster, &[], &["a", "none"], &view);
    assert_eq!(it.drain(&view), ["a=1", "-none"]);
}

/// A client that never acknowledges can think of any number of names, to ask for and to take back.
#[test]
fn names_that_are_taken_back_before_they_are_answered_are_counted() {
    let (view, mut it) = (two(), Delta::default());
    it.ask(Cluster, &["*"], &[], &view);
    it.next(&view).unwrap();
    let names: Vec<String> = (0..1000).map(|number| format!("never-asked-for-{number}")).collect();
    it.ask(Cluster, &[], &names.iter().map(String::as_str).collect::<Vec<_>>(), &view);
    assert_eq!(it.0.names(Cluster), 0, "nothing is kept of them");
    for name in &names {
        it.ask(Cluster, &[name], &[], &view);
        it.ask(Cluster, &[], &[name], &view);
    }
    assert_eq!(it.0.names(Cluster), names.len());
    assert!(it.0.name_bytes(Cluster) >= names.iter().map(String::len).sum());
}
