//! Rules about the certificates in Secrets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use time::OffsetDateTime;
use time::macros::datetime;

use super::{assert_found, assert_silent};

/// An authority's certificate with an RSA key of 1024 bits, made with OpenSSL.
const RSA_1024: &str = include_str!("rsa_1024.pem");
/// A leaf with a SHA-1 signature, made with OpenSSL.
const SHA1_SIGNATURE: &str = include_str!("sha1_signature.pem");

fn secret(entries: &[(&str, &str)]) -> String {
    named_secret("edge", "gateway", entries)
}

pub(super) fn named_secret(namespace: &str, name: &str, entries: &[(&str, &str)]) -> String {
    let data: Vec<String> = entries.iter().map(|(key, value)| format!("{key}: {}", STANDARD.encode(value))).collect();
    format!(
        "---\n{{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: {{name: {name}, namespace: {namespace}}},\n data: {{{}}}}}\n",
        data.join(", ")
    )
}

/// A leaf of an authority, and its key.
fn leaf(not_before: OffsetDateTime, not_after: OffsetDateTime) -> (String, String) {
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "authority");
    let mut params = CertificateParams::new(["gateway.example".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "leaf");
    (params.not_before, params.not_after) = (not_before, not_after);
    let issuer = Issuer::new(authority, ca_key);
    (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
}

pub(super) fn good() -> (String, String) {
    leaf(datetime!(2026-06-01 00:00 UTC), datetime!(2027-06-01 00:00 UTC))
}

#[test]
fn a_good_pair_is_nothing_to_talk_about() {
    let (chain, key) = good();
    let text = secret(&[("tls.crt", &chain), ("tls.key", &key)]);
    for code in ["CS0501", "CS0502", "CS0503", "CS0504", "CS0505", "CS0506"] {
        assert_silent(&text, code);
    }
}

#[test]
fn cs0501_not_valid_at_this_time() {
    for (begin, end, message) in [
        (datetime!(2026-01-01 00:00 UTC), datetime!(2026-12-31 00:00 UTC), "tls.crt has expired (valid from"),
        (datetime!(2027-01-02 00:00 UTC), datetime!(2028-01-01 00:00 UTC), "tls.crt is not valid yet (valid from"),
    ] {
        let (chain, key) = leaf(begin, end);
        assert_found(&secret(&[("tls.crt", &chain), ("tls.key", &key)]), "CS0501", 2, message);
    }
}

#[test]
fn cs0502_expires_soon() {
    let (chain, key) = leaf(datetime!(2026-01-01 00:00 UTC), datetime!(2027-01-08 00:00 UTC));
    assert_found(&secret(&[("tls.crt", &chain), ("tls.key", &key)]), "CS0502", 2, "expires at ");
    // A certificate that lives for a day is not old in its first hours.
    let (chain, key) = leaf(datetime!(2026-12-31 22:00 UTC), datetime!(2027-01-01 22:00 UTC));
    assert_silent(&secret(&[("tls.crt", &chain), ("tls.key", &key)]), "CS0502");
}

#[test]
fn cs0503_self_signed() {
    let key = KeyPair::generate().unwrap();
    let chain = CertificateParams::new(["gateway.example".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let text = secret(&[("tls.crt", &chain), ("tls.key", &key.serialize_pem())]);
    assert_found(&text, "CS0503", 2, "certificate 1 of tls.crt in Secret edge/gateway");
    // Roots are all self-signed.
    assert_silent(&secret(&[("ca.crt", &chain)]), "CS0503");
}

#[test]
fn cs0504_a_key_of_another_certificate() {
    let ((chain, _), (_, key)) = (good(), good());
    assert_found(&secret(&[("tls.crt", &chain), ("tls.key", &key)]), "CS0504", 2, "is not the key");
}

#[test]
fn cs0505_weak_keys_and_signatures() {
    assert_found(&secret(&[("ca.crt", RSA_1024)]), "CS0505", 2, "an RSA key of 1024 bits");
    assert_found(&secret(&[("ca.crt", SHA1_SIGNATURE)]), "CS0505", 2, "SHA-1");
}

#[test]
fn cs0506_a_secret_that_cannot_be_used() {
    let (chain, _) = good();
    assert_found(&secret(&[("tls.crt", &chain)]), "CS0506", 2, "no tls.key");
    assert_found(&secret(&[("ca.crt", "not PEM")]), "CS0506", 2, "cannot be read");
}

#[test]
fn cs0507_a_chain_that_does_not_hold_together() {
    let ((chain, key), (other, _)) = (good(), good());
    assert_silent(&secret(&[("tls.crt", &chain), ("tls.key", &key)]), "CS0507");
    let text = secret(&[("tls.crt", &(chain + &other)), ("tls.key", &key)]);
    assert_found(&text, "CS0507", 2, "certificate 1 of tls.crt in Secret edge/gateway is not signed by the next one");
    // Roots stand beside one another.
    let (first, second) = (good().0, good().0);
    assert_silent(&secret(&[("ca.crt", &(first + &second))]), "CS0507");
}

#[test]
fn cs0508_an_authority_that_has_signed_for_long() {
    let authority = |not_before| {
        let (mut params, key) = (CertificateParams::default(), KeyPair::generate().unwrap());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) = (not_before, datetime!(2035-01-01 00:00 UTC));
        secret(&[("tls.crt", &params.self_signed(&key).unwrap().pem()), ("tls.key", &key.serialize_pem())])
    };
    assert_found(&authority(datetime!(2025-06-01 00:00 UTC)), "CS0508", 2, "has been signing for 579 days");
    assert_silent(&authority(datetime!(2026-06-01 00:00 UTC)), "CS0508");
}

#[test]
fn threat_07_no_byte_of_a_key_is_in_a_finding() {
    let (chain, _) = good();
    let text = secret(&[("tls.crt", &chain), ("tls.key", "super secret")]);
    assert_found(&text, "CS0506", 2, "tls.key");
    let shown = format!("{:?}", super::report(&text));
    assert!(!shown.contains("super secret") && !shown.contains(&STANDARD.encode("super secret")), "{shown}");
}
