//! cert-manager's Certificates and issuers: what will not be issued, or not as it is asked for, and who is named as a reader in vain.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::super::Subject;
use super::super::catalogue::{ENDS_WITH_AUTHORITY, NO_AUTHORITY, NO_ISSUER, NO_SUCH_READER, SHARED_SECRET};
use super::super::finding::Collector;
use crate::policy::{Certificate, Issuer, IssuerKind, Object, PolicySet, Secret};

pub(in super::super) fn all(subject: Subject<'_>, now: OffsetDateTime, found: &mut Collector) {
    let set = subject.set;
    for certificate in &set.certificates {
        match issuer_of(set, certificate) {
            Some(issuer) => ends_with_authority(set, certificate, issuer, now, found),
            None => {
                let reference = &certificate.spec.issuer;
                let (kind, name) = (reference.value.kind.name(), &reference.value.name);
                let message = format!("{} is to be signed by {kind} {name}, which is not there", named(certificate));
                found.add(&NO_ISSUER, &reference.at, message);
            }
        }
    }
    shared_secrets(set, found);
    let own = set.issuers.iter().map(|issuer| (issuer, Some(&*issuer.meta.namespace)));
    for (issuer, namespace) in own.chain(set.cluster_issuers.iter().map(|issuer| (issuer, None))) {
        authority(set, issuer, namespace, now, found);
    }
    readers(set, found);
}

fn named(certificate: &Object<Certificate>) -> String {
    format!("Certificate {}/{}", certificate.meta.namespace, certificate.meta.name)
}

fn issuer_of<'a>(set: &'a PolicySet, certificate: &Object<Certificate>) -> Option<&'a Object<Issuer>> {
    let reference = &certificate.spec.issuer.value;
    match reference.kind {
        IssuerKind::Issuer => {
            let mut own =
                set.issuers.iter().map(Arc::as_ref).filter(|it| it.meta.namespace == certificate.meta.namespace);
            own.find(|it| it.meta.name == reference.name)
        }
        IssuerKind::ClusterIssuer => {
            set.cluster_issuers.iter().map(Arc::as_ref).find(|it| it.meta.name == reference.name)
        }
    }
}

/// The Secret of an issuer. Where a ClusterIssuer looks for its own is for the server's configuration to say, so any namespace's counts.
fn secret_of<'a>(set: &'a PolicySet, name: &str, namespace: Option<&str>) -> Option<&'a Object<Secret>> {
    let is_it = |it: &&Object<Secret>| it.meta.name == name && namespace.is_none_or(|of| it.meta.namespace == of);
    set.secrets.iter().map(Arc::as_ref).find(is_it)
}

/// CS0607.
fn authority(
    set: &PolicySet,
    issuer: &Object<Issuer>,
    namespace: Option<&str>,
    now: OffsetDateTime,
    found: &mut Collector,
) {
    let Issuer::Ca(ca) = &issuer.spec else { return };
    let (name, at) = (&ca.secret_name.value, &ca.secret_name.at);
    let shown = format!("the issuer {}", issuer.meta.name);
    let Some(secret) = secret_of(set, name, namespace) else {
        let makes = |it: &Object<Certificate>| {
            it.spec.secret_name.value == *name && namespace.is_none_or(|of| it.meta.namespace == of)
        };
        if !set.certificates.iter().map(Arc::as_ref).any(makes) {
            found.add(&NO_AUTHORITY, at, format!("{shown} signs with Secret {name}, which is not there"));
        }
        return;
    };
    let fault = with_first(secret, |certificate| {
        let validity = certificate.validity();
        let (start, end) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
        match certificate.is_ca() {
            false => Some("whose certificate is not an authority's".to_owned()),
            true if now < start || end <= now => Some(format!("whose certificate is valid from {start} to {end}")),
            true => None,
        }
    });
    if let Some(Some(fault)) = fault {
        found.add(&NO_AUTHORITY, at, format!("{shown} signs with Secret {name}, {fault}"));
    }
}

/// CS0609.
fn ends_with_authority(
    set: &PolicySet,
    certificate: &Object<Certificate>,
    issuer: &Object<Issuer>,
    now: OffsetDateTime,
    found: &mut Collector,
) {
    let Issuer::Ca(ca) = &issuer.spec else { return };
    let namespace = Some(&*issuer.meta.namespace).filter(|namespace| !namespace.is_empty());
    let Some(secret) = secret_of(set, &ca.secret_name.value, namespace) else { return };
    let end = with_first(secret, |authority| authority.validity().not_after.to_datetime());
    if let Some(end) = end.filter(|end| now < *end && *end < now + certificate.spec.duration) {
        let message = format!(
            "{} is to live for {} hours, and who signs it ends at {end}",
            named(certificate),
            certificate.spec.duration.as_secs() / 3600
        );
        found.add(&ENDS_WITH_AUTHORITY, &certificate.at, message);
    }
}

/// What a function says of the first certificate in a Secret. `None`: it cannot be read, which is another rule's.
fn with_first<T>(secret: &Object<Secret>, look: impl FnOnce(&X509Certificate<'_>) -> T) -> Option<T> {
    let der = CertificateDer::pem_slice_iter(secret.spec.data.get("tls.crt")?).next()?.ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    Some(look(&certificate))
}

/// CS0608.
fn shared_secrets(set: &PolicySet, found: &mut Collector) {
    let mut by_secret: BTreeMap<(&str, &str), Vec<&Object<Certificate>>> = BTreeMap::new();
    for it in &set.certificates {
        by_secret.entry((&it.meta.namespace, &it.spec.secret_name.value)).or_default().push(it);
    }
    for ((_, secret), mut sharing) in by_secret.into_iter().filter(|(_, sharing)| sharing.len() > 1) {
        sharing.sort_by_key(|it| (it.meta.creation_timestamp.is_none(), it.meta.creation_timestamp, &it.meta.name));
        for other in &sharing[1..] {
            let owner = sharing[0];
            let message = format!("Secret {secret} of {} is {}'s ({})", named(other), named(owner), owner.at);
            found.add(&SHARED_SECRET, &other.spec.secret_name.at, message);
        }
    }
}

/// CS0610.
fn readers(set: &PolicySet, found: &mut Collector) {
    for secret in &set.secrets {
        let foreign = secret.meta.readers().filter_map(|reader| reader.split_once('/'));
        for (namespace, name) in foreign.filter(|(namespace, _)| *namespace != secret.meta.namespace) {
            if !set.lets_refer(namespace, (&secret.meta.namespace, &secret.meta.name)) {
                let message = format!(
                    "Secret {}/{} names {namespace}/{name} as a reader, and no ReferenceGrant lets {namespace} refer to it",
                    secret.meta.namespace, secret.meta.name
                );
                found.add(&NO_SUCH_READER, &secret.at, message);
            }
        }
    }
}
