//! A client that comes back, here or to another process, is sent what it does not have and nothing else.

use super::*;

fn versions(view: &View, ty: ResourceType) -> BTreeMap<String, String> {
    view.resources(ty).map(|it| (it.name().to_string(), it.version().to_string())).collect()
}

fn clusters(b: &str) -> View {
    view([resource(Cluster, "a", "1"), resource(Cluster, "b", b)])
}

#[test]
fn a_delta_client_with_equal_versions_is_sent_nothing() {
    let has = versions(&clusters("1"), Cluster);
    let (same, mut it) = (clusters("1"), Delta::default());
    assert!(matches!(it.hello(Cluster, &[], &has, &same), Outcome::Resumed(all) if all.len() == 2));
    assert!(it.next(&same).is_none());
    assert_eq!(it.drain(&clusters("2")), ["b=2"]);
}

#[test]
fn initial_versions_and_repeated_names_of_secrets_are_met_with_silence() {
    let secrets = || view([restatable("a", "1"), restatable("b", "1")]);
    let (has, view, mut it) = (versions(&secrets(), Secret), secrets(), Delta::default());
    it.hello(Secret, &["a", "b"], &has, &view);
    assert!(it.next(&view).is_none());
}

#[test]
fn what_a_delta_client_brings_along_and_is_gone_is_removed() {
    let mut has = versions(&clusters("1"), Cluster);
    has.insert("gone".into(), "0123".into());
    has.insert("b".into(), "from another server".into());
    let (now, mut it) = (clusters("1"), Delta::default());
    it.hello(Cluster, &[], &has, &now);
    assert_eq!(it.drain(&now), ["b=1", "-gone"]);
}

#[test]
fn initial_versions_count_on_the_first_request_only() {
    let (view, mut it) = (view([restatable("a", "1"), restatable("b", "1")]), Delta::default());
    it.ask(Secret, &["a"], &[], &view);
    it.drain(&view);
    it.hello(Secret, &["b"], &versions(&view, Secret), &view);
    assert_eq!(it.drain(&view), ["b=1"]);
}

#[test]
fn a_sotw_client_with_the_version_of_the_same_content_is_sent_nothing() {
    let (first, mut it) = (clusters("1"), Sotw::default());
    it.ask(Cluster, &[], &first);
    let version = sotw_message(&it.next(&first).unwrap()).version_info;
    let (elsewhere, mut again) = (clusters("1"), Sotw::default());
    assert!(matches!(again.hello(Cluster, &[], &version, &elsewhere), Outcome::Resumed(all) if all.len() == 2));
    assert!(again.next(&elsewhere).is_none());
    let changed = clusters("2");
    assert_eq!(again.drain(&[], &changed), ["a=1", "b=2"]);
    let mut other = Sotw::default();
    assert!(matches!(other.hello(Cluster, &[], &version, &changed), Outcome::Request));
    assert_eq!(other.drain(&[], &changed), ["a=1", "b=2"]);
}

#[test]
fn the_version_after_a_partial_sotw_response_is_of_everything_the_client_then_has() {
    let secrets = |b: &str| view([restatable("a", "1"), restatable("b", b)]);
    let names = ["a", "b"];
    let (before, after, mut it) = (secrets("1"), secrets("2"), Sotw::default());
    it.ask(Secret, &names, &before);
    it.drain(&names, &before);
    let partial = it.next(&after).unwrap();
    assert_eq!(contents(&partial), ["b=2"]);
    let mut again = Sotw::default();
    again.hello(Secret, &names, &sotw_message(&partial).version_info, &secrets("2"));
    assert!(again.next(&secrets("2")).is_none());
}
