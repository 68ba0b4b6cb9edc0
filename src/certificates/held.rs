//! What a Secret holds, read once.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::authority::{Authority, Signer};
use super::key::PrivateKey;
use super::{AUTHORITY, CHAIN, KEY};
use crate::policy::{Certificate, PrivateKeyAlgorithm, Secret};
use crate::trust::Serial;

/// The entries of a Secret that are a certificate's. `Debug` shows no key.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) chain_pem: Vec<u8>,
    pub(super) key_pem: Zeroizing<Vec<u8>>,
    pub(super) ca_pem: Vec<u8>,
    /// What was read from them, or what is wrong with them.
    pub(super) facts: Result<Facts, Fault>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// Why a pair cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// An entry is not there.
    Missing(&'static str),
    /// The entries do not make a pair.
    Invalid(String),
}

/// What a certificate says, as far as it is compared with what is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) leaf: CertificateDer<'static>,
    pub(super) serial: Serial,
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
    pub(super) key: Option<PrivateKeyAlgorithm>,
    common_name: Option<String>,
    dns: BTreeSet<String>,
    ip: BTreeSet<IpAddr>,
    uri: BTreeSet<String>,
    email: BTreeSet<String>,
}

impl Held {
    /// From a Secret of the policy directory.
    pub(super) fn of_secret(secret: &Secret) -> Self {
        let entry = |key: &str| secret.data.get(key).map(|value| value.to_vec()).unwrap_or_default();
        Self::new(entry(CHAIN), Zeroizing::new(entry(KEY)), entry(AUTHORITY))
    }

    pub(super) fn new(chain_pem: Vec<u8>, key_pem: Zeroizing<Vec<u8>>, ca_pem: Vec<u8>) -> Self {
        let facts = read(&chain_pem, &key_pem);
        Self { chain_pem, key_pem, ca_pem, facts }
    }

    /// Its key, if it can be read.
    pub(super) fn key(&self) -> Option<PrivateKey> {
        PrivateKey::read(&self.key_pem).ok()
    }
}

impl Facts {
    /// The fields of the spec that the certificate does not have as they are written.
    pub(super) fn differences(&self, spec: &Certificate) -> Vec<&'static str> {
        let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
        let pairs = [
            ("spec.commonName", self.common_name.as_deref() != spec.common_name.as_deref()),
            ("spec.dnsNames", self.dns != set(&spec.names.dns)),
            ("spec.ipAddresses", self.ip != spec.names.ip.iter().copied().collect()),
            ("spec.uris", self.uri != set(&spec.names.uri)),
            ("spec.emailAddresses", self.email != set(&spec.names.email)),
        ];
        pairs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }

    /// Whether this authority, as it is now, has signed it.
    pub(super) fn is_signed_by(&self, signer: &Signer) -> bool {
        let Ok((_, leaf)) = X509Certificate::from_der(&self.leaf) else { return false };
        match signer {
            Signer::SelfSigned(_) => super::authority::is_self_signed(&leaf),
            Signer::Authority(authority) => {
                let Authority { chain, subject, .. } = &**authority;
                let Some(Ok((_, above))) = chain.first().map(|der| X509Certificate::from_der(der)) else {
                    return false;
                };
                leaf.issuer().as_raw() == subject.as_slice() && leaf.verify_signature(Some(above.public_key())).is_ok()
            }
        }
    }
}

fn read(chain: &[u8], key: &[u8]) -> Result<Facts, Fault> {
    if chain.is_empty() {
        return Err(Fault::Missing(CHAIN));
    }
    if key.is_empty() {
        return Err(Fault::Missing(KEY));
    }
    let invalid = |reason: &dyn std::fmt::Display| Fault::Invalid(reason.to_string());
    let leaf = CertificateDer::pem_slice_iter(chain).next().ok_or_else(|| invalid(&"no PEM block CERTIFICATE"))?;
    let leaf = leaf.map_err(|error| invalid(&error))?.into_owned();
    let key = PrivateKey::read(key).map_err(|error| invalid(&error))?;
    let (_, certificate) = X509Certificate::from_der(&leaf).map_err(|error| invalid(&error))?;
    if key.public_key() != certificate.public_key().raw {
        return Err(invalid(&"the private key is not the certificate's"));
    }
    let (mut dns, mut ip, mut uri, mut email) = <(BTreeSet<_>, BTreeSet<_>, BTreeSet<_>, BTreeSet<_>)>::default();
    let names = certificate.subject_alternative_name().map_err(|error| invalid(&error))?;
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::DNSName(name) => drop(dns.insert((*name).to_owned())),
            GeneralName::URI(name) => drop(uri.insert((*name).to_owned())),
            GeneralName::RFC822Name(name) => drop(email.insert((*name).to_owned())),
            GeneralName::IPAddress(bytes) => ip.extend(address(bytes)),
            _ => {}
        }
    }
    let common_name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    Ok(Facts {
        serial: Serial::from_der(certificate.raw_serial()),
        not_before: certificate.validity().not_before.to_datetime(),
        not_after: certificate.validity().not_after.to_datetime(),
        key: key.algorithm(),
        common_name: common_name.map(str::to_owned),
        leaf: leaf.clone(),
        dns,
        ip,
        uri,
        email,
    })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
