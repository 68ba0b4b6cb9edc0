//! An authority that somebody else replaces.

use super::brought::{Pki, leaf_chains_to, under};
use super::roots::{change, record};
use super::*;

fn brought<'a>(root: &'a str, (chain, key): &'a (String, String)) -> Brought<'a> {
    Brought { chain, root, key: Some(key) }
}

/// Rotates to the root that was prepared, step by step, and opens the store anew after each, as after kill -9.
fn rotate(directory: &Path, mut trust: Trust) -> Trust {
    let Some(RotationRecord { old, new, .. }) = trust.rotation() else { panic!("no rotation") };
    for (step, signing, trusted) in [
        (RotationStep::Distributing, &old, vec![&old, &new]),
        (RotationStep::Activating, &new, vec![&old, &new]),
        (RotationStep::Retiring, &new, vec![&new]),
        (RotationStep::Done, &new, vec![&new]),
    ] {
        change(&trust, signing, &trusted, step);
        trust = open(directory, settings(), NOW).unwrap();
        assert_eq!(trust.root(), *signing, "{step:?}");
    }
    trust
}

fn prepare(trust: &Trust, brought: Brought<'_>) -> Result<RotationRecord, TrustError> {
    trust.prepare_brought_root(brought, NOW, |old, new| record(old, new, RotationStep::Prepared))
}

#[test]
fn another_intermediate_below_the_same_root_signs_at_once_and_may_come_back() {
    let pki = Pki::new();
    let (first, second) = (pki.intermediate(|_| ()), pki.intermediate(|_| ()));
    let (directory, trust) = under(&pki.root, &first);
    let relation = |it| trust.relation(&brought(&pki.root, it)).unwrap();
    assert_eq!((relation(&first), relation(&second)), (Relation::Same, Relation::Intermediate));
    trust.workload_certificate("a/b", id("a", "b"), NOW).unwrap();
    for next in [&second, &first, &second] {
        let (info, done) = trust.import_authority(brought(&pki.root, next), NOW).unwrap();
        assert!(done.activated);
        assert_eq!((trust.intermediate(), relation(next)), (info.clone(), Relation::Same));
        let again = trust.import_authority(brought(&pki.root, next), NOW).unwrap_err().to_string();
        assert!(again.contains("it is in the store already"), "{again}");
        let renewed = trust.renew_workload_certificates(&[("a/b".into(), id("a", "b"))], NOW).unwrap();
        assert_eq!(renewed[0].issuer, info.serial);
        assert_eq!(open(directory.path(), settings(), NOW).unwrap().intermediate(), info, "also after a crash");
    }
    // The root itself, with its key, when all that is here of it is an intermediate.
    let root = (pki.root.clone(), pki.root_key.serialize_pem());
    let error = trust.relation(&brought(&pki.root, &root)).unwrap_err().to_string();
    assert!(error.contains("takes other intermediates only"), "{error}");
}

#[test]
fn intermediates_below_a_root_that_is_here_are_followed_once() {
    let pki = Pki::new();
    let root = (pki.root.clone(), pki.root_key.serialize_pem());
    let (_directory, trust) = under(&pki.root, &root);
    let own = trust.intermediate();
    assert_eq!(trust.relation(&brought(&pki.root, &root)).unwrap(), Relation::Same);
    let next = pki.intermediate(|_| ());
    assert_eq!(trust.relation(&brought(&pki.root, &next)).unwrap(), Relation::Intermediate);
    trust.import_authority(brought(&pki.root, &next), NOW).unwrap();
    trust.rotate_intermediate(NOW).unwrap();
    assert_ne!(trust.intermediate(), own);
    assert_eq!(
        trust.relation(&brought(&pki.root, &next)).unwrap(),
        Relation::Same,
        "what is made here has followed it, and it does not come back for ever"
    );
}

#[test]
fn an_intermediate_of_another_root_follows_by_a_rotation() {
    let (directory, mut trust) = fresh();
    let (first, second) = (Pki::new(), Pki::new());
    for pki in [&first, &second] {
        let next = pki.intermediate(|_| ());
        let before = trust.intermediate();
        assert_eq!(trust.relation(&brought(&pki.root, &next)).unwrap(), Relation::Root);
        prepare(&trust, brought(&pki.root, &next)).unwrap();
        assert_eq!((trust.intermediate(), trust.bundle().roots().len()), (before, 1), "nobody is shown it yet");
        trust = rotate(directory.path(), trust);
        leaf_chains_to(&trust, &pki.root);
        assert_eq!(trust.relation(&brought(&pki.root, &next)).unwrap(), Relation::Same);
        assert_eq!(trust.workload_certificate("a/b", id("a", "b"), NOW).unwrap().chain.len(), 2);
    }
    let again = first.intermediate(|_| ());
    let error = prepare(&trust, brought(&first.root, &again)).unwrap_err().to_string();
    assert!(error.contains("the store has, or had, a root"), "{error}");
}

#[test]
fn an_intermediate_that_would_end_on_the_way_is_refused() {
    let (_directory, trust) = fresh();
    let pki = Pki::new();
    let soon = pki.intermediate(|params| params.not_after = NOW + time::Duration::hours(2));
    let error = prepare(&trust, brought(&pki.root, &soon)).unwrap_err().to_string();
    assert!(error.contains("too soon to sign"), "{error}");
    assert_eq!(trust.rotation(), None);
    // Of half its last sixth, too, whatever its length.
    let late = pki.intermediate(|params| {
        (params.not_before, params.not_after) = (NOW - 100 * DAY, NOW + 6 * DAY);
    });
    assert!(prepare(&trust, brought(&pki.root, &late)).is_err());
}
