//! Other trust domains: by which roots their identities are verified. One domain's root never vouches for another's identity, so each
//! has a bundle of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use super::authority::split;
use super::exchange::{self, BundleError};
use super::{AuthorityRecord, AuthorityState, FederatedRecord, RotationRecord, Serial, Trust, TrustBundle, TrustError};
use crate::identity::TrustDomain;

/// How often others are asked to look at our bundle again, in seconds: less than any step of a root rotation should be given.
const REFRESH_HINT: u64 = 300;

/// The bundle of another trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederatedBundle {
    /// Its roots. There is at least one, and no revocation list.
    pub bundle: TrustBundle,
    /// The number that its publisher gave it, which rises with each change.
    pub sequence: Option<u64>,
    /// How often its publisher asks to look again, in seconds.
    pub refresh_hint: Option<u64>,
    /// When it was taken in.
    pub imported_at: OffsetDateTime,
}

/// The bundles of all other trust domains, by their names. Replaced as a whole with each change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Federation {
    bundles: BTreeMap<TrustDomain, Arc<FederatedBundle>>,
}

impl Federation {
    /// What was kept.
    pub(super) fn from_records(records: Vec<FederatedRecord>) -> Result<Self, TrustError> {
        let bundles = records.into_iter().map(|record| {
            let bundle = TrustBundle::new(record.trust_domain.clone(), split(&record.roots)?)?;
            let FederatedRecord { trust_domain, sequence, refresh_hint, imported_at, .. } = record;
            Ok((trust_domain, Arc::new(FederatedBundle { bundle, sequence, refresh_hint, imported_at })))
        });
        Ok(Self { bundles: bundles.collect::<Result<_, TrustError>>()? })
    }

    /// Every bundle, ordered by trust domain.
    pub fn bundles(&self) -> impl Iterator<Item = &Arc<FederatedBundle>> {
        self.bundles.values()
    }

    /// The bundle of this trust domain.
    pub fn bundle(&self, trust_domain: &TrustDomain) -> Option<&Arc<FederatedBundle>> {
        self.bundles.get(trust_domain)
    }
}

impl FederatedBundle {
    /// As a SPIFFE bundle, with the number that its publisher gave it.
    pub fn spiffe_json(&self) -> Result<String, TrustError> {
        let written = exchange::write(&self.bundle, self.sequence, self.refresh_hint);
        written.map_err(|reason| TrustError::Bundle { trust_domain: self.bundle.trust_domain().clone(), reason })
    }
}

/// Our own bundle as others are to have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedBundle {
    /// The roots that proxies trust, and one that is prepared to follow: others have to know it before it signs.
    pub bundle: TrustBundle,
    /// Rises with each change.
    pub sequence: u64,
}

impl PublishedBundle {
    /// As a SPIFFE bundle.
    pub fn spiffe_json(&self) -> Result<String, TrustError> {
        let written = exchange::write(&self.bundle, Some(self.sequence), Some(REFRESH_HINT));
        written.map_err(|reason| TrustError::Bundle { trust_domain: self.bundle.trust_domain().clone(), reason })
    }
}

impl Trust {
    /// The bundles of other trust domains.
    pub fn federation(&self) -> Arc<Federation> {
        self.federation.load_full()
    }

    /// Takes in the bundle of another trust domain, in place of an older one of it. Everything is checked before anything is kept.
    pub fn import_bundle(
        &self,
        trust_domain: &TrustDomain,
        document: &str,
        now: OffsetDateTime,
    ) -> Result<Arc<FederatedBundle>, TrustError> {
        let refused = |reason| TrustError::Bundle { trust_domain: trust_domain.clone(), reason };
        if *trust_domain == self.settings.trust_domain {
            return Err(refused(BundleError::OwnDomain(trust_domain.clone())));
        }
        let document = exchange::read(document).map_err(refused)?;
        // Whoever holds the books is alone in changing what is kept.
        let books = self.books();
        let own = self.published(&books.records, books.rotation.as_ref())?;
        for root in &document.certificates {
            exchange::check_root(root, trust_domain, &own, now).map_err(refused)?;
        }
        let federation = self.federation();
        let kept = federation.bundle(trust_domain).and_then(|kept| kept.sequence);
        if let (Some(found), Some(kept)) = (document.sequence, kept)
            && found < kept
        {
            return Err(refused(BundleError::Older { trust_domain: trust_domain.clone(), found, kept }));
        }
        let shared = |other: &&Arc<FederatedBundle>| {
            let roots = other.bundle.roots();
            other.bundle.trust_domain() != trust_domain
                && roots.iter().any(|root| document.certificates.contains(&root.der))
        };
        if let Some(other) = federation.bundles().find(shared) {
            let reason = format!("no two trust domains may share a root, and {} has it", other.bundle.trust_domain());
            return Err(refused(BundleError::Root { subject: "a root".to_owned(), reason }));
        }
        let record = FederatedRecord {
            trust_domain: trust_domain.clone(),
            roots: document.certificates.iter().flat_map(|der| der.iter().copied()).collect(),
            sequence: document.sequence,
            refresh_hint: document.refresh_hint,
            imported_at: now,
        };
        let bundle = Arc::new(FederatedBundle {
            bundle: TrustBundle::new(trust_domain.clone(), document.certificates)?,
            sequence: document.sequence,
            refresh_hint: document.refresh_hint,
            imported_at: now,
        });
        self.store.save_federated(&record)?;
        let mut bundles = federation.bundles.clone();
        bundles.insert(trust_domain.clone(), Arc::clone(&bundle));
        self.federation.store(Arc::new(Federation { bundles }));
        Ok(bundle)
    }

    /// Forgets the bundle of another trust domain: nobody of it is verified any more. Whether there was one.
    pub fn remove_bundle(&self, trust_domain: &TrustDomain) -> Result<bool, TrustError> {
        let _books = self.books();
        let was_there = self.store.remove_federated(trust_domain)?;
        let mut bundles = self.federation().bundles.clone();
        bundles.remove(trust_domain);
        self.federation.store(Arc::new(Federation { bundles }));
        Ok(was_there)
    }

    /// Our own bundle, for others.
    pub fn published_bundle(&self) -> Result<PublishedBundle, TrustError> {
        let books = self.books();
        let bundle = self.published(&books.records, books.rotation.as_ref())?;
        Ok(PublishedBundle { bundle, sequence: books.bundle_sequence })
    }

    fn published(
        &self,
        records: &[AuthorityRecord],
        rotation: Option<&RotationRecord>,
    ) -> Result<TrustBundle, TrustError> {
        let serials = published_roots(records, rotation);
        let roots = records.iter().filter(|record| serials.contains(&record.serial));
        let roots: Vec<CertificateDer<'static>> =
            roots.map(|record| split(&record.certificate)).collect::<Result<Vec<_>, _>>()?.concat();
        TrustBundle::new(self.settings.trust_domain.clone(), roots)?.with_further(self.keys().further())
    }
}

/// The roots that others are to have: those that proxies trust, and the one that a rotation has prepared.
pub(super) fn published_roots(records: &[AuthorityRecord], rotation: Option<&RotationRecord>) -> Vec<Serial> {
    let under_way = rotation.filter(|rotation| !rotation.step.is_end());
    let next = |record: &AuthorityRecord| {
        record.standing.state == AuthorityState::Prepared && under_way.is_some_and(|it| it.new == record.serial)
    };
    records.iter().filter(|it| it.standing.trusted || next(it)).map(|it| it.serial.clone()).collect()
}
