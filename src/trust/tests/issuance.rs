//! What is issued, and when.

use std::collections::BTreeSet;
use std::sync::Arc;

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::*;

fn parse(der: &[u8]) -> X509Certificate<'_> {
    X509Certificate::from_der(der).unwrap().1
}

fn uris(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let uri = |name: &GeneralName<'_>| if let GeneralName::URI(uri) = name { Some((*uri).to_owned()) } else { None };
    names.value.general_names.iter().filter_map(uri).collect()
}

#[test]
fn the_first_start_makes_a_root_of_ten_years_and_an_intermediate_of_thirty_days() {
    let (_directory, trust) = fresh();
    let bundle = trust.bundle();
    let [root] = bundle.roots() else { panic!("{:?}", bundle.roots()) };
    assert_eq!(root.not_after - NOW, time::Duration::days(3650));
    assert_eq!(NOW - root.not_before, time::Duration::minutes(1));
    assert_eq!(trust.intermediate().not_after - NOW, time::Duration::days(30));
    let root = parse(&root.der);
    assert!(root.is_ca() && root.verify_signature(None).is_ok());
    assert_eq!(uris(&root), ["spiffe://cluster.local"]);
}

#[test]
fn a_leaf_is_an_x509_svid_below_the_intermediate() {
    let (_directory, trust) = fresh();
    let issued = trust.workload_certificate("production/payment", id("production", "payment"), NOW).unwrap();
    let (leaf, intermediate) = (parse(&issued.chain[0]), parse(&issued.chain[1]));
    let bundle = trust.bundle();
    let root = parse(&bundle.roots()[0].der);
    leaf.verify_signature(Some(intermediate.public_key())).unwrap();
    intermediate.verify_signature(Some(root.public_key())).unwrap();

    assert_eq!(uris(&leaf), ["spiffe://cluster.local/ns/production/sa/payment"]);
    assert!(!leaf.is_ca());
    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_cert_sign());
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && extended.client_auth);
    assert!(leaf.subject_alternative_name().unwrap().unwrap().critical, "the only name has to be looked at");
    assert_eq!(leaf.raw_serial().len(), 16);
    assert_eq!(issued.serial.to_string(), leaf.raw_serial_as_string().replace(':', ""));
    assert_eq!((issued.not_after - NOW, NOW - issued.not_before), (time::Duration::DAY, time::Duration::minutes(1)));
    // Envoy reads the chain leaf first.
    assert_eq!(issued.chain_pem.matches("BEGIN CERTIFICATE").count(), 2);
    let constraints = intermediate.basic_constraints().unwrap().unwrap().value;
    assert_eq!(constraints.path_len_constraint, Some(0));
}

#[test]
fn dns_names_stand_beside_the_identity_and_a_change_of_them_is_another_leaf() {
    let (directory, trust) = fresh();
    let names = |dns: &[&str]| LeafNames::new(id("a", "b"), dns.iter().map(|name| (*name).to_owned()));
    let plain = trust.workload_certificate("a/b", id("a", "b"), NOW).unwrap();
    let named = trust.workload_certificate("a/b", names(&["two.test", "one.test", "two.test"]), NOW).unwrap();
    assert_ne!(named.serial, plain.serial);
    let leaf = parse(&named.chain[0]);
    assert_eq!(uris(&leaf), ["spiffe://cluster.local/ns/a/sa/b"]);
    let written = leaf.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
    assert_eq!(written[1..], [GeneralName::DNSName("one.test"), GeneralName::DNSName("two.test")]);
    // In another order they are the same, also after a restart.
    drop(trust);
    let trust = open(directory.path(), settings(), NOW).unwrap();
    let again = trust.workload_certificate("a/b", names(&["one.test", "two.test"]), NOW).unwrap();
    assert_eq!(again, named);
    let without = trust.workload_certificate("a/b", id("a", "b"), NOW).unwrap();
    assert_ne!(without.serial, named.serial);
    assert!(without.dns_names.is_empty() && parse(&without.chain[0]).subject_alternative_name().is_ok());
    let refused = trust.workload_certificate("a/b", names(&["n\u{f6}n.test"]), NOW).unwrap_err();
    assert!(refused.to_string().contains("n\u{f6}n.test"), "{refused}");
}

#[test]
fn threat_16_no_authority_has_name_constraints() {
    let (_directory, trust) = fresh();
    let issued = trust.workload_certificate("a/b", id("a", "b"), NOW).unwrap();
    let bundle = trust.bundle();
    for der in [&issued.chain[1], &bundle.roots()[0].der] {
        assert!(parse(der).name_constraints().unwrap().is_none());
    }
}

#[test]
fn renewal_is_at_half_life_give_or_take_a_tenth_and_spread() {
    let (_directory, trust) = fresh();
    let half = time::Duration::hours(12);
    let after: BTreeSet<_> = (0..200)
        .map(|n| {
            let issued = trust.workload_certificate(&format!("a/{n}"), id("a", "b"), NOW).unwrap();
            issued.renew_at - NOW
        })
        .collect();
    let (first, last) = (*after.first().unwrap(), *after.last().unwrap());
    assert!(first >= half * 0.9 && last <= half * 1.1, "{first} to {last}");
    assert!(last - first > half * 0.15, "not spread: {first} to {last}");
}

#[test]
fn a_certificate_is_kept_until_it_is_due() {
    let (_directory, trust) = fresh();
    let get = |now| trust.workload_certificate("a/b", id("a", "b"), now).unwrap();
    let first = get(NOW);
    assert!(Arc::ptr_eq(&first, &get(first.renew_at - Duration::from_secs(1))));
    let second = get(first.renew_at);
    assert_ne!(first.serial, second.serial);
    assert_ne!(*first.key_pem, *second.key_pem, "each certificate has a key of its own");
}

#[test]
fn threat_02_another_identity_never_gets_what_the_workload_had() {
    let (_directory, trust) = fresh();
    let before = trust.workload_certificate("a/b", id("a", "b"), NOW).unwrap();
    let after = trust.workload_certificate("a/b", id("a", "c"), NOW).unwrap();
    assert_ne!(before.serial, after.serial);
    assert_eq!(after.id, id("a", "c"));
}

#[test]
fn a_foreign_identity_is_not_issued() {
    let (_directory, trust) = fresh();
    let foreign = "spiffe://elsewhere/ns/a/sa/b".parse().unwrap();
    let refused = trust.workload_certificate("a/b", &foreign, NOW).unwrap_err();
    assert!(matches!(refused, TrustError::ForeignIdentity { .. }), "{refused}");
}

#[test]
fn a_leaf_never_outlives_its_signer() {
    let directory = tempfile::tempdir().unwrap();
    let long = Settings { workload_ttl: 90 * DAY, ..settings() };
    let trust = open(directory.path(), long, NOW).unwrap();
    let issued = trust.workload_certificate("a/b", id("a", "b"), NOW).unwrap();
    assert_eq!(issued.not_after, trust.intermediate().not_after);
}

#[test]
fn nothing_is_signed_by_an_authority_that_has_expired() {
    let (_directory, trust) = fresh();
    let late = NOW + 31 * DAY;
    let refused = trust.workload_certificate("a/b", id("a", "b"), late).unwrap_err();
    assert!(matches!(refused, TrustError::SignerExpired { .. }), "{refused}");
    assert!(trust.maintain(late).unwrap().activated, "the root is good for years yet");
    trust.workload_certificate("a/b", id("a", "b"), late).unwrap();
}

/// A hundred years in which somebody looks every five days: there is always somebody to sign, until the root itself is over.
#[test]
fn the_intermediate_is_replaced_in_time_and_never_runs_out() {
    let (_directory, trust) = fresh();
    let mut replaced = 0;
    for look in 0..(3650 / 5 - 6) {
        let now = NOW + look * 5 * DAY;
        replaced += u32::from(trust.maintain(now).unwrap().activated);
        let issued = trust.workload_certificate("a/b", id("a", "b"), now).unwrap();
        assert_eq!(issued.not_after - now, time::Duration::DAY, "a full life at {now}");
    }
    // Every fifteen days in ten years.
    assert!((230..=250).contains(&replaced), "{replaced}");
}

#[test]
fn threads_that_come_at_once_share_a_transaction_and_get_what_they_asked_for() {
    let (_directory, trust) = fresh();
    let issued: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..64)
            .map(|n| {
                let (trust, name) = (&trust, format!("a/{}", n % 32));
                scope.spawn(move || trust.workload_certificate(&name, id("a", &format!("sa-{}", n % 32)), NOW).unwrap())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (n, certificate) in issued.iter().enumerate() {
        assert_eq!(certificate.id, id("a", &format!("sa-{}", n % 32)));
        assert_eq!(certificate.serial, issued[n % 32].serial, "two streams of one workload get one certificate");
    }
    let serials: BTreeSet<_> = issued.iter().map(|certificate| certificate.serial.clone()).collect();
    assert_eq!(serials.len(), 32);
}

#[test]
fn threat_07_debug_shows_no_key() {
    let (_directory, trust) = fresh();
    let issued = trust.workload_certificate("a/b", id("a", "b"), NOW).unwrap();
    let shown = format!("{issued:?}");
    let body: String = issued.key_pem.lines().filter(|line| !line.starts_with("---")).collect();
    assert!(!shown.contains(&body[..16]) && !shown.contains("PRIVATE"), "{shown}");
    let record = AuthorityRecord {
        kind: AuthorityKind::Root,
        cluster: "one".into(),
        certificate: Vec::new(),
        key: vec![0xab; 32].into(),
        created_at: NOW,
        serial: "01".parse().unwrap(),
        standing: Standing { state: AuthorityState::Active, trusted: true },
        issued_until: NOW,
    };
    assert!(!format!("{record:?}").contains("171"));
}
