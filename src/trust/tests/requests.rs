//! Certificate requests: threat 4, every way in which one could ask for more than its caller is.

use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    SanType,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;

fn request(key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    change(&mut params);
    params.serialize_request(key).unwrap().pem().unwrap()
}

/// A request with nothing in it but a key.
pub(super) fn csr() -> String {
    request(&KeyPair::generate().unwrap(), |_| ())
}

fn refused(pem: &str) -> CsrError {
    let (_directory, trust) = fresh();
    match trust.sign_csr(pem, id("a", "b"), None, NOW) {
        Err(TrustError::Csr(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn refused_when(change: impl FnOnce(&mut CertificateParams)) -> CsrError {
    refused(&request(&KeyPair::generate().unwrap(), change))
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

#[test]
fn threat_04_the_certificate_says_what_we_say() {
    let (_directory, trust) = fresh();
    let key = KeyPair::generate().unwrap();
    let pem = request(&key, |params| {
        params.subject_alt_names = vec![uri("spiffe://cluster.local/ns/a/sa/b")];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        params.key_usages = vec![KeyUsagePurpose::DataEncipherment];
    });
    let issued = trust.sign_csr(&pem, id("a", "b"), None, NOW).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(issued.chain_pem.as_bytes()).unwrap();
    let (_, leaf) = X509Certificate::from_der(&pem.contents).unwrap();
    assert_eq!(leaf.public_key().raw, rcgen::PublicKeyData::subject_public_key_info(&key));
    assert_eq!(crate::identity::spiffe_id_of(&leaf).unwrap(), id("a", "b"));
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.client_auth && !extended.code_signing);
    assert!(!leaf.key_usage().unwrap().unwrap().value.data_encipherment());
    assert_eq!(issued.not_after - NOW, time::Duration::DAY);
}

#[test]
fn an_empty_request_is_enough() {
    let (_directory, trust) = fresh();
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_RSA_SHA256] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        trust.sign_csr(&request(&key, |_| ()), id("a", "b"), None, NOW).unwrap();
    }
}

#[test]
fn threat_04_names_that_are_not_the_callers() {
    let own = "spiffe://cluster.local/ns/a/sa/b";
    let other = "spiffe://cluster.local/ns/a/sa/admin";
    for names in [
        vec![uri(other)],
        vec![uri(own), uri(other)],
        vec![uri(own), uri(own)],
        vec![uri(own), SanType::DnsName("payment.example".try_into().unwrap())],
        vec![SanType::IpAddress([127, 0, 0, 1].into())],
        vec![SanType::Rfc822Name("a@b".try_into().unwrap())],
    ] {
        let error = refused_when(|params| params.subject_alt_names = names.clone());
        assert!(matches!(error, CsrError::Name(_)), "{names:?}: {error}");
    }
    let error = refused_when(|params| params.distinguished_name.push(DnType::CommonName, "payment.example"));
    assert_eq!(error, CsrError::Name("payment.example".into()));
}

#[test]
fn threat_04_authorities_and_odd_extensions() {
    let signs = refused_when(|params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
    // rcgen itself writes no basicConstraints into a request, so one is made by hand: SEQUENCE { TRUE }.
    let by_hand = refused_when(|params| {
        let mut constraints = CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 0x03, 0x01, 0x01, 0xff]);
        constraints.set_criticality(true);
        params.custom_extensions = vec![constraints];
    });
    assert_eq!([&signs, &by_hand], [&CsrError::Authority; 2]);
    let odd = refused_when(|params| {
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0])];
    });
    assert_eq!(odd, CsrError::Extension("1.2.3.4".into()));
}

#[test]
fn threat_04_a_request_signed_by_another_key() {
    let pem = request(&KeyPair::generate().unwrap(), |_| ());
    let mut der = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap().1.contents;
    // The last byte of the signature.
    *der.last_mut().unwrap() ^= 1;
    let forged = pem_block(&der);
    assert_eq!(refused(&forged), CsrError::Proof);
}

#[test]
fn threat_04_weak_and_unknown_keys() {
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    assert!(matches!(refused(&request(&ed25519, |_| ())), CsrError::Key(_)));
    let p521 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
    assert!(matches!(refused(&request(&p521, |_| ())), CsrError::Key(_)));
}

#[test]
fn threat_15_what_is_no_request() {
    let good = request(&KeyPair::generate().unwrap(), |_| ());
    assert!(matches!(refused(""), CsrError::Unreadable(_)));
    assert!(matches!(refused("garbage"), CsrError::Unreadable(_)));
    assert!(matches!(refused(&format!("{good}{good}")), CsrError::Unreadable(_)));
    assert!(matches!(refused(&pem_block(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff])), CsrError::Unreadable(_)));
    assert_eq!(refused(&"A".repeat(1 << 20)), CsrError::TooLarge);
    let mut der = x509_parser::pem::parse_x509_pem(good.as_bytes()).unwrap().1.contents;
    der.push(0);
    assert!(matches!(refused(&pem_block(&der)), CsrError::Unreadable(_)));
}

fn pem_block(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n")
}

#[test]
fn threat_08_the_key_that_was_proven_is_the_one_that_is_certified() {
    let (_directory, trust) = fresh();
    let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let (first, second) = (request(&one, |_| ()), request(&other, |_| ()));
    use rcgen::PublicKeyData as _;
    for (csr, key) in [(&first, &one), (&second, &other)] {
        let issued = trust.sign_csr(csr, id("a", "b"), None, NOW).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(issued.chain_pem.as_bytes()).unwrap();
        assert_eq!(pem.parse_x509().unwrap().public_key().raw, key.subject_public_key_info());
    }
    // Two parsers could each take another one of these.
    for both in [format!("{first}{second}"), format!("{second}{first}")] {
        assert!(matches!(refused(&both), CsrError::Unreadable(_)));
    }
}
