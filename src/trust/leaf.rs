//! What a leaf says: one identity, both ends of TLS, and never a longer life than its signer's.

use std::time::Duration;

use rand::Rng;
use rcgen::{PublicKeyData as _, SanType};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::authority::{Authority, after, before};
use super::certificate::pem_of;
use super::template::Leaf;
use super::{IssuedChain, LeafNames, Serial, Settings, TrustError, WorkloadCertificate};
use crate::identity::SpiffeId;

/// How far from its half-life a certificate is renewed, at most, as a fraction of half the life: a fleet that was issued in one
/// second is not renewed in one.
const JITTER: f64 = 0.1;

/// Issues a certificate with a key made here. `names` are DNS names and addresses beside the identity; `lifetime` can only shorten it.
pub(super) fn issue(
    signer: &Authority,
    settings: &Settings,
    id: &SpiffeId,
    names: &[SanType],
    lifetime: Option<Duration>,
    now: OffsetDateTime,
) -> Result<WorkloadCertificate, TrustError> {
    let key = settings.workload_key.generate()?;
    let lifetime = lifetime.unwrap_or(settings.workload_ttl).min(settings.workload_ttl);
    let new = sign(signer, settings, id, names, &key.subject_public_key_info(), lifetime, now)?;
    let dns_names = names.iter().filter_map(|name| match name {
        SanType::DnsName(name) => Some(name.as_str().to_owned()),
        _ => None,
    });
    Ok(WorkloadCertificate {
        id: id.clone(),
        dns_names: dns_names.collect(),
        chain_pem: chain_pem(&new.der, signer),
        key_pem: Zeroizing::new(key.serialize_pem()),
        chain: [new.der, signer.der.clone()].into_iter().chain(signer.between.iter().cloned()).collect(),
        serial: new.serial,
        issuer: signer.info.serial.clone(),
        not_before: new.not_before,
        not_after: new.not_after,
        issued_at: now,
        renew_at: renewal(now, new.not_after),
    })
}

/// Issues a certificate for a key that somebody else holds and has proven to hold: its SubjectPublicKeyInfo in DER.
pub(super) fn issue_for(
    signer: &Authority,
    settings: &Settings,
    names: &LeafNames,
    public_key: &[u8],
    lifetime: Duration,
    now: OffsetDateTime,
) -> Result<IssuedChain, TrustError> {
    let new = sign(signer, settings, names.id(), &names.beside()?, public_key, lifetime, now)?;
    let (serial, issuer, not_after) = (new.serial, signer.info.serial.clone(), new.not_after);
    Ok(IssuedChain { chain_pem: chain_pem(&new.der, signer), serial, issuer, not_after })
}

struct Signed {
    der: CertificateDer<'static>,
    serial: Serial,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

fn sign(
    signer: &Authority,
    settings: &Settings,
    id: &SpiffeId,
    names: &[SanType],
    public_key: &[u8],
    lifetime: Duration,
    now: OffsetDateTime,
) -> Result<Signed, TrustError> {
    signer.can_sign(now)?;
    if *id.trust_domain() != settings.trust_domain {
        let trust_domain = settings.trust_domain.clone();
        return Err(TrustError::ForeignIdentity { id: id.to_string(), trust_domain });
    }
    let uri = id.as_str().try_into().map_err(|error| TrustError::material(id.as_str(), error))?;
    let names: Vec<_> = std::iter::once(SanType::URI(uri)).chain(names.iter().cloned()).collect();
    let serial = Serial::random();
    let not_before = before(now, settings.clock_skew).max(signer.info.not_before);
    let not_after = after(now, lifetime, "a workload certificate")?.min(signer.info.not_after);
    let leaf = Leaf { serial: &serial, not_before, not_after, public_key, names: &names };
    let signs = signer.signs()?;
    let der = signs.template.sign(&leaf, signs.issuer.key())?;
    Ok(Signed { der, serial, not_before, not_after })
}

fn chain_pem(leaf: &CertificateDer<'_>, signer: &Authority) -> String {
    let mut pem = pem_of(leaf);
    pem.push_str(&signer.pem);
    pem
}

/// Half-life, give or take.
fn renewal(issued_at: OffsetDateTime, not_after: OffsetDateTime) -> OffsetDateTime {
    let half = (not_after - issued_at) / 2;
    issued_at + half * (1.0 + rand::rng().random_range(-JITTER..=JITTER))
}
