//! What signs: the root, and the intermediate of this cluster.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::brought::{is_key_of, key_pair};
use super::certificate::{Facts, pem_of, read};
use super::template::Template;
use super::upstream::{Keys, Mint};
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
    /// What signs in its name, if its own key does not.
    mint: Option<Arc<Mint>>,
}

/// What it takes to sign.
pub(super) struct Signs {
    pub(super) issuer: Issuer<'static, KeyPair>,
    pub(super) template: Template,
}

impl Signs {
    /// The certificate `der`, of which `facts` tells, with this key. A key that is not the certificate's is refused.
    pub(super) fn new(der: &CertificateDer<'_>, facts: &Facts, key: &[u8]) -> Result<Option<Self>, TrustError> {
        let unusable =
            |reason: &dyn std::fmt::Display| TrustError::material(format!("the authority {}", facts.subject), reason);
        match key_pair(key).map_err(|error| unusable(&error))? {
            Some(key) if !is_key_of(&key, &facts.public_key) => Err(unusable(&"its key is another certificate's")),
            Some(key) => {
                let template = Template::new(der, &key)?;
                let issuer = Issuer::from_ca_cert_der(der, key).map_err(|error| unusable(&error))?;
                Ok(Some(Self { issuer, template }))
            }
            None => Ok(None),
        }
    }
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
        name(&mut params, settings, &serial, || format!("countersign root {}", serial.short()));
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
        let (signs, above) = match &self.mint {
            Some(mint) if mint.not_after <= now => {
                let subject = format!("the upstream authority below {}", self.info.subject);
                return Err(TrustError::SignerExpired { subject, at: mint.not_after });
            }
            Some(mint) => (&mint.signs, mint.chain.as_slice()),
            None => (self.signs()?, &[][..]),
        };
        let (key, serial) = (settings.authority_key.generate()?, Serial::random());
        let mut params = params(settings, &serial, now, BasicConstraints::Constrained(0));
        name(&mut params, settings, &serial, || format!("countersign {} {}", settings.cluster, serial.short()));
        params.not_after = after(now, settings.intermediate_ttl, "the intermediate")?.min(self.last_of_next());
        params.use_authority_key_identifier_extension = true;
        let certificate =
            params.signed_by(&key, &signs.issuer).map_err(|error| TrustError::material("the intermediate", error))?;
        let standing = Standing { state, trusted: false };
        let mut new = record(AuthorityKind::Intermediate, settings, certificate.into(), &key, serial, standing, now);
        new.certificate.extend(above.iter().flat_map(|der| der.iter().copied()));
        Ok(new)
    }

    /// Reads what was kept. A key that is not the certificate's is refused.
    pub(super) fn from_record(record: &AuthorityRecord) -> Result<Self, TrustError> {
        let mut chain = split(&record.certificate)?.into_iter();
        let der = chain.next().ok_or_else(|| TrustError::material("a stored authority", "it is empty"))?;
        let between: Vec<_> = chain.collect();
        let facts = read(&der)?;
        let signs = Signs::new(&der, &facts, &record.key)?;
        let pem = std::iter::once(&der).chain(&between).map(|der| pem_of(der)).collect();
        let (serial, not_before, not_after) = (facts.serial, facts.not_before, facts.not_after);
        let info = AuthorityInfo { serial, not_before, not_after, subject: facts.subject };
        Ok(Self {
            info,
            pem,
            der,
            between,
            signs,
            mint: None,
            kind: record.kind,
            cluster: record.cluster.clone(),
            standing: record.standing,
            key_id: facts.key_id.unwrap_or_default(),
            issued_until: AtomicI64::new(record.issued_until.unix_timestamp()),
        })
    }

    /// The same as a root whose intermediates are signed by whom `keys` knows, if that is another.
    pub(super) fn minted_by(mut self, keys: &Keys) -> Result<Self, TrustError> {
        if self.kind == AuthorityKind::Root {
            self.mint = keys.mint_below(&self.der)?;
        }
        Ok(self)
    }

    /// No intermediate that is made now ends later than this.
    pub(super) fn last_of_next(&self) -> OffsetDateTime {
        self.mint.as_ref().map_or(self.info.not_after, |mint| mint.not_after.min(self.info.not_after))
    }

    /// Whether this one's certificate, or the last of those between, was signed with that one's key.
    pub(super) fn is_signed_by(&self, signer: &Authority) -> bool {
        let own = self.between.last().unwrap_or(&self.der);
        let (Ok((_, own)), Ok((_, signer))) = (X509Certificate::from_der(own), X509Certificate::from_der(&signer.der))
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

    /// Whether intermediates below it can be made here.
    pub(super) fn can_mint(&self) -> bool {
        self.has_key() || self.mint.is_some()
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
    // X509-SVID §4.1: an authority may carry its trust domain, and only that.
    if let Ok(uri) = settings.trust_domain.uri().try_into() {
        params.subject_alt_names = vec![SanType::URI(uri)];
    }
    params
}

/// serialNumber (2.5.4.5).
const SERIAL_NUMBER: &[u64] = &[2, 5, 4, 5];

/// Names an authority as an operator wants it, or else with this common name.
fn name(params: &mut CertificateParams, settings: &Settings, serial: &Serial, common_name: impl FnOnce() -> String) {
    let name = &mut params.distinguished_name;
    let Some(wanted) = &settings.authority_name else {
        name.push(DnType::OrganizationName, settings.trust_domain.as_str());
        name.push(DnType::CommonName, common_name());
        return;
    };
    let parts = [(DnType::CountryName, &wanted.country), (DnType::OrganizationName, &wanted.organization)];
    for (kind, texts) in parts {
        texts.iter().for_each(|text| name.push(kind.clone(), text.as_str()));
    }
    if !wanted.common_name.is_empty() {
        name.push(DnType::CommonName, wanted.common_name.as_str());
    }
    name.push(DnType::CustomDnType(SERIAL_NUMBER.to_vec()), serial.to_string());
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
