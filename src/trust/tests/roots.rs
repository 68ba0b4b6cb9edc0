//! Several roots at a time, as a rotation needs them.

use super::*;

pub(super) fn record(old: Serial, new: Serial, step: RotationStep) -> RotationRecord {
    RotationRecord { old, new, step, paused: false, force: false, started_at: NOW, step_at: NOW }
}

pub(super) fn prepared(trust: &Trust) -> (Serial, Serial) {
    let kept = trust.prepare_root(NOW, |old, new| record(old, new, RotationStep::Prepared)).unwrap();
    (kept.old, kept.new)
}

pub(super) fn change(trust: &Trust, signing: &Serial, trusted: &[&Serial], step: RotationStep) {
    let last = trust.rotation().unwrap();
    let roots = Roots { signing: signing.clone(), trusted: trusted.iter().map(|it| (*it).clone()).collect() };
    trust.change_roots(&roots, RotationRecord { step, ..last }, NOW).unwrap();
}

fn serials(trust: &Trust) -> Vec<Serial> {
    trust.bundle().roots().iter().map(|root| root.serial.clone()).collect()
}

fn issuing_root(trust: &Trust, certificate: &WorkloadCertificate) -> Serial {
    trust.root_of(&certificate.issuer).unwrap()
}

#[test]
fn each_step_of_a_rotation_survives_a_crash() {
    let (directory, mut trust) = fresh();
    let first = trust.workload_certificate("a/b", id("a", "b"), NOW).unwrap();
    let (old, new) = prepared(&trust);
    assert_eq!(serials(&trust), std::slice::from_ref(&old), "a prepared root is nobody's business");

    let steps: [(RotationStep, &Serial, Vec<&Serial>); 3] = [
        (RotationStep::Distributing, &old, vec![&old, &new]),
        (RotationStep::Activating, &new, vec![&old, &new]),
        (RotationStep::Retiring, &new, vec![&new]),
    ];
    for (step, signing, trusted) in steps {
        change(&trust, signing, &trusted, step);
        let seen = (serials(&trust), trust.root(), trust.intermediate(), trust.rotation());
        // Not closed: as after kill -9.
        trust = open(directory.path(), settings(), NOW).unwrap();
        assert_eq!((serials(&trust), trust.root(), trust.intermediate(), trust.rotation()), seen, "{step:?}");
        assert_eq!(serials(&trust), trusted.into_iter().cloned().collect::<Vec<_>>());
        let issued = trust.renew_workload_certificates(&[("x/y".into(), id("x", "y"))], NOW).unwrap();
        assert_eq!(issuing_root(&trust, &issued[0]), *signing, "{step:?}");
        let own = trust.server_certificate(&[], NOW).unwrap();
        let listener = if step == RotationStep::Retiring { &new } else { &old };
        assert_eq!(issuing_root(&trust, &own), *listener, "clients may know the oldest root only: {step:?}");
    }
    let after = trust.workload_certificate("a/b", id("a", "b"), NOW).unwrap();
    assert_ne!(after.serial, first.serial, "what nobody would verify is not handed out again");
    assert_eq!(issuing_root(&trust, &after), new);
}

#[test]
fn an_abort_while_activating_lets_the_old_intermediate_sign_again() {
    let (_directory, trust) = fresh();
    let before = trust.intermediate();
    let (old, new) = prepared(&trust);
    change(&trust, &new, &[&old, &new], RotationStep::Activating);
    assert_ne!(trust.intermediate(), before);
    change(&trust, &old, &[&old, &new], RotationStep::Reverting);
    assert_eq!(trust.intermediate(), before);
    change(&trust, &old, &[&old], RotationStep::Aborted);
    assert_eq!((serials(&trust), trust.intermediate()), (vec![old], before));
}

#[test]
fn until_when_something_may_be_valid_is_known_before_it_is_handed_out() {
    let (directory, trust) = fresh();
    let root = trust.root();
    assert_eq!(trust.issued_until(&root), OffsetDateTime::UNIX_EPOCH);
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
    }
    .serialize_request(&key)
    .unwrap()
    .pem()
    .unwrap();
    let issued = trust.sign_csr(&csr, id("a", "b"), None, NOW).unwrap();
    let until = trust.issued_until(&root);
    assert!(until >= issued.not_after && until <= issued.not_after + time::Duration::HOUR, "{until}");
    let issuer = trust.intermediate().serial;
    let requested = |since, last| Some(Requested { issuer: issuer.clone(), since, last });
    assert_eq!(trust.last_request(&id("a", "b")), requested(NOW, NOW));
    trust.sign_csr(&csr, id("a", "b"), None, NOW + DAY / 4).unwrap();
    assert_eq!(
        trust.last_request(&id("a", "b")),
        requested(NOW, NOW + DAY / 4),
        "a renewal is told from the first one"
    );
    let until = trust.issued_until(&root);
    let again = open(directory.path(), settings(), NOW).unwrap();
    assert_eq!(again.issued_until(&root), until);
    let kept = again.workload_certificate("a/b", id("a", "b"), NOW + 2 * DAY).unwrap();
    assert!(again.issued_until(&root) >= kept.not_after);
}

#[test]
fn who_was_here_is_known_after_a_crash() {
    let (directory, trust) = fresh();
    trust.workload_certificate("a/new", id("a", "new"), NOW).unwrap();
    trust.saw(&["a/old".into()], NOW - 2 * DAY).unwrap();
    trust.saw(&["a/recent".into()], NOW - DAY / 2).unwrap();
    let again = open(directory.path(), settings(), NOW).unwrap();
    let mut seen: Vec<_> = again.seen_since(NOW - DAY).into_keys().collect();
    seen.sort();
    assert_eq!(seen, ["a/new", "a/recent"], "a certificate was given to somebody who was here");
}

#[test]
fn who_stays_is_written_down_every_ten_minutes_only_and_counts_as_long_as_that_after_it() {
    let (directory, trust) = fresh();
    let minutes = time::Duration::minutes;
    let since = |since| open(directory.path(), settings(), NOW).unwrap().seen_since(since).remove("a/here");
    trust.saw(&["a/here".into()], NOW).unwrap();
    trust.saw(&["a/here".into()], NOW + minutes(9)).unwrap();
    assert_eq!(since(NOW), Some(NOW), "nothing was written");
    assert_eq!(since(NOW + minutes(9)), Some(NOW), "it was here then, and the books cannot say otherwise");
    assert_eq!(since(NOW + minutes(11)), None);
    trust.saw(&["a/here".into()], NOW + minutes(10)).unwrap();
    assert_eq!(since(NOW + minutes(11)), Some(NOW + minutes(10)));
    trust.saw(&["a/here".into()], NOW - minutes(30)).unwrap();
    assert_eq!(since(NOW), None, "a clock that went back is believed");
}

#[test]
fn an_intermediate_is_prepared_before_it_signs() {
    let (directory, trust) = fresh();
    let first = trust.intermediate();
    assert_eq!(trust.maintain(NOW + 14 * DAY).unwrap(), Maintained::default());
    assert_eq!(trust.maintain(NOW + 16 * DAY).unwrap(), Maintained { prepared: true, ..Maintained::default() });
    assert_eq!(trust.maintain(NOW + 16 * DAY).unwrap(), Maintained::default(), "one is enough");
    assert_eq!(trust.intermediate(), first);
    drop(trust);
    let trust = open(directory.path(), settings(), NOW + 17 * DAY).unwrap();
    assert_eq!(trust.intermediate(), first);
    assert_eq!(trust.maintain(NOW + 26 * DAY).unwrap(), Maintained { activated: true, ..Maintained::default() });
    let second = trust.intermediate();
    assert!(second.not_after - (NOW + 16 * DAY) <= time::Duration::days(30), "it is the prepared one");
    trust.rotate_intermediate(NOW + 26 * DAY).unwrap();
    assert_ne!(trust.intermediate(), second);
}
