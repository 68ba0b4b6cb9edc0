//! Operators' own certificates: a Kubernetes Secret that a `credentialName` names.

use std::collections::BTreeMap;

use bytes::Bytes;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::sds;
use crate::trust::Serial;

type Data = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// The keys of a Secret, `kubernetes.io/tls` first, then what Istio reads from generic ones.
const CHAIN: [&str; 2] = ["tls.crt", "cert"];
const KEY: [&str; 2] = ["tls.key", "key"];
const CA: [&str; 2] = ["ca.crt", "cacert"];

/// What a Secret offers, each as an encoded SDS secret.
/// `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// `kubernetes://NAME`: a certificate and its key.
    pub certificate: Option<Bytes>,
    /// `kubernetes://NAME-cacert`: roots.
    pub ca: Option<Bytes>,
    /// The certificate, without what is above it.
    pub leaf: Option<Validity>,
    /// The roots.
    pub roots: Vec<Validity>,
}

/// How a certificate is known to people, and when it is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its serial number.
    pub serial: Serial,
    /// Its first second.
    pub not_before: OffsetDateTime,
    /// Its last second.
    pub not_after: OffsetDateTime,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { certificate, ca, .. } = self;
        write!(f, "Credential(certificate: {}, ca: {})", certificate.is_some(), ca.is_some())
    }
}

/// Why a Secret is not served. Envoy would take most of these, and fail every handshake. Holds no key material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// None of the entries that can be served.
    #[error("Secret {0} has neither tls.crt and tls.key nor ca.crt")]
    Empty(String),
    /// A certificate without its key, or a key without its certificate.
    #[error("Secret {secret} has {has} and no {lacks}")]
    Half {
        /// The Secret.
        secret: String,
        /// The entry it has.
        has: &'static str,
        /// The entry it lacks.
        lacks: &'static str,
    },
    /// Not PEM, or not what the entry's name says.
    #[error("Secret {secret}: {entry} cannot be read: {reason}")]
    Unreadable {
        /// The Secret.
        secret: String,
        /// The entry.
        entry: &'static str,
        /// Why.
        reason: String,
    },
    /// The key belongs to another certificate. Also so if the chain does not begin with the leaf.
    #[error("Secret {0}: tls.key is not the key of the first certificate in tls.crt")]
    KeyMismatch(String),
    /// Over, or not begun.
    #[error(
        "Secret {secret}: {entry} {} (valid from {not_before} to {not_after})",
        if *is_over { "has expired" } else { "is not valid yet" }
    )]
    NotValid {
        /// The Secret.
        secret: String,
        /// The entry.
        entry: &'static str,
        /// The certificate's first second.
        not_before: OffsetDateTime,
        /// Its last.
        not_after: OffsetDateTime,
        /// Whether it has expired; otherwise it has not begun.
        is_over: bool,
    },
}

/// Checks the Secret `name` and encodes what it offers.
pub fn credential(name: &str, data: &Data, now: OffsetDateTime) -> Result<Credential, CredentialError> {
    let check = Check { secret: name, now };
    let entry = |names: [&str; 2]| names.iter().find_map(|name| data.get(*name)).map(|value| value.as_slice());
    let (mut leaf, mut roots) = (None, Vec::new());
    let certificate = match (entry(CHAIN), entry(KEY)) {
        (Some(chain), Some(key)) => {
            leaf = Some(check.pair(chain, key)?);
            Some(sds::inline_certificate(&format!("kubernetes://{name}"), chain, key))
        }
        (Some(_), None) => return Err(check.half(CHAIN[0], KEY[0])),
        (None, Some(_)) => return Err(check.half(KEY[0], CHAIN[0])),
        (None, None) => None,
    };
    let ca = match entry(CA) {
        Some(pem) => {
            roots = check.certificates(CA[0], pem)?.into_iter().map(|(_, validity)| validity).collect();
            Some(sds::inline_roots(&format!("kubernetes://{name}-cacert"), pem))
        }
        None if certificate.is_none() => return Err(CredentialError::Empty(name.to_owned())),
        None => None,
    };
    Ok(Credential { certificate, ca, leaf, roots })
}

type Certified = (CertificateDer<'static>, Validity);

struct Check<'a> {
    secret: &'a str,
    now: OffsetDateTime,
}

impl Check<'_> {
    fn half(&self, has: &'static str, lacks: &'static str) -> CredentialError {
        CredentialError::Half { secret: self.secret.to_owned(), has, lacks }
    }

    fn unreadable(&self, entry: &'static str, reason: impl ToString) -> CredentialError {
        CredentialError::Unreadable { secret: self.secret.to_owned(), entry, reason: reason.to_string() }
    }

    /// All certificates of an entry: at least one, and each valid now.
    fn certificates(&self, entry: &'static str, pem: &[u8]) -> Result<Vec<Certified>, CredentialError> {
        let all: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| self.unreadable(entry, error))?;
        if all.is_empty() {
            return Err(self.unreadable(entry, "it has no PEM block CERTIFICATE"));
        }
        let mut certified = Vec::with_capacity(all.len());
        for der in all {
            let (_, certificate) = X509Certificate::from_der(&der).map_err(|error| self.unreadable(entry, error))?;
            let validity = certificate.validity();
            let (not_before, not_after) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
            if self.now < not_before || not_after < self.now {
                let secret = self.secret.to_owned();
                let is_over = not_after < self.now;
                return Err(CredentialError::NotValid { secret, entry, not_before, not_after, is_over });
            }
            let serial = Serial::from_der(certificate.raw_serial());
            certified.push((der, Validity { serial, not_before, not_after }));
        }
        Ok(certified)
    }

    /// The first certificate's validity.
    fn pair(&self, chain: &[u8], key: &[u8]) -> Result<Validity, CredentialError> {
        let (chain, mut validity): (Vec<_>, Vec<_>) = self.certificates(CHAIN[0], chain)?.into_iter().unzip();
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| self.unreadable(KEY[0], error))?;
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
            .map_err(|error| self.unreadable(KEY[0], error))?;
        match rustls::sign::CertifiedKey::new(chain, key).keys_match() {
            Ok(()) => Ok(validity.swap_remove(0)),
            Err(_) => Err(CredentialError::KeyMismatch(self.secret.to_owned())),
        }
    }
}
