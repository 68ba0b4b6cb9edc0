//! Rules about Certificates and issuers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use time::OffsetDateTime;
use time::macros::datetime;

use super::{assert_found, assert_silent};

/// Ten lines.
const CERTIFICATE: &str = "apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: web
  namespace: shop
spec:
  secretName: web-tls
  issuerRef: {name: ca, kind: ClusterIssuer}
  dnsNames: [web.shop]
---
";
/// From line 11 on.
const ISSUER: &str = "apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata: {name: ca}
spec:
  ca:
    secretName: ca
";

fn authority(is_ca: bool, until: OffsetDateTime) -> String {
    let (mut params, key) = (CertificateParams::default(), KeyPair::generate().unwrap());
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params.distinguished_name.push(DnType::CommonName, "authority");
    (params.not_before, params.not_after) = (datetime!(2026-06-01 00:00 UTC), until);
    format!(
        "---\n{{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: {{name: ca, namespace: cert-manager}},\n data: {{tls.crt: {}, tls.key: {}}}}}\n",
        STANDARD.encode(params.self_signed(&key).unwrap().pem()),
        STANDARD.encode(key.serialize_pem())
    )
}

fn good() -> String {
    [CERTIFICATE, ISSUER, &authority(true, datetime!(2035-01-01 00:00 UTC))].concat()
}

#[test]
fn a_good_certificate_is_nothing_to_talk_about() {
    for code in ["CS0606", "CS0607", "CS0608", "CS0609", "CS0610"] {
        assert_silent(&good(), code);
    }
}

#[test]
fn cs0606_an_issuer_that_is_not_there() {
    assert_found(
        CERTIFICATE,
        "CS0606",
        8,
        "Certificate shop/web is to be signed by ClusterIssuer ca, which is not there",
    );
    let own = good().replace("kind: ClusterIssuer}", "kind: Issuer}");
    assert_found(&own, "CS0606", 8, "Issuer ca");
}

#[test]
fn cs0607_an_issuer_without_an_authority() {
    let bare = [CERTIFICATE, ISSUER].concat();
    assert_found(&bare, "CS0607", 16, "the issuer ca signs with Secret ca, which is not there");
    let leaf = [CERTIFICATE, ISSUER, &authority(false, datetime!(2035-01-01 00:00 UTC))].concat();
    assert_found(&leaf, "CS0607", 16, "is not an authority's");
    let expired = [CERTIFICATE, ISSUER, &authority(true, datetime!(2026-12-01 00:00 UTC))].concat();
    assert_found(&expired, "CS0607", 16, "is valid from");
    // A Certificate will make it.
    let made = CERTIFICATE
        .replace("web-tls", "ca")
        .replace("name: web", "name: root")
        .replace("name: ca, kind: ClusterIssuer", "name: self");
    let made = [&made, ISSUER, "---\n", "{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {name: self, namespace: shop}, spec: {selfSigned: {}}}\n"].concat();
    assert_silent(&made, "CS0607");
}

#[test]
fn cs0608_two_certificates_for_one_secret() {
    let second = CERTIFICATE.replace("name: web", "name: another");
    let text = [CERTIFICATE, &second, ISSUER, &authority(true, datetime!(2035-01-01 00:00 UTC))].concat();
    assert_found(
        &text,
        "CS0608",
        7,
        "Secret web-tls of Certificate shop/web is Certificate shop/another's (f.yaml:11)",
    );
    assert_silent(&text.replace("name: another\n  namespace: shop", "name: another\n  namespace: bank"), "CS0608");
}

#[test]
fn cs0609_a_certificate_that_ends_with_its_authority() {
    let text = [CERTIFICATE, ISSUER, &authority(true, datetime!(2027-02-01 00:00 UTC))].concat();
    assert_found(&text, "CS0609", 1, "is to live for 2160 hours, and who signs it ends at 2027-02-01");
    assert_silent(&text.replace("dnsNames:", "duration: 24h\n  dnsNames:"), "CS0609");
}

#[test]
fn cs0610_a_reader_without_a_grant() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: bank, annotations: {countersign.dev/readers: 'own, bank/own, shop/web'}}\n";
    assert_found(
        secret,
        "CS0610",
        1,
        "Secret bank/a names shop/web as a reader, and no ReferenceGrant lets shop refer to it",
    );
    let grant = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {name: g, namespace: bank}\nspec: {from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: shop}], to: [{group: '', kind: Secret}]}\n";
    assert_silent(&[secret, grant].concat(), "CS0610");
}
