//! Certificate requests: what is taken from them is the public key, once its holder has proven to hold it. Names, lifetimes and
//! usages come from us.

use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use crate::identity::SpiffeId;

/// A request is a few hundred bytes; with an RSA key of 4096 bits, some 2 KB.
const MAX_BYTES: usize = 16 << 10;
/// Envoy refuses RSA keys below this.
const MIN_RSA_BITS: usize = 2048;
/// Beyond this a signature check costs more than anybody's request is worth.
const MAX_RSA_BITS: usize = 4096;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// More than 16 KiB.
    #[error("it is larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// Not one PEM block `CERTIFICATE REQUEST` of PKCS #10 (RFC 2986).
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// The signature is not the key's.
    #[error("its signature does not prove possession of the key")]
    Proof,
    /// A name that is not the caller's.
    #[error("it asks for the name {0:?}, which is not the caller's identity")]
    Name(String),
    /// An extension that would make more of the certificate than a workload's.
    #[error("it asks for the extension {0}, which no workload's certificate has")]
    Extension(String),
    /// It asks to be an authority.
    #[error("it asks for a certificate authority")]
    Authority,
    /// A key that is too weak, or of a kind that Envoy cannot use.
    #[error("its key is {0}: use ECDSA P-256 or P-384, or RSA of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")]
    Key(String),
}

/// Checks a request of the caller `id` and returns its public key (SubjectPublicKeyInfo in DER). One parse feeds the checks and the result.
pub(super) fn checked_key(pem: &str, id: &SpiffeId) -> Result<Vec<u8>, CsrError> {
    if pem.len() > MAX_BYTES {
        return Err(CsrError::TooLarge);
    }
    let unreadable = |error: &dyn std::fmt::Display| CsrError::Unreadable(error.to_string());
    let mut blocks = CertificateSigningRequestDer::pem_slice_iter(pem.as_bytes());
    let der = match (blocks.next(), blocks.next()) {
        (Some(Ok(der)), None) => der,
        (Some(Err(error)), _) => return Err(unreadable(&error)),
        (None, _) => return Err(unreadable(&"there is no PEM block CERTIFICATE REQUEST")),
        (Some(Ok(_)), Some(_)) => return Err(unreadable(&"there is more than one PEM block")),
    };
    let (rest, request) = X509CertificationRequest::from_der(&der).map_err(|error| unreadable(&error))?;
    if !rest.is_empty() {
        return Err(unreadable(&"bytes after the end of the request"));
    }
    check_key(&request)?;
    request.verify_signature().map_err(|_| CsrError::Proof)?;
    check_subject(&request)?;
    check_extensions(&request, id)?;
    Ok(request.certification_request_info.subject_pki.raw.to_vec())
}

fn check_key(request: &X509CertificationRequest<'_>) -> Result<(), CsrError> {
    let key = &request.certification_request_info.subject_pki;
    match key.parsed() {
        Ok(PublicKey::EC(point)) if matches!(point.key_size(), 256 | 384) => Ok(()),
        Ok(PublicKey::EC(point)) => Err(CsrError::Key(format!("ECDSA of {} bits", point.key_size()))),
        Ok(PublicKey::RSA(rsa)) if (MIN_RSA_BITS..=MAX_RSA_BITS).contains(&rsa.key_size()) => Ok(()),
        Ok(PublicKey::RSA(rsa)) => Err(CsrError::Key(format!("RSA of {} bits", rsa.key_size()))),
        _ => Err(CsrError::Key(format!("of algorithm {}", key.algorithm.algorithm))),
    }
}

/// A common name is where old software looks for a host name. It may say who the caller is and nothing else.
fn check_subject(request: &X509CertificationRequest<'_>) -> Result<(), CsrError> {
    match request.certification_request_info.subject.iter_common_name().next() {
        Some(name) => Err(CsrError::Name(name.as_str().unwrap_or("(not text)").to_owned())),
        None => Ok(()),
    }
}

fn check_extensions(request: &X509CertificationRequest<'_>, id: &SpiffeId) -> Result<(), CsrError> {
    let mut uris = 0;
    for extension in request.requested_extensions().into_iter().flatten() {
        match extension {
            ParsedExtension::SubjectAlternativeName(names) => {
                for name in &names.general_names {
                    match name {
                        GeneralName::URI(uri) if *uri == id.as_str() && uris == 0 => uris += 1,
                        other => return Err(CsrError::Name(other.to_string())),
                    }
                }
            }
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => return Err(CsrError::Authority),
            ParsedExtension::KeyUsage(usage) if usage.key_cert_sign() || usage.crl_sign() => {
                return Err(CsrError::Authority);
            }
            ParsedExtension::BasicConstraints(_)
            | ParsedExtension::KeyUsage(_)
            | ParsedExtension::ExtendedKeyUsage(_) => {}
            other => return Err(CsrError::Extension(extension_name(other))),
        }
    }
    Ok(())
}

fn extension_name(extension: &ParsedExtension<'_>) -> String {
    match extension {
        ParsedExtension::UnsupportedExtension { oid } => oid.to_string(),
        // The debug form begins with the name of the extension, and goes on with what the caller has sent.
        other => format!("{other:?}").split(['(', ' ', '{']).next().unwrap_or_default().to_owned(),
    }
}
