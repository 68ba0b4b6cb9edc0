//! Certificates that are revoked: durable, listed for proxies, and never at the price of somebody else's certificate.

use std::process::Command;

use super::requests::csr;
use super::*;
use crate::trust::crl;

const HOUR: Duration = Duration::from_secs(3600);

fn enroll(trust: &Trust, name: &str, now: OffsetDateTime) -> IssuedChain {
    trust.enroll(&csr(), id("a", name), None, None, now).unwrap()
}

fn serials(revoked: &[RevocationRecord]) -> Vec<Serial> {
    let mut all: Vec<_> = revoked.iter().map(|it| it.certificate.serial.clone()).collect();
    all.sort();
    all
}

fn revoke(trust: &Trust, name: &str, now: OffsetDateTime) -> Vec<Serial> {
    serials(&trust.revoke(&Revoke::Identity(id("a", name)), now).unwrap())
}

/// What each list in the bundle says, by its issuer.
fn lists(trust: &Trust) -> Vec<(Serial, crl::Facts)> {
    let bundle = trust.bundle();
    let blocks = x509_parser::pem::Pem::iter_from_buffer(bundle.crls().unwrap_or_default().as_bytes());
    let hierarchy = trust.hierarchy();
    let read = blocks.map(|block| {
        let block = block.unwrap();
        assert_eq!(block.label, "X509 CRL");
        let of = |it: &&std::sync::Arc<crate::trust::authority::Authority>| crl::read(it, &block.contents).is_ok();
        let signer = hierarchy.intermediates().find(of).expect("a list of one of our intermediates");
        (signer.info.serial.clone(), crl::read(signer, &block.contents).unwrap())
    });
    read.collect()
}

#[test]
fn an_identity_s_certificates_are_revoked_durably_and_later_ones_are_not() {
    let (directory, trust) = fresh();
    let first = trust.workload_certificate("a/b", id("a", "b"), NOW).unwrap();
    let second = trust.renew_workload_certificates(&[("a/b".into(), id("a", "b"))], NOW).unwrap();
    let node = enroll(&trust, "b", NOW);
    let other = enroll(&trust, "other", NOW);
    let mut expected = vec![first.serial.clone(), second[0].serial.clone(), node.serial.clone()];
    expected.sort();
    assert_eq!(revoke(&trust, "b", NOW), expected);
    // Not closed: as after kill -9.
    let again = open(directory.path(), settings(), NOW).unwrap();
    for trust in [&trust, &again] {
        assert!(expected.iter().all(|serial| trust.is_revoked(serial)) && !trust.is_revoked(&other.serial));
        assert_eq!(serials(&trust.revocations()), expected);
    }
    assert_eq!(again.bundle().crls(), trust.bundle().crls(), "a restart changes no byte that proxies have");
    let fresh = again.workload_certificate("a/b", id("a", "b"), NOW).unwrap();
    assert!(!expected.contains(&fresh.serial) && !again.is_revoked(&fresh.serial), "a new key is another matter");
    let later = enroll(&again, "b", NOW);
    assert!(!again.is_revoked(&later.serial));
    assert_eq!(revoke(&again, "b", NOW).len(), 5, "twice is no mistake, and takes in what is new");
    let unknown = again.revoke(&Revoke::Serial("0123456789".parse().unwrap()), NOW).unwrap_err();
    assert!(unknown.to_string().contains("no certificate 0123456789 is valid"), "{unknown}");
}

#[test]
fn threat_02_nothing_is_issued_for_a_revoked_certificate() {
    let (_directory, trust) = fresh();
    let node = enroll(&trust, "b", NOW);
    let ask = || trust.enroll(&csr(), id("a", "b"), Some(&node.serial), None, NOW);
    ask().unwrap();
    trust.revoke(&Revoke::Serial(node.serial.clone()), NOW).unwrap();
    assert_eq!(ask().unwrap_err(), TrustError::Revoked);
    // Also when it has ended by itself, for as long as it could be renewed.
    let late = NOW + DAY + 23 * HOUR;
    trust.maintain(late).unwrap();
    assert!(trust.is_revoked(&node.serial));
    trust.maintain(NOW + 3 * DAY).unwrap();
    assert!(trust.revocations().is_empty(), "nobody could use it any more");
}

#[test]
fn every_intermediate_that_can_be_believed_has_a_list_or_none_has() {
    let (_directory, trust) = fresh();
    let late = NOW + 16 * DAY;
    let node = enroll(&trust, "b", late - HOUR);
    assert_eq!(trust.bundle().crls(), None);
    assert!(trust.maintain(late).unwrap().prepared);
    revoke(&trust, "b", late);
    let first = trust.intermediate().serial;
    let both = lists(&trust);
    assert_eq!(both.len(), 2, "one that signs, one that is prepared");
    for (issuer, list) in &both {
        let expected = if *issuer == first { vec![node.serial.clone()] } else { Vec::new() };
        assert_eq!(list.serials, expected);
        assert_eq!(list.next_update, late + 4 * DAY);
        assert!(list.this_update < late, "proxies whose clock is late believe it too");
    }
    let held = trust.bundle();
    trust.maintain(late + 22 * HOUR).unwrap();
    assert_eq!(trust.bundle(), held);
    trust.maintain(late + DAY).unwrap();
    assert_eq!(trust.bundle().crls(), None, "what was revoked has ended");
    assert_ne!(trust.bundle(), held);
}

#[test]
fn a_list_is_renewed_before_its_end_and_its_number_rises() {
    let (directory, trust) = fresh();
    let numbers = |trust: &Trust| -> Vec<u32> {
        let root = trust.root();
        trust.books().crls.iter().filter(|it| it.issuer != root).map(|it| it.number).collect()
    };
    enroll(&trust, "b", NOW);
    revoke(&trust, "b", NOW);
    assert_eq!(numbers(&trust), [1]);
    enroll(&trust, "c", NOW);
    revoke(&trust, "c", NOW);
    assert_eq!(numbers(&trust), [2]);
    drop(trust);
    // Longer certificates than before: what is revoked outlives the list.
    let longer = Settings { workload_ttl: DAY / 4, ..settings() };
    let trust = open(directory.path(), longer, NOW).unwrap();
    assert_eq!(numbers(&trust), [2], "kept");
    let before = lists(&trust)[0].1.next_update;
    trust.maintain(NOW + 12 * HOUR).unwrap();
    assert_eq!(lists(&trust)[0].1.next_update, before, "half of its life is left");
    trust.revoke(&Revoke::Identity(id("a", "b")), NOW + 12 * HOUR).unwrap();
    // The clock is set back by an hour: the list must not be from the future.
    let back = lists(&trust)[0].1.this_update - HOUR;
    trust.maintain(back).unwrap();
    assert!(lists(&trust)[0].1.this_update <= back);
    assert_eq!(numbers(&trust), [3]);
    trust.maintain(back + 11 * HOUR).unwrap();
    assert_eq!(numbers(&trust), [3]);
    trust.maintain(back + 13 * HOUR).unwrap();
    assert_eq!(numbers(&trust), [4], "half of its life is over");
    assert_eq!(lists(&trust)[0].1.next_update, back + 37 * HOUR);
}

#[test]
fn an_intermediate_signs_only_when_all_have_its_list() {
    let (_directory, trust) = fresh();
    enroll(&trust, "b", NOW);
    revoke(&trust, "b", NOW);
    let first = trust.intermediate();
    let waits = trust.rotate_intermediate(NOW).unwrap();
    assert!(waits.waiting && waits.prepared && !waits.activated);
    assert_eq!(trust.intermediate(), first);
    assert_eq!(lists(&trust).len(), 2);
    assert!(trust.maintain(NOW).unwrap().waiting, "nobody has said that all have it");
    let outdated = TrustBundle::clone(&trust.bundle().with_lists(None));
    trust.confirm_lists(&outdated);
    assert!(trust.maintain(NOW).unwrap().waiting, "they have another one");
    trust.confirm_lists(&trust.bundle());
    assert!(trust.maintain(NOW).unwrap().activated);
    assert_ne!(trust.intermediate(), first);
    assert_eq!(lists(&trust).len(), 2, "what the first has signed is still good");

    // One that is about to end is followed whatever is missing.
    let late = trust.intermediate().not_after - HOUR;
    enroll(&trust, "c", late);
    revoke(&trust, "c", late);
    assert!(trust.maintain(late).unwrap().activated);
}

#[test]
fn a_root_rotation_has_the_lists_of_both_sides_from_its_beginning() {
    let (_directory, trust) = fresh();
    enroll(&trust, "b", NOW);
    revoke(&trust, "b", NOW);
    let (old, new) = super::roots::prepared(&trust);
    assert_eq!(lists(&trust).len(), 2, "the one below the new root signs later");
    super::roots::change(&trust, &old, &[&old, &new], RotationStep::Distributing);
    let acknowledged = lists(&trust);
    assert!(!trust.prepare_below(&new, NOW).unwrap(), "there is one");
    super::roots::change(&trust, &new, &[&old, &new], RotationStep::Activating);
    let signer = trust.intermediate().serial;
    assert!(acknowledged.iter().any(|(issuer, _)| *issuer == signer), "everybody has had its list before");
    assert_eq!(lists(&trust), acknowledged);
    super::roots::change(&trust, &new, &[&new], RotationStep::Retiring);
    assert_eq!(lists(&trust), acknowledged);
}

#[test]
fn an_intermediate_that_got_too_old_in_a_paused_rotation_has_a_successor_with_a_list() {
    let (_directory, trust) = fresh();
    let late = NOW + 24 * DAY;
    let (old, new) = super::roots::prepared(&trust);
    super::roots::change(&trust, &old, &[&old, &new], RotationStep::Distributing);
    trust.maintain(late).unwrap();
    assert!(!trust.prepare_below(&new, late).unwrap(), "nobody needs a list");
    let later = late + 2 * DAY;
    enroll(&trust, "b", later);
    revoke(&trust, "b", later);
    let before = lists(&trust).len();
    assert!(trust.prepare_below(&new, later).unwrap());
    assert!(!trust.prepare_below(&new, later).unwrap());
    assert_eq!(lists(&trust).len(), before + 1);
}

#[test]
fn where_the_root_s_key_is_elsewhere_no_list_is_given_out_unless_it_is_said_so() {
    let lists_under = |lists| {
        let (directory, trust) = super::brought::under_a_foreign_root(Settings { lists, ..settings() });
        enroll(&trust, "b", NOW);
        revoke(&trust, "b", NOW);
        let given = trust.bundle().crls().is_some();
        drop((trust, directory));
        given
    };
    assert!(!lists_under(Lists::Auto));
    assert!(lists_under(Lists::Always));
    assert!(!lists_under(Lists::Never));
}

#[test]
fn threat_14_a_list_that_is_garbage_or_somebody_else_s_is_never_taken() {
    let (_directory, trust) = fresh();
    enroll(&trust, "b", NOW);
    revoke(&trust, "b", NOW);
    let hierarchy = trust.hierarchy();
    let kept = || {
        let issuer = &hierarchy.signer.info.serial;
        trust.books().crls.iter().position(|it| it.issuer == *issuer).unwrap()
    };
    let first = kept();
    let list = trust.books().crls[first].clone();
    assert!(crl::read(&hierarchy.signer, &list.der).is_ok());
    assert!(crl::read(&hierarchy.root, &list.der).is_err(), "another issuer's");
    let mut forged = list.der.clone();
    let end = forged.len() - 1;
    forged[end] ^= 1;
    assert!(crl::read(&hierarchy.signer, &forged).is_err(), "a bad signature");
    assert!(crl::read(&hierarchy.signer, &[&list.der[..], b"x"].concat()).is_err(), "bytes after its end");
    for length in 0..list.der.len() {
        assert!(crl::read(&hierarchy.signer, &list.der[..length]).is_err(), "cut off at {length}");
    }
    // What is kept and not readable is made anew.
    let spoilt = kept();
    trust.books().crls[spoilt].der = forged;
    trust.maintain(NOW).unwrap();
    assert_eq!(lists(&trust).len(), 1);
    let remade = kept();
    assert_eq!(trust.books().crls[remade].number, list.number + 1);
}

/// Another library's opinion of the lists, and of what they are about.
#[test]
fn openssl_refuses_what_is_revoked_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let trust = open(directory.path(), settings(), super::tls::now()).unwrap();
    let (bad, good) = (enroll(&trust, "b", super::tls::now()), enroll(&trust, "c", super::tls::now()));
    trust.revoke(&Revoke::Serial(bad.serial.clone()), super::tls::now()).unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("roots.pem", trust.bundle().pem());
    write("crls.pem", trust.bundle().crls().unwrap());
    write("all-crls.pem", &[trust.bundle().crls().unwrap(), trust.bundle().root_crls().unwrap()].concat());
    let verify_with = |chain: &IssuedChain, check: &[&str]| {
        write("chain.pem", &chain.chain_pem);
        let arguments = ["verify", "-x509_strict", "-CAfile", "roots.pem"].into_iter().chain(check.iter().copied());
        let chain = ["-untrusted", "chain.pem", "chain.pem"];
        let done = Command::new("openssl").args(arguments).args(chain).current_dir(&directory).output().unwrap();
        (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    // With roots' lists too, whole chains can be looked up.
    for check in [["-crl_check", "-CRLfile", "crls.pem"], ["-crl_check_all", "-CRLfile", "all-crls.pem"]] {
        let (ok, said) = verify_with(&good, &check);
        assert!(ok, "{said}");
        let (ok, said) = verify_with(&bad, &check);
        assert!(!ok && said.contains("certificate revoked"), "{said}");
    }
    assert!(!verify_with(&good, &["-crl_check_all", "-CRLfile", "crls.pem"]).0, "the check can fail");
}
