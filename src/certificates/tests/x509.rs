//! What is in a certificate and its key. `tests/certificates.rs` has it read by others.

use x509_parser::prelude::{FromDer, X509Certificate};

use super::super::key::PrivateKey;
use super::*;
use crate::policy::{PrivateKeyAlgorithm, PrivateKeyEncoding};

#[test]
fn every_kind_of_key_is_made_written_and_read() {
    for algorithm in [
        PrivateKeyAlgorithm::Rsa(2048),
        PrivateKeyAlgorithm::Ecdsa(256),
        PrivateKeyAlgorithm::Ecdsa(384),
        PrivateKeyAlgorithm::Ecdsa(521),
        PrivateKeyAlgorithm::Ed25519,
    ] {
        let key = PrivateKey::generate(algorithm).unwrap();
        assert_eq!(key.algorithm(), Some(algorithm));
        for (encoding, label) in [(PrivateKeyEncoding::Pkcs1, ""), (PrivateKeyEncoding::Pkcs8, "PRIVATE KEY")] {
            let pem = key.write(encoding).unwrap();
            let again = PrivateKey::read(&pem).unwrap();
            assert_eq!((again.algorithm(), again.public_key()), (Some(algorithm), key.public_key()));
            assert_eq!(
                again.write(PrivateKeyEncoding::Pkcs8).unwrap(),
                key.write(PrivateKeyEncoding::Pkcs8).unwrap(),
                "{algorithm:?}"
            );
            let label = match (label, algorithm) {
                ("", PrivateKeyAlgorithm::Rsa(_)) => "RSA PRIVATE KEY",
                ("", PrivateKeyAlgorithm::Ecdsa(_)) => "EC PRIVATE KEY",
                _ => "PRIVATE KEY",
            };
            assert!(pem.starts_with(format!("-----BEGIN {label}-----\n").as_bytes()), "{algorithm:?} {encoding:?}");
        }
    }
}

#[test]
fn threat_07_no_byte_of_a_key_is_in_debug_or_an_error() {
    let text = root("ca", datetime!(2036-01-01 00:00 UTC)) + &cluster_issuer("ca", "ca") + &certificate("");
    let (mut desk, set) = (Desk::default(), set(&text));
    let outcome = desk.pass(&set, NOW);
    let key = desk.secret(&set, "shop/web-tls").unwrap().spec.data["tls.key"].to_vec();
    let line = String::from_utf8(key).unwrap().lines().nth(1).unwrap().to_owned();
    let shown = format!("{:?} {outcome:?} {:?}", desk.controller, desk.controller.with_secrets(&set));
    assert!(!shown.contains(&line) && !shown.contains("PRIVATE"), "{shown}");
    let error =
        PrivateKey::read(b"-----BEGIN PRIVATE KEY-----\nc3VwZXIgc2VjcmV0\n-----END PRIVATE KEY-----\n").unwrap_err();
    assert_eq!(error.to_string(), "the private key cannot be read");
}

#[test]
fn names_are_critical_where_there_is_no_other_name() {
    let until = datetime!(2036-01-01 00:00 UTC);
    for (fields, is_critical) in [("", true), (", commonName: web", false)] {
        let (mut desk, set) =
            (Desk::default(), set(&(root("ca", until) + &cluster_issuer("ca", "ca") + &certificate(fields))));
        desk.pass(&set, NOW);
        let pem = desk.secret(&set, "shop/web-tls").unwrap().spec.data["tls.crt"].clone();
        let der = x509_parser::pem::parse_x509_pem(&pem).unwrap().1.contents;
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        assert_eq!(certificate.subject_alternative_name().unwrap().unwrap().critical, is_critical);
        assert_eq!(certificate.version().0, 2);
        assert!(!certificate.is_ca());
    }
}
