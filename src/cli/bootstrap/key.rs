//! The key of an xDS connection. It is made here, written to one file, and leaves the process in no other way.

use std::fmt;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use time::OffsetDateTime;
use x509_parser::pem::Pem;
use zeroize::Zeroizing;

use super::BootstrapError;

/// A P-256 key.
pub struct Key(KeyPair);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// A new key.
    pub fn generate() -> Result<Self, BootstrapError> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map(Self).map_err(|_| BootstrapError::Key("make a key"))
    }

    /// A certificate request in PEM. It proves possession of the key and asks for no name: names come from the server.
    pub fn csr(&self) -> Result<String, BootstrapError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&self.0).and_then(|request| request.pem());
        request.map_err(|_| BootstrapError::Key("make a certificate request"))
    }

    /// PKCS #8 in PEM.
    pub(super) fn pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.serialize_pem())
    }

    /// Refuses a chain whose first certificate is not for this key: Envoy would refuse it too, and lose its connection.
    pub(super) fn check_chain(&self, chain: &str) -> Result<(), BootstrapError> {
        let blocks = certificates(chain, "certificate chain")?;
        let leaf = blocks.first().and_then(|pem| pem.parse_x509().ok());
        match leaf.is_some_and(|leaf| leaf.public_key().raw == self.0.subject_public_key_info()) {
            true => Ok(()),
            false => Err(BootstrapError::Material("a certificate for another key".into())),
        }
    }
}

/// The serial number and the validity of a chain's first certificate.
pub(super) fn leaf(chain: &str) -> Result<(String, OffsetDateTime, OffsetDateTime), BootstrapError> {
    let blocks = certificates(chain, "certificate chain")?;
    let unreadable = || BootstrapError::Material("a certificate chain that cannot be read".into());
    let leaf = blocks.first().and_then(|pem| pem.parse_x509().ok()).ok_or_else(unreadable)?;
    let validity = leaf.validity();
    let serial = leaf.raw_serial_as_string().replace(':', "");
    Ok((serial, validity.not_before.to_datetime(), validity.not_after.to_datetime()))
}

/// Refuses roots that would leave the server unverified.
pub(super) fn check_roots(roots: &str) -> Result<(), BootstrapError> {
    certificates(roots, "bundle of roots").map(drop)
}

fn certificates(text: &str, what: &str) -> Result<Vec<Pem>, BootstrapError> {
    let bad = |why: &str| BootstrapError::Material(format!("a {what} that {why}"));
    let blocks: Vec<Pem> =
        Pem::iter_from_buffer(text.as_bytes()).collect::<Result<_, _>>().map_err(|_| bad("is not PEM"))?;
    if blocks.is_empty() {
        return Err(bad("is empty"));
    }
    match blocks.iter().all(|pem| pem.label == "CERTIFICATE" && pem.parse_x509().is_ok()) {
        true => Ok(blocks),
        false => Err(bad("has something else than certificates")),
    }
}
