//! An authority of the lab's own: what an operator has from elsewhere.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};

use super::LabError;

/// A certificate that signs others, and its key, both as PEM.
pub(super) fn authority(name: &str) -> Result<(String, String), LabError> {
    let made = || {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
    };
    made().map_err(|error: rcgen::Error| LabError::Certificate(error.to_string()))
}
