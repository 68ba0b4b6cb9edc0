//! What signs: the root, and the intermediate of this cluster.

use std::sync::atomic::AtomicI64;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::brought::{is_key_of, key_pair};
use super::certificate::{pem_of, read};
use super::template::Template;
use super::{AuthorityKind, AuthorityRecord, AuthorityState, Serial, Settings, Standing, TrustError};

/// An authority, as far as anybody may know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityInfo {
    /// Its serial number.
    pub serial: Serial,
    /// Its first second.
    pub not_before: OffsetDateTime,
    /// Its last second.
    pub not_after: OffsetDateTime,
    /// Its name.
    pub subject: String,
}

/// A certificate that may sign others, with its key.
pub(super) struct Authority {
    pub(super) info: AuthorityInfo,
    pub(super) der: CertificateDer<'static>,
    /// Those between it and its root, where there are any.
    pub(super) between: Vec<CertificateDer<'static>>,
    /// All of these.
    pub(super) pem: String,
    pub(super) kind: AuthorityKind,
    pub(super) cluster: String,
    pub(super) standing: Standing,
    /// Identifies its key in what it has signed (RFC 5280 §4.2.1.1).
    pub(super) key_id: Vec<u8>,
    /// `issued_until` of its record, in seconds since 1970.
    pub(super) issued_until: AtomicI64,
    /// `None`: its key is kept elsewhere.
    signs: Option<Signs>,
}

/// What it takes to sign.
pub(super) struct Signs {
    pub(super) issuer: Issuer<'static, KeyPair>,
    pub(super) template: Template,
}

impl Authority {
    /// A new self-signed root.
    pub(super) fn new_root(
        settings: &Settings,
        state: AuthorityState,
        now: OffsetDateTime,
    ) -> Result<AuthorityRecord, TrustError> {
        let (key, serial) = (settings.authority_key.generate()?, Serial::random());
        let mut params = params(settings, &serial, now, BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, format!("countersign root {}", serial.short()));
        params.not_after = after(now, settings.root_ttl, "the root")?;
        let certificate = params.self_signed(&key).map_err(|error| TrustError::material("the root", error))?;
        let standing = Standing { state, trusted: state == AuthorityState::Active };
        Ok(record(AuthorityKind::Root, settings, certificate.into(), &key, serial, standing, now))
    }

    /// A new intermediate below this root. It signs workloads only, so its path length is zero. It has no name constraints: TLS
    /// libraries in wide use (rustls-webpki since 0.103.12) refuse any chain whose constraints speak of URIs.
    pub(super) fn new_intermediate(
        &self,
        settings: &Settings,
        state: AuthorityState,
        now: OffsetDateTime,
    ) -> Result<AuthorityRecord, TrustError> {
        self.can_sign(now)?;
        let (key, serial) = (settings.authority_key.generate()?, Serial::random());
        let mut params = params(settings, &serial, now, BasicConstraints::Constrained(0));
        let name = format!("countersign {} {}", settings.cluster, serial.short());
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = after(now, settings.intermediate_ttl, "the intermediate")?.min(self.info.not_after);
        params.use_authority_key_identifier_extension = true;
        let certificate = params
            .signed_by(&key, &self.signs()?.issuer)
            .map_err(|error| TrustError::material("the intermediate", error))?;
        let standing = Standing { state, trusted: false };
        Ok(record(AuthorityKind::Intermediate, settings, certificate.into(), &key, serial, standing, now))
    }

    /// Reads what was kept. A key that is not the certificate's is refused.
    pub(super) fn from_record(record: &AuthorityRecord) -> Result<Self, TrustError> {
        let mut chain = split(&record.certificate)?.into_iter();
        let der = chain.next().ok_or_else(|| TrustError::material("a stored authority", "it is empty"))?;
        let between: Vec<_> = chain.collect();
        let facts = read(&der)?;
        let unusable =
            |reason: &dyn std::fmt::Display| TrustError::material(format!("the authority {}", facts.subject), reason);
        let signs = match key_pair(&record.key).map_err(|error| unusable(&error))? {
            Some(key) if !is_key_of(&key, &facts.public_key) => {
                return Err(unusable(&"its key is another certificate's"));
            }
            Some(key) => {
                let template = Template::new(&der, &key)?;
                Some(Signs { issuer: Issuer::from_ca_cert_der(&der, key).map_err(|error| unusable(&error))?, template })
            }
            None => None,
        };
        let pem = std::iter::once(&der).chain(&between).map(|der| pem_of(der)).collect();
        let (serial, not_before, not_after) = (facts.serial, facts.not_before, facts.not_after);
        let info = AuthorityInfo { serial, not_before, not_after, subject: facts.subject };
        Ok(Self {
            info,
            pem,
            der,
            between,
            signs,
            kind: record.kind,
            cluster: record.cluster.clone(),
            standing: record.standing,
            key_id: facts.key_id.unwrap_or_default(),
            issued_until: AtomicI64::new(record.issued_until.unix_timestamp()),
        })
    }

    /// Whether this one's certificate was signed with that one's key.
    pub(super) fn is_signed_by(&self, signer: &Authority) -> bool {
        let (Ok((_, own)), Ok((_, signer))) =
            (X509Certificate::from_der(&self.der), X509Certificate::from_der(&signer.der))
        else {
            return false;
        };
        own.issuer() == signer.subject() && own.verify_signature(Some(signer.public_key())).is_ok()
    }

    /// How much of its life is left at `now`, and the whole of it.
    pub(super) fn remaining(&self, now: OffsetDateTime) -> (time::Duration, time::Duration) {
        (self.info.not_after - now, self.info.not_after - self.info.not_before)
    }

    /// What it takes to sign. An error if the key is kept elsewhere.
    pub(super) fn signs(&self) -> Result<&Signs, TrustError> {
        self.signs.as_ref().ok_or_else(|| TrustError::KeyElsewhere { subject: self.info.subject.clone() })
    }

    /// Whether its key is here.
    pub(super) fn has_key(&self) -> bool {
        self.signs.is_some()
    }

    /// Whether it may sign revocation lists (RFC 5280 §4.2.1.3), and its key is here.
    pub(super) fn can_sign_lists(&self) -> bool {
        let parsed = X509Certificate::from_der(&self.der);
        let usage = parsed.iter().map(|(_, certificate)| certificate.key_usage());
        self.has_key() && usage.flatten().flatten().all(|usage| usage.value.crl_sign())
    }

    /// Nothing may be signed with an authority that is over: no peer would accept it.
    pub(super) fn can_sign(&self, now: OffsetDateTime) -> Result<(), TrustError> {
        if self.info.not_after <= now {
            return Err(TrustError::SignerExpired { subject: self.info.subject.clone(), at: self.info.not_after });
        }
        Ok(())
    }
}

/// Shows no key.
impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.info.fmt(f)
    }
}

/// `now + lifetime`, in whole seconds as a certificate has them.
pub(super) fn after(
    now: OffsetDateTime,
    lifetime: std::time::Duration,
    what: &'static str,
) -> Result<OffsetDateTime, TrustError> {
    let lifetime = time::Duration::try_from(lifetime).map_err(|_| TrustError::Lifetime(what))?;
    now.checked_add(lifetime).map(whole_seconds).filter(|end| end.year() <= 9999).ok_or(TrustError::Lifetime(what))
}

pub(super) fn before(now: OffsetDateTime, skew: std::time::Duration) -> OffsetDateTime {
    let skew = time::Duration::try_from(skew).unwrap_or(time::Duration::ZERO);
    whole_seconds(now.checked_sub(skew).unwrap_or(now))
}

fn whole_seconds(time: OffsetDateTime) -> OffsetDateTime {
    time - time::Duration::nanoseconds(i64::from(time.nanosecond()))
}

fn params(
    settings: &Settings,
    serial: &Serial,
    now: OffsetDateTime,
    constraints: BasicConstraints,
) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.serial_number = Some(serial.to_rcgen());
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = before(now, settings.clock_skew);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, settings.trust_domain.as_str());
    // X509-SVID §4.1: an authority may carry its trust domain, and only that.
    if let Ok(uri) = settings.trust_domain.uri().try_into() {
        params.subject_alt_names = vec![SanType::URI(uri)];
    }
    params
}

/// The certificates of an authority, which are kept one behind the other: its own, and those between it and its root.
pub(super) fn split(mut bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (rest, _) =
            X509Certificate::from_der(bytes).map_err(|error| TrustError::material("a stored authority", error))?;
        all.push(CertificateDer::from(bytes[..bytes.len() - rest.len()].to_vec()));
        bytes = rest;
    }
    Ok(all)
}

fn record(
    kind: AuthorityKind,
    settings: &Settings,
    certificate: CertificateDer<'static>,
    key: &KeyPair,
    serial: Serial,
    standing: Standing,
    now: OffsetDateTime,
) -> AuthorityRecord {
    AuthorityRecord {
        kind,
        cluster: settings.cluster.clone(),
        certificate: certificate.to_vec(),
        key: zeroize::Zeroizing::new(key.serialize_der()),
        created_at: now,
        serial,
        standing,
        issued_until: OffsetDateTime::UNIX_EPOCH,
    }
}
