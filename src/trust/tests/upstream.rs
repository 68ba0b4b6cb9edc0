//! An authority above ours whose key is in its own file, and intermediates whose keys are in memory alone.

use std::sync::Arc;

use rcgen::BasicConstraints;

use super::brought::Pki;
use super::*;
use crate::trust::store::AuthorityKind;

fn upstream(certificate: &str, key: &str, bundle: Option<&str>) -> Result<Upstream, TrustError> {
    Upstream::read(&settings(), certificate, key, bundle, NOW)
}

fn open_below(directory: &Path, upstream: Option<Upstream>, now: OffsetDateTime) -> Trust {
    let store = SqliteStore::open(&directory.join("trust.db")).unwrap();
    let keys = Keys { upstream: upstream.map(Arc::new), in_memory: true };
    Trust::open_with(Box::new(store), settings(), keys, now).unwrap()
}

fn of_root(pki: &Pki) -> Upstream {
    upstream(&pki.root, &pki.root_key.serialize_pem(), None).unwrap()
}

/// Each certificate of a workload's chain is signed by the next, and the last by a root of the bundle.
fn chains(trust: &Trust, length: usize) {
    let issued = trust.workload_certificate("a/b", id("a", "b"), NOW).unwrap();
    assert_eq!(issued.chain.len(), length);
    let all: Vec<_> = issued.chain.iter().map(|der| der.to_vec()).collect();
    let bundle = trust.bundle();
    for (index, der) in all.iter().enumerate() {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).unwrap();
        let is_by = |issuer: &[u8]| {
            let (_, issuer) = x509_parser::parse_x509_certificate(issuer).unwrap();
            certificate.verify_signature(Some(issuer.public_key())).is_ok() && certificate.issuer() == issuer.subject()
        };
        let above = match all.get(index + 1) {
            Some(next) => is_by(next),
            None => bundle.roots().iter().any(|root| is_by(&root.der)),
        };
        assert!(above, "certificate {index} has no issuer");
    }
}

#[test]
fn threat_07_keys_of_memory_and_of_the_upstream_never_reach_the_disk() {
    let (directory, pki) = (tempfile::tempdir().unwrap(), Pki::new());
    let trust = open_below(directory.path(), Some(of_root(&pki)), NOW);
    chains(&trust, 2);
    trust.rotate_intermediate(NOW).unwrap();
    chains(&trust, 2);
    drop(trust);
    let contents = SqliteStore::open(&directory.path().join("trust.db")).unwrap().load().unwrap();
    assert_eq!(contents.authorities.len(), 3);
    assert!(contents.authorities.iter().all(|it| it.key.is_empty()), "a key is on the disk");
    // The whole key, and what of it is secret: a copy anywhere in the file would be found.
    let key = pki.root_key.serialize_der();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(32).any(|window| window == &key[36..68]));
    }
}

#[test]
fn a_restart_makes_a_new_intermediate_below_the_same_upstream() {
    let (directory, pki) = (tempfile::tempdir().unwrap(), Pki::new());
    let trust = open_below(directory.path(), Some(of_root(&pki)), NOW);
    let (root, first) = (trust.root(), trust.intermediate().serial);
    let before = trust.workload_certificate("a/b", id("a", "b"), NOW).unwrap();
    drop(trust);
    let trust = open_below(directory.path(), Some(of_root(&pki)), NOW + DAY / 24);
    assert_eq!(trust.root(), root);
    assert_ne!(trust.intermediate().serial, first);
    // What workloads have stays good, since the root is the same.
    let held = trust.held("a/b", &id("a", "b").into(), NOW + DAY / 24).unwrap();
    assert_eq!(held.serial, before.serial);
    chains(&trust, 2);
    assert_eq!(trust.bundle().roots().len(), 1);
}

#[test]
fn without_an_upstream_the_roots_key_stays_in_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let (root, first) = {
        let trust = open_below(directory.path(), None, NOW);
        (trust.root(), trust.intermediate().serial)
    };
    let contents = SqliteStore::open(&directory.path().join("trust.db")).unwrap().load().unwrap();
    for record in &contents.authorities {
        assert_eq!(record.key.is_empty(), record.kind == AuthorityKind::Intermediate);
    }
    let trust = open_below(directory.path(), None, NOW);
    assert_eq!(trust.root(), root);
    assert_ne!(trust.intermediate().serial, first);
    chains(&trust, 2);
}

#[test]
fn an_upstream_may_be_below_a_root_of_its_bundle() {
    let (directory, pki, other) = (tempfile::tempdir().unwrap(), Pki::new(), Pki::new());
    let (certificate, key) =
        pki.intermediate(|params| params.is_ca = rcgen::IsCa::Ca(BasicConstraints::Constrained(1)));
    let bundle = format!("{}{}", other.root, pki.root);
    let trust = open_below(directory.path(), Some(upstream(&certificate, &key, Some(&bundle)).unwrap()), NOW);
    chains(&trust, 3);
    assert_eq!(trust.bundle().roots().len(), 2, "every root of the bundle is trusted");
    assert!(trust.root_of(&trust.intermediate().serial).is_some());
    drop(trust);
    let trust = open_below(directory.path(), Some(upstream(&certificate, &key, Some(&bundle)).unwrap()), NOW);
    chains(&trust, 3);
}

#[test]
fn an_upstream_that_cannot_sign_is_refused_with_the_reason() {
    let (pki, other) = (Pki::new(), Pki::new());
    let (leafless, key) = pki.intermediate(|_| ());
    let (below, its_key) = pki.intermediate(|params| params.is_ca = rcgen::IsCa::Ca(BasicConstraints::Constrained(1)));
    let cases = [
        (upstream(&pki.root, &other.root_key.serialize_pem(), None), "its key is another certificate's"),
        (upstream(&below, &its_key, None), "it was issued by"),
        (upstream(&leafless, &key, Some(&pki.root)), "its path length is 0, and there are 1 authorities below it"),
        (upstream(&leafless, &key, Some(&other.root)), "path length is 0"),
        (
            upstream(&format!("{leafless}{}", pki.root), &key, None),
            "there are several certificates and no bundle_file_path",
        ),
        (upstream("nothing", &key, None), "there is no PEM block CERTIFICATE"),
        (upstream(&pki.root, "nothing", None), "the key"),
        (upstream(&pki.root, &pki.root_key.serialize_pem(), Some(&other.root)), "it is not signed with the key of"),
    ];
    for (index, (read, reason)) in cases.into_iter().enumerate() {
        let error = read.expect_err(reason).to_string();
        assert!(error.contains(reason), "{index}: {error}");
    }
}

/// Another root comes by a rotation, a step at a time, and never at once.
#[test]
fn another_upstream_root_is_prepared_and_not_trusted_before_its_turn() {
    let (directory, pki, other) = (tempfile::tempdir().unwrap(), Pki::new(), Pki::new());
    let trust = open_below(directory.path(), Some(of_root(&pki)), NOW);
    assert!(!trust.awaits_upstream());
    assert_eq!(trust.prepare_root(NOW, |_, _| unreachable!()), Err(TrustError::UpstreamRoot));
    let first = trust.root();
    assert!(trust.set_upstream(Arc::new(of_root(&other)), NOW).unwrap());
    assert!(trust.awaits_upstream() && trust.root() == first);
    assert_eq!(trust.bundle().roots().len(), 1);
    chains(&trust, 2);
    // The same root again, by an authority that is the same: nothing follows from it.
    let signer = trust.intermediate().serial;
    assert!(!trust.set_upstream(Arc::new(of_root(&pki)), NOW).unwrap());
    assert_ne!(trust.intermediate().serial, signer, "it is another authority than the one before");
}

/// The disk is at fault, and not the files: another authority below the same root signs as soon as it can be kept.
#[test]
fn an_upstream_that_could_not_be_kept_is_taken_the_next_time() {
    let (directory, pki) = (tempfile::tempdir().unwrap(), Pki::new());
    let below = || {
        let (certificate, key) =
            pki.intermediate(|params| params.is_ca = rcgen::IsCa::Ca(BasicConstraints::Constrained(1)));
        upstream(&certificate, &key, Some(&pki.root)).unwrap()
    };
    let second = Arc::new(below());
    let trust = open_below(directory.path(), Some(below()), NOW);
    let signer = trust.intermediate().serial;
    let store = rusqlite::Connection::open(directory.path().join("trust.db")).unwrap();
    store.execute_batch("ALTER TABLE authority RENAME TO away").unwrap();
    assert!(trust.set_upstream(Arc::clone(&second), NOW).is_err(), "without its table no intermediate can be kept");
    store.execute_batch("ALTER TABLE away RENAME TO authority").unwrap();
    assert_eq!(trust.intermediate().serial, signer);
    assert!(!trust.set_upstream(second, NOW).unwrap(), "the root is the same");
    assert_ne!(trust.intermediate().serial, signer, "the second authority's intermediate signs");
    chains(&trust, 3);
}

/// What a rotation from the root that signs does to the bundle, step by step: the roots at the end of each.
fn rotate(trust: &Trust) -> Vec<Vec<Serial>> {
    let record = |old, new| RotationRecord {
        old,
        new,
        step: RotationStep::Prepared,
        paused: false,
        force: false,
        started_at: NOW,
        step_at: NOW,
    };
    let rotation = trust.prepare_root(NOW, record).unwrap();
    let (old, new) = (rotation.old.clone(), rotation.new.clone());
    let steps = [
        (RotationStep::Distributing, &old, vec![&old, &new]),
        (RotationStep::Activating, &new, vec![&old, &new]),
        (RotationStep::Retiring, &new, vec![&new]),
        (RotationStep::Done, &new, vec![&new]),
    ];
    let steps = steps.into_iter().map(|(step, signing, trusted)| {
        let trusted: Vec<Serial> = trusted.into_iter().cloned().collect();
        let roots = Roots { signing: signing.clone(), trusted: trusted.clone() };
        trust.change_roots(&roots, RotationRecord { step, ..rotation.clone() }, NOW).unwrap();
        let own: Vec<_> = trust.bundle().own_roots().iter().map(|root| root.serial.clone()).collect();
        assert_eq!(own, trusted, "{step:?}: what the rotation waits for is what it speaks of");
        serials(trust)
    });
    steps.collect()
}

fn serials(trust: &Trust) -> Vec<Serial> {
    trust.bundle().roots().iter().map(|root| root.serial.clone()).collect()
}

fn serial_of(pem: &str) -> Serial {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    Serial::from_der(pem.parse_x509().unwrap().raw_serial())
}

/// A root that the bundle names is trusted for as long as it does: through a rotation, a restart, and not a moment longer.
#[test]
fn a_further_root_stays_as_long_as_the_file_names_it() {
    let (directory, [first, second, other]) = (tempfile::tempdir().unwrap(), [(); 3].map(|()| Pki::new()));
    let of = |pki: &Pki, bundle: &[&Pki]| {
        let bundle: String = bundle.iter().map(|pki| pki.root.as_str()).collect();
        upstream(&pki.root, &pki.root_key.serialize_pem(), Some(&bundle)).unwrap()
    };
    let [one, two, three] = [&first, &second, &other].map(|pki| serial_of(&pki.root));
    let trust = open_below(directory.path(), Some(of(&first, &[&first, &other])), NOW);
    assert_eq!(serials(&trust), [one.clone(), three.clone()]);

    // The file names the new root, the old one, and the other.
    assert!(trust.set_upstream(Arc::new(of(&second, &[&first, &second, &other])), NOW).unwrap());
    let published = trust.published_bundle().unwrap();
    let steps = rotate(&trust);
    assert!(steps.iter().all(|bundle| bundle.contains(&three)), "{steps:?}");
    assert!(steps.iter().all(|bundle| bundle.contains(&one)), "the file still names it: {steps:?}");
    assert_eq!(trust.root(), two);

    // A restart reads the file again.
    drop(trust);
    let trust = open_below(directory.path(), Some(of(&second, &[&second, &other])), NOW);
    assert_eq!(serials(&trust), [two.clone(), three]);
    // And without it: it leaves at once, nobody makes another intermediate for that, and others are told to look again.
    let signer = trust.intermediate().serial;
    let before = trust.published_bundle().unwrap();
    assert!(before.sequence > published.sequence);
    assert!(!trust.set_upstream(Arc::new(of(&second, &[&second])), NOW).unwrap());
    let after = trust.published_bundle().unwrap();
    assert_eq!((serials(&trust), trust.intermediate().serial), (vec![two], signer));
    assert!(after.sequence > before.sequence && after.bundle.roots().len() == 1);
    chains(&trust, 2);
}

#[test]
fn threat_08_a_bundle_names_authorities_only() {
    let pki = Pki::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
    let error = upstream(&pki.root, &pki.root_key.serialize_pem(), Some(&format!("{}{leaf}", pki.root))).unwrap_err();
    assert!(error.to_string().contains("is no authority"), "{error}");
}
