//! Certificates that have been issued.

use std::fmt;

use rcgen::PublicKeyData as _;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::{LeafNames, Serial, TrustError};
use crate::identity::{SpiffeId, spiffe_id_of};

/// A workload's certificate with its key: an X509-SVID. `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct WorkloadCertificate {
    /// Whose it is.
    pub id: SpiffeId,
    /// The DNS names beside the identity, in their order.
    pub dns_names: Vec<String>,
    /// Leaf, then intermediate, as PEM.
    pub chain_pem: String,
    /// The key, PKCS #8 as PEM.
    pub key_pem: Zeroizing<String>,
    /// The chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's serial number.
    pub serial: Serial,
    /// The serial number of the intermediate that signed it.
    pub issuer: Serial,
    /// The leaf's first second: before `issued_at`, for peers whose clocks are behind.
    pub not_before: OffsetDateTime,
    /// The leaf's last second.
    pub not_after: OffsetDateTime,
    /// When it was issued.
    pub issued_at: OffsetDateTime,
    /// When it is to be replaced.
    pub renew_at: OffsetDateTime,
}

impl WorkloadCertificate {
    /// Reads what was kept. What does not fit together is refused: Envoy would refuse it too, or worse.
    pub(super) fn from_pem(
        chain_pem: String,
        key_pem: Zeroizing<String>,
        issued_at: OffsetDateTime,
        renew_at: OffsetDateTime,
    ) -> Result<Self, TrustError> {
        let unusable = |reason: &dyn fmt::Display| TrustError::material("a stored workload certificate", reason);
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| unusable(&error))?;
        let leaf = chain.first().ok_or_else(|| unusable(&"it is empty"))?;
        let facts = read(leaf)?;
        let id = facts.id.ok_or_else(|| unusable(&"it has no SPIFFE ID"))?;
        let key = rcgen::KeyPair::from_pem(&key_pem).map_err(|error| unusable(&error))?;
        if key.subject_public_key_info() != facts.public_key {
            return Err(unusable(&"the key is another certificate's"));
        }
        let (serial, not_before, not_after) = (facts.serial, facts.not_before, facts.not_after);
        let issuer = read(chain.get(1).ok_or_else(|| unusable(&"it lacks its issuer"))?)?.serial;
        let dns_names = facts.dns_names;
        Ok(Self {
            id,
            dns_names,
            chain_pem,
            key_pem,
            chain,
            serial,
            issuer,
            not_before,
            not_after,
            issued_at,
            renew_at,
        })
    }

    /// Whether it says these names, and no others, and lives no longer than they may.
    pub fn is_under(&self, names: &LeafNames) -> bool {
        let lives = self.not_after - self.issued_at;
        let is_short = names.lifetime().is_none_or(|longest| lives <= longest);
        self.id == *names.id() && self.dns_names == names.dns() && is_short
    }

    /// The key, for a TLS library.
    pub(super) fn private_key(&self) -> Result<PrivateKeyDer<'static>, TrustError> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .map_err(|error| TrustError::material(format!("the key of {}", self.id), error))
    }
}

impl fmt::Debug for WorkloadCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkloadCertificate")
            .field("id", &self.id)
            .field("serial", &self.serial)
            .field("not_after", &self.not_after)
            .field("renew_at", &self.renew_at)
            .finish_non_exhaustive()
    }
}

/// A certificate for a key that somebody else holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedChain {
    /// Leaf, then intermediate, as PEM.
    pub chain_pem: String,
    /// The leaf's serial number.
    pub serial: Serial,
    /// The serial number of the intermediate that signed it.
    pub issuer: Serial,
    /// The leaf's last second.
    pub not_after: OffsetDateTime,
}

/// What we want to know of a certificate of our own.
pub(super) struct Facts {
    pub(super) serial: Serial,
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
    pub(super) subject: String,
    /// `None` for an authority.
    pub(super) id: Option<SpiffeId>,
    /// Its DNS names.
    pub(super) dns_names: Vec<String>,
    /// Its SubjectPublicKeyInfo in DER.
    pub(super) public_key: Vec<u8>,
    /// Its subject key identifier (RFC 5280 §4.2.1.2).
    pub(super) key_id: Option<Vec<u8>>,
}

pub(super) fn read(der: &CertificateDer<'_>) -> Result<Facts, TrustError> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|error| TrustError::material("a certificate", error))?;
    let validity = certificate.validity();
    Ok(Facts {
        serial: Serial::from_der(certificate.raw_serial()),
        not_before: validity.not_before.to_datetime(),
        not_after: validity.not_after.to_datetime(),
        subject: certificate.subject().to_string(),
        id: spiffe_id_of(&certificate).ok(),
        dns_names: dns_names(&certificate),
        public_key: certificate.public_key().raw.to_vec(),
        key_id: certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        }),
    })
}

fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten().map(|it| it.value.general_names.as_slice());
    let dns = names.into_iter().flatten().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    dns.collect()
}

/// One certificate as PEM.
pub(super) fn pem_of(der: &CertificateDer<'_>) -> String {
    pem_block("CERTIFICATE", der)
}

/// One block of PEM (RFC 7468: 64 characters a line).
pub(crate) fn pem_block(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(der));
    let mut pem = String::with_capacity(text.len() + text.len() / 64 + 64);
    pem.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}
