//! Trust bundles as they go from one trust domain to another: a SPIFFE bundle (SPIFFE Trust Domain and Bundle §4, a JWK Set), or PEM.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::TrustBundle;
use crate::identity::TrustDomain;

/// A bundle is some kilobytes.
const MAX_BYTES: usize = 512 << 10;
/// A trust domain has one root, and two while it is replaced.
const MAX_ROOTS: usize = 64;
/// The `use` of a key that verifies X509-SVIDs (X509-SVID §6.1).
const X509_SVID: &str = "x509-svid";
/// Known key types (RFC 7518 §6.1, RFC 8037 §2). A key of another type is ignored (SPIFFE Trust Domain and Bundle §4.2.1).
const KEY_TYPES: [&str; 3] = ["EC", "RSA", "OKP"];

/// Why a bundle is not taken in. Nothing of it is kept then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// More than 512 KiB, or more than 64 roots.
    #[error("it is larger than any bundle: {MAX_BYTES} bytes, {MAX_ROOTS} roots")]
    TooLarge,
    /// Neither a JWK Set nor PEM.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// An empty bundle verifies nobody, and turns Envoy's verification off.
    #[error("it has no root: no PEM block CERTIFICATE, or no key with `use` {X509_SVID} and `x5c`")]
    Empty,
    /// A certificate that is no root of the trust domain.
    #[error("{subject}: {reason}")]
    Root {
        /// Its name.
        subject: String,
        /// Why.
        reason: String,
    },
    /// Our own bundle is made here.
    #[error("{0} is our own trust domain, and its bundle is made here")]
    OwnDomain(TrustDomain),
    /// An older bundle than the one that is kept: a root may have left since.
    #[error(
        "its sequence number is {found}, and a bundle with {kept} is kept: `countersign bundle remove {trust_domain}` first, if the older one is meant"
    )]
    Older {
        /// Whose bundle it is.
        trust_domain: TrustDomain,
        /// The one of the document.
        found: u64,
        /// The one that is kept.
        kept: u64,
    },
}

/// What a document says, read and not yet checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) sequence: Option<u64>,
    pub(super) refresh_hint: Option<u64>,
}

/// A JWK Set, as far as it is of use here. What else there is, is ignored as the specification demands.
#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Jwk>,
    spiffe_sequence: Option<u64>,
    spiffe_refresh_hint: Option<u64>,
}

#[derive(Deserialize)]
struct Jwk {
    #[serde(default)]
    kty: String,
    #[serde(default)]
    r#use: String,
    #[serde(default)]
    x5c: Vec<String>,
}

/// Reads a JWK Set, which begins with a brace, or PEM.
pub(super) fn read(text: &str) -> Result<Document, BundleError> {
    if text.len() > MAX_BYTES {
        return Err(BundleError::TooLarge);
    }
    let unreadable = |error: &dyn std::fmt::Display| BundleError::Unreadable(error.to_string());
    let mut document = match text.trim_start().starts_with('{') {
        true => {
            let set: JwkSet = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
            let svids = set.keys.iter().filter(|key| key.r#use == X509_SVID && KEY_TYPES.contains(&key.kty.as_str()));
            // X509-SVID §6.2: the first value counts, and a key without one is ignored.
            let certificates = svids.filter_map(|key| key.x5c.first()).map(|der| {
                STANDARD.decode(der).map(CertificateDer::from).map_err(|error| unreadable(&format!("x5c: {error}")))
            });
            let certificates = certificates.collect::<Result<_, _>>()?;
            Document { certificates, sequence: set.spiffe_sequence, refresh_hint: set.spiffe_refresh_hint }
        }
        false => {
            let certificates = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>();
            let certificates = certificates.map_err(|error| unreadable(&error))?;
            Document { certificates, sequence: None, refresh_hint: None }
        }
    };
    let mut seen = Vec::new();
    document.certificates.retain(|der| {
        let new = !seen.contains(der);
        if new {
            seen.push(der.clone());
        }
        new
    });
    match document.certificates.len() {
        0 => Err(BundleError::Empty),
        1..=MAX_ROOTS => Ok(document),
        _ => Err(BundleError::TooLarge),
    }
}

/// Whether this is a root of the trust domain, as far as a certificate can say: an authority that has signed itself, is not over, and is
/// nobody else's. `own` is our own bundle: who shares a root with us can speak for all of us (SPIFFE Trust Domain and Bundle §6.2).
pub(super) fn check_root(
    der: &CertificateDer<'_>,
    trust_domain: &TrustDomain,
    own: &TrustBundle,
    now: OffsetDateTime,
) -> Result<(), BundleError> {
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|error| BundleError::Unreadable(error.to_string()))?;
    let refused = |reason: String| BundleError::Root { subject: certificate.subject().to_string(), reason };
    if !rest.is_empty() {
        return Err(refused("there are bytes after its end".to_owned()));
    }
    let unreadable = |error: x509_parser::error::X509Error| refused(error.to_string());
    let constraints = certificate.basic_constraints().map_err(unreadable)?;
    if !constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err(refused("it is no authority: its basic constraints do not say CA".to_owned()));
    }
    let usage = certificate.key_usage().map_err(unreadable)?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(refused("its key usage does not allow to sign certificates".to_owned()));
    }
    if certificate.issuer().as_raw() != certificate.subject().as_raw() || certificate.verify_signature(None).is_err() {
        let issuer = certificate.issuer();
        return Err(refused(format!("it has not signed itself, and a bundle holds roots; {issuer} has issued it")));
    }
    let end = certificate.validity().not_after.to_datetime();
    if end <= now {
        return Err(refused(format!("it ended at {end}")));
    }
    let (names, own_uri) = (certificate.subject_alternative_name().map_err(unreadable)?, trust_domain.uri());
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        if let GeneralName::URI(uri) = name
            && uri.starts_with("spiffe://")
            && *uri != own_uri
        {
            return Err(refused(format!("it is {uri}'s, and this is to be the bundle of {own_uri}")));
        }
    }
    if own.roots().iter().any(|root| root.der == *der) {
        return Err(refused(format!("it is a root of {}: no two trust domains may share one", own.trust_domain())));
    }
    // What a TLS library cannot use as a root would be there and verify nobody.
    RootCertStore::empty().add(der.clone().into_owned()).map_err(|error| refused(error.to_string()))
}

#[derive(Serialize)]
struct PublishedSet {
    keys: Vec<PublishedKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spiffe_sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spiffe_refresh_hint: Option<u64>,
}

/// X509-SVID §6.1: no `kid`, and one certificate.
#[derive(Serialize)]
struct PublishedKey {
    #[serde(flatten)]
    key: KeyParameters,
    r#use: &'static str,
    x5c: [String; 1],
}

/// RFC 7518 §6 and RFC 8037 §2.
#[derive(Serialize)]
#[serde(tag = "kty")]
enum KeyParameters {
    #[serde(rename = "EC")]
    Ec { crv: &'static str, x: String, y: String },
    #[serde(rename = "RSA")]
    Rsa { n: String, e: String },
    #[serde(rename = "OKP")]
    Okp { crv: &'static str, x: String },
}

/// The bundle as a JWK Set. A root whose key no JWK can hold is an error: whoever reads the set would lack it.
pub(super) fn write(
    bundle: &TrustBundle,
    sequence: Option<u64>,
    refresh_hint: Option<u64>,
) -> Result<String, BundleError> {
    let keys = bundle.roots().iter().map(|root| {
        let unusable = |reason: &dyn std::fmt::Display| BundleError::Root {
            subject: root.subject.clone(),
            reason: reason.to_string(),
        };
        let (_, certificate) = X509Certificate::from_der(&root.der).map_err(|error| unusable(&error))?;
        let key = key_parameters(&certificate).ok_or_else(|| unusable(&"its key is of a kind that no JWK holds"))?;
        Ok(PublishedKey { key, r#use: X509_SVID, x5c: [STANDARD.encode(&root.der)] })
    });
    let set = PublishedSet {
        keys: keys.collect::<Result<_, BundleError>>()?,
        spiffe_sequence: sequence,
        spiffe_refresh_hint: refresh_hint,
    };
    serde_json::to_string_pretty(&set).map_err(|error| BundleError::Unreadable(error.to_string()))
}

fn key_parameters(certificate: &X509Certificate<'_>) -> Option<KeyParameters> {
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let unsigned = |bytes: &[u8]| {
        // RFC 7518 §6.3.1: no zero before the number, which DER has for the sign.
        let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        URL_SAFE_NO_PAD.encode(&bytes[first..])
    };
    let key = certificate.public_key();
    // id-Ed25519 (RFC 8410 §3).
    if key.algorithm.algorithm.to_id_string() == "1.3.101.112" {
        return Some(KeyParameters::Okp { crv: "Ed25519", x: number(&key.subject_public_key.data) });
    }
    match key.parsed().ok()? {
        PublicKey::RSA(rsa) => Some(KeyParameters::Rsa { n: unsigned(rsa.modulus), e: unsigned(rsa.exponent) }),
        PublicKey::EC(point) => {
            // RFC 5480 §2.2: 4 for an uncompressed point, then both coordinates.
            let (4, both) = point.data().split_first().map(|(form, both)| (*form, both))? else { return None };
            let crv = match both.len() {
                64 => "P-256",
                96 => "P-384",
                132 => "P-521",
                _ => return None,
            };
            let (x, y) = both.split_at(both.len() / 2);
            Some(KeyParameters::Ec { crv, x: number(x), y: number(y) })
        }
        _ => None,
    }
}
