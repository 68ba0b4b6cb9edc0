//! The messages.

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate,
};
use prost::Message as _;

use crate::trust::{TrustBundle, WorkloadCertificate};

/// A workload's certificate and key.
pub fn tls_certificate(name: &str, certificate: &WorkloadCertificate) -> Bytes {
    inline_certificate(name, certificate.chain_pem.as_bytes(), certificate.key_pem.as_bytes())
}

/// The roots of a trust domain, and the revocation lists of the intermediates below them. They are about workloads only: the lists of
/// roots would be needed, too, if whole chains were looked up in them.
pub fn validation_context(name: &str, bundle: &TrustBundle) -> Bytes {
    let context = CertificateValidationContext {
        trusted_ca: Some(inline(bundle.pem().as_bytes())),
        crl: bundle.crls().map(|pem| inline(pem.as_bytes())),
        only_verify_leaf_cert_crl: bundle.crls().is_some(),
        ..Default::default()
    };
    secret(name, Type::ValidationContext(context))
}

/// The same secret in other bytes: an empty line more in its PEM, or one more way to write a file's path. Envoy takes a secret that it
/// has refused without effect when the same bytes come again, so a second trial needs others. `None` where there is neither.
pub fn restate(value: &[u8]) -> Option<Vec<u8>> {
    let mut secret = Secret::decode(value).ok()?;
    let pem = match secret.r#type.as_mut()? {
        Type::TlsCertificate(certificate) => certificate.certificate_chain.as_mut()?,
        Type::ValidationContext(context) => context.trusted_ca.as_mut()?,
        _ => return None,
    };
    match pem.specifier.as_mut()? {
        Specifier::InlineBytes(bytes) => bytes.push(b'\n'),
        // To POSIX.1-2017 §4.13, several slashes are one.
        Specifier::Filename(path) => path.insert_str(0, if path.starts_with('/') { "/" } else { "./" }),
        _ => return None,
    }
    Some(secret.encode_to_vec())
}

/// `file-root:PATH`: roots in a PEM file on the proxy's own machine, which Envoy reads, and watches for a replacement.
pub fn file_root(path: &str) -> Bytes {
    roots(&format!("file-root:{path}"), file(path))
}

/// `file-root:system`: the trust store of the proxy's own machine, which is a PEM file at `path`.
pub fn system_roots(path: &str) -> Bytes {
    roots("file-root:system", file(path))
}

/// `file-cert:CERTIFICATE~KEY`: a certificate and key in PEM files on the proxy's own machine, which Envoy reads, and watches for a
/// replacement.
pub fn file_certificate(certificate: &str, key: &str) -> Bytes {
    certificate_and_key(&format!("file-cert:{certificate}~{key}"), file(certificate), file(key))
}

pub(super) fn inline_certificate(name: &str, chain: &[u8], key: &[u8]) -> Bytes {
    certificate_and_key(name, inline(chain), inline(key))
}

pub(super) fn inline_roots(name: &str, pem: &[u8]) -> Bytes {
    roots(name, inline(pem))
}

fn certificate_and_key(name: &str, chain: DataSource, key: DataSource) -> Bytes {
    let certificate = TlsCertificate { certificate_chain: Some(chain), private_key: Some(key), ..Default::default() };
    secret(name, Type::TlsCertificate(certificate))
}

fn roots(name: &str, trusted_ca: DataSource) -> Bytes {
    let context = CertificateValidationContext { trusted_ca: Some(trusted_ca), ..Default::default() };
    secret(name, Type::ValidationContext(context))
}

pub(super) fn secret(name: &str, r#type: Type) -> Bytes {
    Secret { name: name.to_owned(), r#type: Some(r#type) }.encode_to_vec().into()
}

pub(super) fn inline(bytes: &[u8]) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineBytes(bytes.to_vec())), ..Default::default() }
}

fn file(path: &str) -> DataSource {
    DataSource { specifier: Some(Specifier::Filename(path.to_owned())), ..Default::default() }
}
