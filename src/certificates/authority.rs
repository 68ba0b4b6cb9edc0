//! Who signs: the authority in an issuer's Secret, or each certificate itself.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::IssuerError;
use super::extensions::Pointers;
use super::key::PrivateKey;
use super::{CHAIN, KEY};
use crate::policy::{Issuer, IssuerKind, IssuerRef, Object, PolicySet, Secret};

/// What an issuer signs with.
#[derive(Debug)]
pub(super) enum Signer {
    /// An authority.
    Authority(Box<Authority>),
    /// Nobody else.
    SelfSigned(Pointers),
}

impl Signer {
    /// Another value means another signer: what the old one has signed is signed again.
    pub(super) fn fingerprint(&self) -> &str {
        match self {
            Self::Authority(authority) => &authority.fingerprint,
            Self::SelfSigned(_) => "self",
        }
    }
}

/// An authority from a Secret.
#[derive(Debug)]
pub(super) struct Authority {
    pub(super) key: PrivateKey,
    /// Its certificate, then those above it.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Whether the last of the chain has signed itself.
    pub(super) ends_in_root: bool,
    /// Its name in DER.
    pub(super) subject: Vec<u8>,
    pub(super) key_id: Option<Vec<u8>>,
    pub(super) not_after: OffsetDateTime,
    pub(super) pointers: Pointers,
    fingerprint: String,
}

/// An issuer, and the namespace and name of the Secret that it signs with, if it has one.
type Found<'a> = (&'a Object<Issuer>, Option<(&'a str, &'a str)>);

/// An issuer, and the Secret that it signs with. An Issuer's is in its own namespace, a ClusterIssuer's in the cluster
/// resource namespace.
pub(super) fn secret_of<'a>(
    set: &'a PolicySet,
    namespace: &'a str,
    reference: &IssuerRef,
    cluster_namespace: &'a str,
) -> Result<Found<'a>, IssuerError> {
    let issuer = match reference.kind {
        IssuerKind::Issuer => {
            set.issuers.iter().find(|it| it.meta.namespace == namespace && it.meta.name == reference.name)
        }
        IssuerKind::ClusterIssuer => set.cluster_issuers.iter().find(|it| it.meta.name == reference.name),
    };
    let issuer = issuer.ok_or_else(|| IssuerError::NotFound {
        kind: reference.kind.name(),
        name: match reference.kind {
            IssuerKind::Issuer => format!("{namespace}/{}", reference.name),
            IssuerKind::ClusterIssuer => reference.name.clone(),
        },
    })?;
    let home = match reference.kind {
        IssuerKind::Issuer => namespace,
        IssuerKind::ClusterIssuer => cluster_namespace,
    };
    Ok(match &issuer.spec {
        Issuer::Ca(ca) => (issuer, Some((home, &ca.secret_name.value))),
        Issuer::SelfSigned { .. } => (issuer, None),
    })
}

/// Reads the authority of a `ca` issuer. `name` is `namespace/name` of its Secret.
pub(super) fn read(
    issuer: &Issuer,
    name: &str,
    secret: Option<&Secret>,
    now: OffsetDateTime,
) -> Result<Signer, IssuerError> {
    let ca = match issuer {
        Issuer::SelfSigned { crl_distribution_points } => {
            let crl_distribution_points = crl_distribution_points.clone();
            return Ok(Signer::SelfSigned(Pointers { crl_distribution_points, ..Pointers::default() }));
        }
        Issuer::Ca(ca) => ca,
    };
    let secret = secret.ok_or_else(|| IssuerError::NoSecret(name.to_owned()))?;
    let unusable =
        |reason: &dyn std::fmt::Display| IssuerError::Unusable { secret: name.to_owned(), reason: reason.to_string() };
    let entry = |key: &str| {
        secret.data.get(key).filter(|value| !value.is_empty()).ok_or_else(|| unusable(&format!("it has no {key}")))
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(entry(CHAIN)?)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(&format!("{CHAIN} cannot be read: {error}")))?;
    let first = chain.first().cloned().ok_or_else(|| unusable(&format!("{CHAIN} has no PEM block CERTIFICATE")))?;
    let key = PrivateKey::read(entry(KEY)?).map_err(|_| unusable(&format!("{KEY} cannot be read")))?;
    let parse = |der: &CertificateDer<'static>| -> Result<bool, IssuerError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| unusable(&error))?;
        Ok(is_self_signed(&certificate))
    };
    let ends_in_root = chain.last().map(parse).transpose()?.unwrap_or(false);
    let (_, certificate) = X509Certificate::from_der(&first).map_err(|error| unusable(&error))?;
    if key.public_key() != certificate.public_key().raw {
        return Err(unusable(&format!("{KEY} is not the key of the first certificate in {CHAIN}")));
    }
    if !certificate.is_ca() {
        return Err(unusable(&"certificate is not a CA"));
    }
    if certificate.key_usage().ok().flatten().is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(unusable(&"its key usage does not allow to sign certificates"));
    }
    let validity = certificate.validity();
    let (not_before, not_after) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
    if now < not_before || not_after <= now {
        return Err(unusable(&format!("the authority is valid from {not_before} to {not_after}")));
    }
    let mut digest = Sha256::new();
    chain.iter().for_each(|der| digest.update(der));
    Ok(Signer::Authority(Box::new(Authority {
        subject: certificate.subject().as_raw().to_vec(),
        key_id: certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        }),
        fingerprint: hex(&digest.finalize()),
        pointers: Pointers {
            crl_distribution_points: ca.crl_distribution_points.clone(),
            ocsp_servers: ca.ocsp_servers.clone(),
            issuing_certificate_urls: ca.issuing_certificate_urls.clone(),
        },
        ends_in_root,
        not_after,
        key,
        chain,
    })))
}

/// Whether a certificate has signed itself.
pub(super) fn is_self_signed(certificate: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == certificate.subject().as_raw() && certificate.verify_signature(None).is_ok()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
