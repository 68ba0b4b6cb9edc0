//! What a leaf says: one identity, both ends of TLS, and never a longer life than its signer's.

use std::time::Duration;

use rand::Rng;
use rcgen::{
    Certificate, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, PublicKeyData,
    SanType,
};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::authority::{Authority, after, before, generate};
use super::certificate::pem_of;
use super::{IssuedChain, Serial, Settings, TrustError, WorkloadCertificate};
use crate::identity::SpiffeId;

/// How far from its half-life a certificate is renewed, at most, as a fraction of half the life: a fleet that was issued in one
/// second is not renewed in one.
const JITTER: f64 = 0.1;

/// Issues a certificate with a key made here. `names` are DNS names and addresses beside the identity.
pub(super) fn issue(
    signer: &Authority,
    settings: &Settings,
    id: &SpiffeId,
    names: &[SanType],
    now: OffsetDateTime,
) -> Result<WorkloadCertificate, TrustError> {
    let key = generate()?;
    let (params, serial) = params(signer, settings, id, names, settings.workload_ttl, now)?;
    let leaf = sign(signer, &params, &key)?;
    Ok(WorkloadCertificate {
        id: id.clone(),
        chain_pem: chain_pem(&leaf, signer),
        key_pem: Zeroizing::new(key.serialize_pem()),
        chain: vec![leaf.into(), signer.der.clone()],
        serial,
        not_before: params.not_before,
        not_after: params.not_after,
        issued_at: now,
        renew_at: renewal(now, params.not_after),
    })
}

/// Issues a certificate for a key that somebody else holds and has proven to hold.
pub(super) fn issue_for(
    signer: &Authority,
    settings: &Settings,
    id: &SpiffeId,
    key: &impl PublicKeyData,
    lifetime: Duration,
    now: OffsetDateTime,
) -> Result<IssuedChain, TrustError> {
    let (params, serial) = params(signer, settings, id, &[], lifetime, now)?;
    let leaf = sign(signer, &params, key)?;
    Ok(IssuedChain { chain_pem: chain_pem(&leaf, signer), serial, not_after: params.not_after })
}

fn params(
    signer: &Authority,
    settings: &Settings,
    id: &SpiffeId,
    names: &[SanType],
    lifetime: Duration,
    now: OffsetDateTime,
) -> Result<(CertificateParams, Serial), TrustError> {
    signer.can_sign(now)?;
    if *id.trust_domain() != settings.trust_domain {
        let trust_domain = settings.trust_domain.clone();
        return Err(TrustError::ForeignIdentity { id: id.to_string(), trust_domain });
    }
    let uri = id.as_str().try_into().map_err(|error| TrustError::material(id.as_str(), error))?;
    let serial = Serial::random();
    let mut params = CertificateParams::default();
    params.serial_number = Some(serial.to_rcgen());
    // No subject: RFC 5280 §4.1.2.6 then makes the alternative name critical, so nobody can overlook the identity.
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = std::iter::once(SanType::URI(uri)).chain(names.iter().cloned()).collect();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = before(now, settings.clock_skew).max(signer.info.not_before);
    params.not_after = after(now, lifetime, "a workload certificate")?.min(signer.info.not_after);
    Ok((params, serial))
}

fn sign(signer: &Authority, params: &CertificateParams, key: &impl PublicKeyData) -> Result<Certificate, TrustError> {
    params.signed_by(key, &signer.issuer).map_err(|error| TrustError::material("a new certificate", error))
}

fn chain_pem(leaf: &Certificate, signer: &Authority) -> String {
    let mut pem = pem_of(leaf.der());
    pem.push_str(&signer.pem);
    pem
}

/// Half-life, give or take.
fn renewal(issued_at: OffsetDateTime, not_after: OffsetDateTime) -> OffsetDateTime {
    let half = (not_after - issued_at) / 2;
    issued_at + half * (1.0 + rand::rng().random_range(-JITTER..=JITTER))
}
