//! Join tokens: once, and for whom they were made.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const SECRET: &str = "Zm9ydHktdHdvIGJ5dGVzIG9mIG5vdGhpbmcgbXVjaCBhdCBh";
const MINUTE: Duration = Duration::from_secs(60);

fn csr() -> String {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

fn with_token() -> (TempDir, Trust) {
    let (directory, trust) = fresh();
    trust.add_join_token(SECRET, "a/b", &id("a", "b"), 10 * MINUTE, NOW).unwrap();
    (directory, trust)
}

fn refused(trust: &Trust, secret: &str, now: OffsetDateTime) {
    let error = trust.join(secret, &csr(), &[], None, now).unwrap_err();
    assert_eq!(error, TrustError::JoinToken, "nobody learns why");
}

#[test]
fn threat_09_a_token_is_used_once() {
    let (_directory, trust) = with_token();
    let (token, issued) = trust.join(SECRET, &csr(), &[], None, NOW + MINUTE).unwrap();
    assert_eq!((token.workload.as_str(), token.identity), ("a/b", id("a", "b").to_string()));
    let (_, pem) = x509_parser::pem::parse_x509_pem(issued.chain_pem.as_bytes()).unwrap();
    assert_eq!(crate::identity::spiffe_id_of(&pem.parse_x509().unwrap()).unwrap(), id("a", "b"));
    refused(&trust, SECRET, NOW + MINUTE);
    assert_eq!(trust.join_tokens().unwrap()[0].used_at, Some(NOW + MINUTE));
}

#[test]
fn threat_09_of_a_hundred_at_once_one_gets_in() {
    let (directory, trust) = with_token();
    let got_in = AtomicUsize::new(0);
    let requests: Vec<_> = (0..100).map(|_| csr()).collect();
    // Two servers on one store: the store decides, not a lock in the process.
    let other = open(directory.path(), settings(), NOW).unwrap();
    std::thread::scope(|scope| {
        for (n, csr) in requests.iter().enumerate() {
            let trust = if n % 2 == 0 { &trust } else { &other };
            let got_in = &got_in;
            scope.spawn(move || match trust.join(SECRET, csr, &[], None, NOW) {
                Ok(_) => {
                    got_in.fetch_add(1, Ordering::SeqCst);
                }
                // A writer that finds the file locked for too long is refused, and has got nothing.
                Err(error) => assert!(matches!(error, TrustError::JoinToken | TrustError::Store(_)), "{error}"),
            });
        }
    });
    assert_eq!(got_in.load(Ordering::SeqCst), 1);
}

#[test]
fn threat_09_a_crash_gives_no_second_use() {
    let (directory, trust) = with_token();
    trust.join(SECRET, &csr(), &[], None, NOW).unwrap();
    // Not closed: as after kill -9, the second one finds the write-ahead log.
    let again = open(directory.path(), settings(), NOW).unwrap();
    refused(&again, SECRET, NOW);
}

#[test]
fn threat_09_an_expired_a_revoked_and_an_unknown_token_are_alike() {
    let (_directory, trust) = with_token();
    refused(&trust, SECRET, NOW + 10 * MINUTE);
    refused(&trust, "another", NOW);
    let token = trust.join_tokens().unwrap().remove(0);
    assert!(trust.revoke_join_token(&token.id).unwrap());
    assert!(!trust.revoke_join_token(&token.id).unwrap());
    refused(&trust, SECRET, NOW);
}

#[test]
fn threat_04_a_bad_request_spends_no_token() {
    let (_directory, trust) = with_token();
    let error = trust.join(SECRET, "garbage", &[], None, NOW).unwrap_err();
    assert!(matches!(error, TrustError::Csr(_)), "{error}");
    trust.join(SECRET, &csr(), &[], None, NOW).unwrap();
}

#[test]
fn threat_07_the_secret_is_not_in_the_store() {
    let (directory, trust) = with_token();
    let token = trust.join_tokens().unwrap().remove(0);
    assert!(!format!("{token:?}").contains(SECRET));
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()));
    }
}

#[test]
fn what_is_over_for_long_is_forgotten() {
    let (directory, trust) = with_token();
    trust.join(SECRET, &csr(), &[], None, NOW + MINUTE).unwrap();
    trust.add_join_token("another", "a/c", &id("a", "c"), DAY, NOW).unwrap();
    trust.saw(&["a/gone".into()], NOW).unwrap();
    trust.saw(&["a/here".into()], NOW + 8 * DAY).unwrap();
    assert!(trust.last_request(&id("a", "b")).is_some());
    trust.maintain(NOW + DAY).unwrap();
    assert_eq!(trust.join_tokens().unwrap().len(), 2, "an operator may still want to know what became of it");
    assert!(trust.last_request(&id("a", "b")).is_some(), "what it got may still be used or renewed");
    trust.maintain(NOW + 7 * DAY + 11 * MINUTE).unwrap();
    let left: Vec<_> = trust.join_tokens().unwrap().into_iter().map(|it| it.workload).collect();
    assert_eq!(left, ["a/c"]);
    assert_eq!(trust.last_request(&id("a", "b")), None);
    refused(&trust, SECRET, NOW + 8 * DAY);
    trust.forget_seen(NOW + 5 * MINUTE).unwrap();
    assert!(trust.seen_since(NOW - DAY).contains_key("a/gone"), "it may have been here until ten minutes later");
    trust.forget_seen(NOW + DAY).unwrap();
    for trust in [&trust, &open(directory.path(), settings(), NOW + 8 * DAY).unwrap()] {
        assert_eq!(trust.seen_since(NOW - DAY).into_keys().collect::<Vec<_>>(), ["a/here"]);
    }
}
