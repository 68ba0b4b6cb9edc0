//! Keys of authorities that are kept elsewhere than in the store: that of an authority above ours, in its own file, and those of
//! intermediates, in memory alone. These are SPIRE's `UpstreamAuthority "disk"` and `KeyManager "memory"`.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::authority::Signs;
use super::brought::{certificates, check_chain, read_key};
use super::certificate::read;
use super::{AuthorityKind, AuthorityRecord, AuthorityState, Settings, Standing, TrustError};

/// Where keys are kept, apart from the store.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// Who signs our intermediates. `None`: a root that is made here.
    pub upstream: Option<Arc<Upstream>>,
    /// Whether the keys of intermediates are in memory alone: a restart makes a new intermediate.
    pub in_memory: bool,
}

/// An authority above ours, checked. `Debug` shows no key.
pub struct Upstream {
    /// What is trusted, the root above its certificate first.
    roots: Vec<CertificateDer<'static>>,
    /// Its certificate and those between it and the root; empty if it is the root itself.
    chain: Vec<CertificateDer<'static>>,
    key: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("roots", &self.roots.len()).finish_non_exhaustive()
    }
}

/// What signs in the name of a root whose own key may be elsewhere.
pub(super) struct Mint {
    pub(super) signs: Signs,
    /// From what signs to the root, without it.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) not_after: OffsetDateTime,
}

impl Upstream {
    /// Reads PEM: the authority's certificate and those between it and its root, its key, and the roots. Without `bundle` the certificate
    /// is the root, and then it is the only one, as in SPIRE.
    ///
    /// # Errors
    /// It cannot sign for this trust domain now.
    pub fn read(
        settings: &Settings,
        certificate: &str,
        key: &str,
        bundle: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<Self, TrustError> {
        const WHAT: &str = "the upstream authority";
        let mut chain = certificates(WHAT, certificate)?;
        let mut roots = match bundle {
            Some(bundle) => certificates("the upstream bundle", bundle)?,
            None if chain.len() > 1 => {
                let reason = "there are several certificates and no bundle_file_path, without which it must be a root";
                return Err(TrustError::material(WHAT, reason));
            }
            None => chain.clone(),
        };
        chain.retain(|der| !roots.contains(der));
        let last = match chain.last() {
            Some(last) => last.clone(),
            None => certificates(WHAT, certificate)?.swap_remove(0),
        };
        for der in &roots {
            // Whoever stands in the bundle is believed to be an authority by every proxy.
            let (_, read) = X509Certificate::from_der(der).map_err(|error| TrustError::material(WHAT, error))?;
            if !read.is_ca() {
                let reason = format!("{} is no authority: its basic constraints do not say CA", read.subject());
                return Err(TrustError::material("the upstream bundle", reason));
            }
        }
        // The root that the chain ends at goes first.
        let tried: Vec<_> = roots.iter().map(|root| check_chain(settings, &chain, root, 1, now)).collect();
        let fits = |(index, tried): (usize, &Result<(), TrustError>)| {
            (tried.is_ok() && (!chain.is_empty() || roots[index] == last)).then_some(index)
        };
        let Some(above) = tried.iter().enumerate().find_map(fits) else {
            let reason = tried.into_iter().find_map(Result::err);
            return Err(reason.unwrap_or_else(|| TrustError::material(WHAT, "no root of the bundle is above it")));
        };
        roots.swap(0, above);
        let upstream = Self { roots, chain, key: read_key(key)? };
        // Compares the key with the certificate.
        upstream.mint()?;
        Ok(upstream)
    }

    fn signer(&self) -> &CertificateDer<'static> {
        self.chain.first().unwrap_or(&self.roots[0])
    }

    /// Whether it signs as `other` does, whatever else their bundles name.
    pub(super) fn signs_as(&self, other: &Self) -> bool {
        self.root() == other.root() && self.chain == other.chain
    }

    /// The root above it.
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.roots[0]
    }

    /// The root above as it is kept.
    pub(super) fn root_record(
        &self,
        settings: &Settings,
        state: AuthorityState,
        now: OffsetDateTime,
    ) -> Result<AuthorityRecord, TrustError> {
        let mut record = record(self.root(), settings, state, now)?;
        record.standing.trusted = state == AuthorityState::Active;
        Ok(record)
    }

    fn mint(&self) -> Result<Mint, TrustError> {
        let signer = self.signer();
        let facts = read(signer)?;
        let signs = Signs::new(signer, &facts, &self.key)?;
        let signs = signs.ok_or_else(|| TrustError::KeyElsewhere { subject: facts.subject.clone() })?;
        Ok(Mint { signs, chain: self.chain.clone(), not_after: facts.not_after })
    }
}

/// Without a key: that is the upstream's.
fn record(
    root: &CertificateDer<'_>,
    settings: &Settings,
    state: AuthorityState,
    now: OffsetDateTime,
) -> Result<AuthorityRecord, TrustError> {
    Ok(AuthorityRecord {
        kind: AuthorityKind::Root,
        cluster: settings.cluster.clone(),
        certificate: root.to_vec(),
        key: Zeroizing::default(),
        created_at: now,
        serial: read(root)?.serial,
        standing: Standing { state, trusted: true },
        issued_until: OffsetDateTime::UNIX_EPOCH,
    })
}

impl Keys {
    /// The roots that are trusted for as long as the upstream's bundle names them, beside the one above its certificate. They are in no
    /// record: the file alone says which they are.
    pub(super) fn further(&self) -> &[CertificateDer<'static>] {
        self.upstream.as_ref().map_or(&[], |upstream| &upstream.roots[1..])
    }

    /// What signs below the root `certificate`, if that is the upstream's.
    pub(super) fn mint_below(&self, certificate: &[u8]) -> Result<Option<Arc<Mint>>, TrustError> {
        let above = self.upstream.as_ref().filter(|upstream| upstream.root()[..] == *certificate);
        above.map(|upstream| upstream.mint().map(Arc::new)).transpose()
    }

    /// A record as the store may have it.
    pub(super) fn for_store(&self, record: &AuthorityRecord) -> AuthorityRecord {
        let mut record = record.clone();
        if self.in_memory && record.kind == AuthorityKind::Intermediate {
            record.key = Zeroizing::default();
        }
        record
    }
}
