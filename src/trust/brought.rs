//! Authorities that are not made here: a root and an intermediate with its key that are brought, or an intermediate whose key is made
//! here and whose certificate is signed where the root's key is.

use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair, KeyUsagePurpose, PublicKeyData as _,
    SanType,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use zeroize::Zeroizing;

use super::authority::Authority;
use super::certificate::read;
use super::change::RETIRED;
use super::{
    AuthorityInfo, AuthorityKind, AuthorityRecord, AuthorityState, Change, Maintained, Settings, Standing, Store,
    Trust, TrustError,
};

/// basicConstraints (2.5.29.19): an authority that signs no other authority.
const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const AUTHORITY_OF_LEAVES: &[u8] = &[0x30, 6, 0x01, 1, 0xff, 0x02, 1, 0];

/// Makes the key of an intermediate for this cluster, keeps it, and returns the request for its certificate: PKCS #10 in PEM, for
/// whoever has the root's key. A request that was made before is void.
pub fn request_authority(store: &dyn Store, settings: &Settings, now: OffsetDateTime) -> Result<String, TrustError> {
    let unusable = |error: rcgen::Error| TrustError::material("the request for an intermediate", error);
    let key = settings.authority_key.generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, settings.trust_domain.as_str());
    params.distinguished_name.push(DnType::CommonName, format!("countersign {}", settings.cluster));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![SanType::URI(settings.trust_domain.uri().try_into().map_err(unusable)?)];
    let mut constraints = CustomExtension::from_oid_content(BASIC_CONSTRAINTS, AUTHORITY_OF_LEAVES.to_vec());
    constraints.set_criticality(true);
    params.custom_extensions = vec![constraints];
    let request = params.serialize_request(&key).and_then(|request| request.pem()).map_err(unusable)?;
    store.keep_authority_request(&settings.cluster, &Zeroizing::new(key.serialize_der()), now)?;
    Ok(request)
}

/// What is brought, each as PEM.
#[derive(Clone, Copy)]
pub struct Brought<'a> {
    /// The authority that is to sign, then what has signed it. The root may be at the end.
    pub chain: &'a str,
    /// The one root.
    pub root: &'a str,
    /// The key of the first certificate in `chain`; `None` if it was made by [`request_authority`].
    pub key: Option<&'a str>,
}

/// Shows no key.
impl std::fmt::Debug for Brought<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Brought").finish_non_exhaustive()
    }
}

/// Takes an authority into an empty store, or another intermediate under the root that the store has. Everything is checked before
/// anything is kept. A root that is brought with its key gets an intermediate made here. No server uses the store.
pub fn import_authority(
    store: &dyn Store,
    settings: &Settings,
    brought: Brought<'_>,
    now: OffsetDateTime,
) -> Result<AuthorityInfo, TrustError> {
    let (root, intermediate) = checked(store, settings, brought, now)?;
    let info = Authority::from_record(&intermediate)?.info;
    let contents = store.load()?;
    match contents.trust_domain {
        None => store.found(&settings.trust_domain, &[root, intermediate])?,
        Some(_) => {
            check_known(&contents.authorities, &root)?;
            // The one that signed until now is good for what it has signed, and signs nothing more.
            let signed = contents
                .authorities
                .iter()
                .filter(|it| it.kind == AuthorityKind::Intermediate && it.standing.state == AuthorityState::Active);
            let standings = signed.map(|it| (it.serial.clone(), RETIRED)).collect();
            store.change(&Change { add: vec![intermediate], standings, ..Change::default() })?;
        }
    }
    Ok(info)
}

/// A root that is not trusted yet cannot be brought: proxies that know only another one would be cut off.
fn check_known(records: &[AuthorityRecord], root: &AuthorityRecord) -> Result<(), TrustError> {
    let known = |it: &AuthorityRecord| it.kind == AuthorityKind::Root && it.certificate == root.certificate;
    if records.iter().any(known) {
        return Ok(());
    }
    let reason = "the store has another root, and proxies that know only that one would be cut off; take it into an empty data directory";
    Err(refused("the root", reason))
}

impl Trust {
    /// [`request_authority`], while the hierarchy is at work.
    pub fn request_authority(&self, now: OffsetDateTime) -> Result<String, TrustError> {
        let _books = self.books();
        request_authority(&*self.store, &self.settings, now)
    }

    /// Lets another intermediate sign that is brought, under the root that signs now; while something is revoked, as soon as every proxy
    /// has its revocation list. One that has signed before, and has given way to another, signs again. Everything is checked before
    /// anything is kept.
    pub fn import_authority(
        &self,
        brought: Brought<'_>,
        now: OffsetDateTime,
    ) -> Result<(AuthorityInfo, Maintained), TrustError> {
        let mut books = self.books();
        let (root, mut intermediate) = checked(&*self.store, &self.settings, brought, now)?;
        check_known(&books.records, &root)?;
        let info = Authority::from_record(&intermediate)?.info;
        let known = books.records.iter().find(|it| it.serial == info.serial);
        let gave_way = |it: &&AuthorityRecord| {
            it.certificate == intermediate.certificate && it.standing.state == AuthorityState::Retired
        };
        if known.is_some_and(|it| !gave_way(&it)) {
            return Err(refused(&info.subject, "it is in the store already"));
        }
        let is_known = known.is_some();
        let hierarchy = self.hierarchy();
        if hierarchy.root.info.serial != root.serial {
            return Err(refused("the root", "another one signs now: bring an intermediate under that one"));
        }
        let waits = hierarchy.bundle.crls().is_some();
        intermediate.standing.state = if waits { AuthorityState::Prepared } else { AuthorityState::Active };
        let mut change = Change::default();
        if !waits {
            change.standings = hierarchy.active().map(|it| (it.info.serial.clone(), RETIRED)).collect();
        }
        match is_known {
            true => change.standings.push((info.serial.clone(), intermediate.standing)),
            false => change.add.push(intermediate),
        }
        self.apply(&mut books, change)?;
        if waits {
            self.refresh_lists(&mut books, now)?;
            books.hand_over = true;
            return Ok((info, self.next_intermediate(&mut books, now)?));
        }
        Ok((info, Maintained { activated: true, ..Maintained::default() }))
    }
}

/// The root and the intermediate that were brought, checked as far as they go, and the intermediate's key with its certificate.
pub(super) fn checked(
    store: &dyn Store,
    settings: &Settings,
    brought: Brought<'_>,
    now: OffsetDateTime,
) -> Result<(AuthorityRecord, AuthorityRecord), TrustError> {
    let root = match certificates("the root", brought.root)?.as_slice() {
        [one] => one.clone(),
        several => {
            return Err(refused(
                "the root",
                format!("there are {} certificates, and one root is needed", several.len()),
            ));
        }
    };
    let mut chain = certificates("the chain", brought.chain)?;
    let is_root = chain.first() == Some(&root);
    chain.retain(|certificate| *certificate != root);
    check_chain(settings, &chain, &root, 0, now)?;
    let key = match brought.key {
        Some(pem) => read_key(pem)?,
        None => store.authority_request(&settings.cluster)?.ok_or_else(|| {
            let reason = format!(
                "none is kept for cluster {}: give its file, or begin with `countersign ca csr`",
                settings.cluster
            );
            refused("the key", reason)
        })?,
    };
    let record = |kind, certificates: &[CertificateDer<'_>], key| -> Result<AuthorityRecord, TrustError> {
        let own = certificates.first().ok_or_else(|| refused("the chain", "it is empty"))?;
        Ok(AuthorityRecord {
            kind,
            cluster: settings.cluster.clone(),
            certificate: certificates.iter().flat_map(|der| der.iter().copied()).collect(),
            key,
            created_at: now,
            serial: read(own)?.serial,
            standing: Standing { state: AuthorityState::Active, trusted: kind == AuthorityKind::Root },
            issued_until: now,
        })
    };
    let own_root = [root];
    let (root, intermediate) = if is_root {
        let root = record(AuthorityKind::Root, &own_root, key)?;
        let intermediate = Authority::from_record(&root)?.new_intermediate(settings, AuthorityState::Active, now)?;
        (root, intermediate)
    } else {
        let root = record(AuthorityKind::Root, &own_root, Zeroizing::default())?;
        (root, record(AuthorityKind::Intermediate, &chain, key)?)
    };
    // Compares the key with the certificate.
    Authority::from_record(&intermediate)?;
    Ok((root, intermediate))
}

pub(super) fn refused(what: &str, reason: impl ToString) -> TrustError {
    TrustError::material(what, reason)
}

pub(super) fn certificates(what: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| refused(what, error))?;
    if all.is_empty() {
        return Err(refused(what, "there is no PEM block CERTIFICATE"));
    }
    Ok(all)
}

/// As PKCS #8, whatever form it has (PKCS #8, SEC 1 or PKCS #1).
pub(super) fn read_key(pem: &str) -> Result<Zeroizing<Vec<u8>>, TrustError> {
    let unusable = |error: &dyn std::fmt::Display| refused("the key", error.to_string());
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| unusable(&error))?;
    let pair = KeyPair::try_from(&key).map_err(|error| unusable(&error))?;
    Ok(Zeroizing::new(pair.serialize_der()))
}

/// RFC 5280 §6.1 as far as it concerns authorities, and X509-SVID §4. `below`: how many authorities the first is to have below it.
pub(super) fn check_chain(
    settings: &Settings,
    chain: &[CertificateDer<'_>],
    root: &CertificateDer<'_>,
    below: usize,
    now: OffsetDateTime,
) -> Result<(), TrustError> {
    let all: Vec<_> = chain.iter().chain([root]).collect();
    let parsed = all.iter().map(|der| match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(refused("a certificate", "bytes after its end")),
        Err(error) => Err(refused("a certificate", error)),
    });
    let parsed: Vec<_> = parsed.collect::<Result<_, _>>()?;
    // How many authorities are below: the path length that each must allow.
    for (index, certificate) in parsed.iter().enumerate() {
        let what = certificate.subject().to_string();
        check_authority(settings, certificate, below + index, now).map_err(|reason| refused(&what, reason))?;
        let issuer = parsed.get(index + 1).unwrap_or(certificate);
        if certificate.issuer().as_raw() != issuer.subject().as_raw() {
            return Err(refused(
                &what,
                format!("it was issued by {}, and not by {}", certificate.issuer(), issuer.subject()),
            ));
        }
        certificate
            .verify_signature(Some(issuer.public_key()))
            .map_err(|_| refused(&what, format!("it is not signed with the key of {}", issuer.subject())))?;
    }
    Ok(())
}

fn check_authority(
    settings: &Settings,
    certificate: &X509Certificate<'_>,
    below: usize,
    now: OffsetDateTime,
) -> Result<(), String> {
    let unreadable = |error: x509_parser::error::X509Error| error.to_string();
    let constraints = certificate.basic_constraints().map_err(unreadable)?;
    match constraints.map(|it| (it.value.ca, it.value.path_len_constraint)) {
        Some((true, None)) => {}
        Some((true, Some(length))) if length as usize >= below => {}
        Some((true, Some(length))) => {
            return Err(format!("its path length is {length}, and there are {below} authorities below it"));
        }
        Some((false, _)) | None => return Err("it is no authority: its basic constraints do not say CA".to_owned()),
    }
    let usage = certificate.key_usage().map_err(unreadable)?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err("its key usage does not allow to sign certificates".to_owned());
    }
    if certificate.name_constraints().map_err(unreadable)?.is_some() {
        return Err(
            "it has name constraints, and TLS libraries in wide use refuse every chain with those of URIs".to_owned()
        );
    }
    let validity = certificate.validity();
    let (from, to) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
    if now < from || to <= now {
        return Err(format!("it is valid from {from} to {to}, and it is {now}"));
    }
    let names = certificate.subject_alternative_name().map_err(unreadable)?;
    let own = settings.trust_domain.uri();
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        if let GeneralName::URI(uri) = name
            && uri.starts_with("spiffe://")
            && *uri != own
        {
            return Err(format!("it is {uri}'s, and this is {own}"));
        }
    }
    Ok(())
}

/// Reads a stored key. An empty one is kept elsewhere.
pub(super) fn key_pair(pkcs8: &[u8]) -> Result<Option<KeyPair>, rcgen::Error> {
    match pkcs8 {
        [] => Ok(None),
        pkcs8 => KeyPair::try_from(&PrivatePkcs8KeyDer::from(pkcs8)).map(Some),
    }
}

/// Whether this is the key of that certificate.
pub(super) fn is_key_of(key: &KeyPair, public_key: &[u8]) -> bool {
    key.subject_public_key_info() == public_key
}
