//! A leaf's DER. What all leaves of one signer have in common is encoded once; what is left for each is to fill in five fields, to hash
//! and to sign.

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{KeyPair, SanType, SigningKey as _};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Serial, TrustError};

// Tags (X.690 §8).
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const EXTENSIONS: u8 = 0xa3;
// Of a GeneralName (RFC 5280 §4.2.1.6).
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;
const IP_ADDRESS: u8 = 0x87;
const KEY_IDENTIFIER: u8 = 0x80;

/// `[0] { INTEGER 2 }`: version 3.
const VERSION_3: &[u8] = &[0xa0, 0x03, INTEGER, 0x01, 0x02];
/// No subject: RFC 5280 §4.1.2.6 then makes the alternative name critical, so nobody can overlook the identity.
const NO_SUBJECT: &[u8] = &[SEQUENCE, 0];
/// Critical: TRUE.
const CRITICAL: &[u8] = &[0x01, 0x01, 0xff];
// id-ce (2.5.29) and the extension's number.
const SUBJECT_KEY_ID: &[u8] = &[0x06, 3, 0x55, 0x1d, 14];
const KEY_USAGE: &[u8] = &[0x06, 3, 0x55, 0x1d, 15];
const ALTERNATIVE_NAME: &[u8] = &[0x06, 3, 0x55, 0x1d, 17];
const BASIC_CONSTRAINTS: &[u8] = &[0x06, 3, 0x55, 0x1d, 19];
const AUTHORITY_KEY_ID: &[u8] = &[0x06, 3, 0x55, 0x1d, 35];
const EXTENDED_KEY_USAGE: &[u8] = &[0x06, 3, 0x55, 0x1d, 37];
/// digitalSignature, and nothing else.
const DIGITAL_SIGNATURE: &[u8] = &[BIT_STRING, 2, 7, 0x80];
/// serverAuth and clientAuth: a workload is both ends of mutual TLS.
const BOTH_ENDS: &[u8] = &[SEQUENCE, 20, 0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1, 0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2];
/// ecdsa-with-SHA256, ecdsa-with-SHA384 (RFC 5758 §3.2), sha256WithRSAEncryption (RFC 4055 §5), Ed25519 (RFC 8410 §3).
const ECDSA_SHA256: &[u8] = &[SEQUENCE, 10, 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const ECDSA_SHA384: &[u8] = &[SEQUENCE, 10, 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
const RSA_SHA256: &[u8] = &[SEQUENCE, 13, 0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11, 5, 0];
const ED25519: &[u8] = &[SEQUENCE, 5, 0x06, 3, 0x2b, 0x65, 0x70];

/// What is the same in every leaf of one signer.
#[derive(Debug)]
pub(super) struct Template {
    algorithm: &'static [u8],
    /// Signature algorithm and issuer, as they stand in the certificate.
    head: Vec<u8>,
    /// The extensions that do not vary.
    extensions: Vec<u8>,
}

/// What is not.
pub(super) struct Leaf<'a> {
    pub(super) serial: &'a Serial,
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
    /// SubjectPublicKeyInfo in DER.
    pub(super) public_key: &'a [u8],
    pub(super) names: &'a [SanType],
}

impl Template {
    /// For leaves of the authority with this certificate and key.
    pub(super) fn new(signer: &CertificateDer<'_>, key: &KeyPair) -> Result<Self, TrustError> {
        let unusable = |reason: &dyn std::fmt::Display| TrustError::material("the signing authority", reason);
        let (_, signer) = X509Certificate::from_der(signer).map_err(|error| unusable(&error))?;
        let algorithm = key.algorithm();
        let algorithm = [
            (&rcgen::PKCS_ECDSA_P256_SHA256, ECDSA_SHA256),
            (&rcgen::PKCS_ECDSA_P384_SHA384, ECDSA_SHA384),
            (&rcgen::PKCS_RSA_SHA256, RSA_SHA256),
            (&rcgen::PKCS_ED25519, ED25519),
        ]
        .into_iter()
        .find(|(known, _)| *known == algorithm)
        .map(|(_, der)| der)
        .ok_or_else(|| unusable(&"its key is of a kind that is not signed with here"))?;

        let mut extensions = Vec::new();
        let key_id = signer.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
            _ => None,
        });
        if let Some(key_id) = key_id {
            extension(&mut extensions, AUTHORITY_KEY_ID, false, &wrap(SEQUENCE, &wrap(KEY_IDENTIFIER, key_id)));
        }
        extension(&mut extensions, KEY_USAGE, true, DIGITAL_SIGNATURE);
        extension(&mut extensions, EXTENDED_KEY_USAGE, false, BOTH_ENDS);
        // No authority: an empty sequence.
        extension(&mut extensions, BASIC_CONSTRAINTS, true, &[SEQUENCE, 0]);
        Ok(Self { algorithm, head: [algorithm, signer.subject().as_raw()].concat(), extensions })
    }

    /// The certificate, signed with the key of the template's signer.
    pub(super) fn sign(&self, leaf: &Leaf<'_>, key: &KeyPair) -> Result<CertificateDer<'static>, TrustError> {
        let unusable = |reason: &dyn std::fmt::Display| TrustError::material("a new certificate", reason);
        let mut body = Vec::with_capacity(768 + leaf.public_key.len());
        body.extend_from_slice(VERSION_3);
        push(&mut body, INTEGER, leaf.serial.as_positive());
        body.extend_from_slice(&self.head);
        let mut validity = Vec::with_capacity(34);
        push_time(&mut validity, leaf.not_before);
        push_time(&mut validity, leaf.not_after);
        push(&mut body, SEQUENCE, &validity);
        body.extend_from_slice(NO_SUBJECT);
        body.extend_from_slice(leaf.public_key);

        let mut extensions = self.extensions.clone();
        // RFC 7093 §2, method 1 over the whole SubjectPublicKeyInfo, as rcgen has it: 160 bits of its SHA-256.
        let key_id = digest(&SHA256, leaf.public_key);
        extension(&mut extensions, SUBJECT_KEY_ID, false, &wrap(OCTET_STRING, &key_id.as_ref()[..20]));
        let mut names = Vec::with_capacity(128);
        for name in leaf.names {
            match name {
                SanType::URI(uri) => push(&mut names, URI, uri.as_str().as_bytes()),
                SanType::DnsName(name) => push(&mut names, DNS_NAME, name.as_str().as_bytes()),
                SanType::IpAddress(std::net::IpAddr::V4(ip)) => push(&mut names, IP_ADDRESS, &ip.octets()),
                SanType::IpAddress(std::net::IpAddr::V6(ip)) => push(&mut names, IP_ADDRESS, &ip.octets()),
                _ => return Err(unusable(&"a name of a kind that no leaf has")),
            }
        }
        extension(&mut extensions, ALTERNATIVE_NAME, true, &wrap(SEQUENCE, &names));
        push(&mut body, EXTENSIONS, &wrap(SEQUENCE, &extensions));

        let signed = wrap(SEQUENCE, &body);
        let signature = key.sign(&signed).map_err(|error| unusable(&error))?;
        let mut whole = signed;
        whole.extend_from_slice(self.algorithm);
        // No unused bits.
        push(&mut whole, BIT_STRING, &[&[0], signature.as_slice()].concat());
        Ok(wrap(SEQUENCE, &whole).into())
    }
}

fn extension(to: &mut Vec<u8>, id: &[u8], critical: bool, value: &[u8]) {
    let critical = if critical { CRITICAL } else { &[] };
    push(to, SEQUENCE, &[id, critical, &wrap(OCTET_STRING, value)].concat());
}

fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = Vec::with_capacity(content.len() + 5);
    push(&mut der, tag, content);
    der
}

/// X.690 §8.1.3: a length below 128 is one byte, a longer one is preceded by the number of its bytes.
fn push(to: &mut Vec<u8>, tag: u8, content: &[u8]) {
    to.push(tag);
    match content.len() {
        length @ ..=0x7f => to.push(length as u8),
        length @ ..=0xff => to.extend_from_slice(&[0x81, length as u8]),
        length => to.extend_from_slice(&[0x82, (length >> 8) as u8, length as u8]),
    }
    to.extend_from_slice(content);
}

/// RFC 5280 §4.1.2.5: two digits for the year until 2049, four from then on.
fn push_time(to: &mut Vec<u8>, time: OffsetDateTime) {
    let time = time.to_offset(time::UtcOffset::UTC);
    let (year, tag) = (time.year(), if time.year() < 2050 { UTC_TIME } else { GENERALIZED_TIME });
    let mut text = Vec::with_capacity(15);
    let mut two = |number: u32| text.extend_from_slice(&[b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]);
    if tag == GENERALIZED_TIME {
        two(year.unsigned_abs() / 100);
    }
    two(year.unsigned_abs() % 100);
    [u8::from(time.month()), time.day(), time.hour(), time.minute(), time.second()]
        .into_iter()
        .for_each(|it| two(it.into()));
    text.push(b'Z');
    push(to, tag, &text);
}
