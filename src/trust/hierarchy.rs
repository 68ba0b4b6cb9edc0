//! The authorities as they stand: who signs, who is trusted, and who was signed by whom. Made anew with each change.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use time::OffsetDateTime;

use super::authority::Authority;
use super::bundle::RevocationLists;
use super::upstream::Keys;
use super::{AuthorityKind, AuthorityRecord, AuthorityState, Serial, Settings, TrustBundle, TrustError};

/// Who signs now, and what peers are verified against.
#[derive(Clone, Debug)]
pub(super) struct Hierarchy {
    roots: Vec<Arc<Authority>>,
    /// Each with the serial of its root.
    intermediates: Vec<(Arc<Authority>, Option<Serial>)>,
    /// Signs intermediates.
    pub(super) root: Arc<Authority>,
    /// Signs workload certificates.
    pub(super) signer: Arc<Authority>,
    /// Signs the certificate of our own listener.
    pub(super) listener: Arc<Authority>,
    pub(super) bundle: Arc<TrustBundle>,
}

impl Hierarchy {
    /// Records, the oldest first.
    pub(super) fn from_records(
        records: &[AuthorityRecord],
        settings: &Settings,
        keys: &Keys,
    ) -> Result<Self, TrustError> {
        let all = records.iter().map(|record| Authority::from_record(record)?.minted_by(keys));
        let all = all.collect::<Result<Vec<_>, _>>()?;
        let (roots, intermediates): (Vec<_>, Vec<_>) =
            all.into_iter().map(Arc::new).partition(|it| it.kind == AuthorityKind::Root);
        let root_of = |it: &Authority| roots.iter().find(|root| it.is_signed_by(root)).map(|it| it.info.serial.clone());
        let intermediates: Vec<_> = intermediates
            .into_iter()
            .map(|it| {
                let root = root_of(&it);
                (it, root)
            })
            .collect();
        let lacks = |what: &str| TrustError::material("the store", format!("it has no {what}"));
        let active = |it: &Arc<Authority>| it.standing.state == AuthorityState::Active;
        let root = roots.iter().rfind(|it| active(it)).cloned().ok_or_else(|| lacks("active root"))?;
        let signer = intermediates.iter().rfind(|(it, _)| active(it)).map(|(it, _)| Arc::clone(it));
        let signer = signer.ok_or_else(|| lacks("active intermediate"))?;
        let trusted: Vec<_> = roots.iter().filter(|root| root.standing.trusted).collect();
        // The roots that a client has on its disk may be as old as its last renewal. The oldest that is trusted is one that all have.
        let oldest = trusted.first().ok_or_else(|| lacks("trusted root"))?.info.serial.clone();
        let of_oldest = |(it, root): &&(Arc<Authority>, Option<Serial>)| {
            it.standing.state != AuthorityState::Prepared && it.has_key() && root.as_ref() == Some(&oldest)
        };
        let listener = match oldest == root.info.serial {
            true => Arc::clone(&signer),
            false => {
                intermediates.iter().rfind(of_oldest).map_or_else(|| Arc::clone(&signer), |(it, _)| Arc::clone(it))
            }
        };
        let bundle =
            TrustBundle::new(settings.trust_domain.clone(), trusted.iter().map(|root| root.der.clone()).collect())?
                .with_further(keys.further())?;
        Ok(Self { root, signer, listener, bundle: Arc::new(bundle), roots, intermediates })
    }

    /// The same with these revocation lists in the bundle.
    pub(super) fn with_lists(&self, lists: Option<RevocationLists>) -> Self {
        Self { bundle: Arc::new(self.bundle.with_lists(lists)), ..self.clone() }
    }

    /// The roots in the bundle.
    pub(super) fn trusted_roots(&self) -> impl Iterator<Item = &Arc<Authority>> {
        self.roots.iter().filter(|root| root.standing.trusted)
    }

    pub(super) fn root(&self, serial: &Serial) -> Option<&Arc<Authority>> {
        self.roots.iter().find(|root| root.info.serial == *serial)
    }

    /// The root above an intermediate.
    pub(super) fn root_of(&self, intermediate: &Serial) -> Option<&Serial> {
        let found = self.intermediates.iter().find(|(it, _)| it.info.serial == *intermediate);
        found.and_then(|(_, root)| root.as_ref())
    }

    /// The root above the intermediate with this key identifier.
    pub(super) fn root_of_key(&self, key_id: &[u8]) -> Option<&Serial> {
        let found = self.intermediates.iter().find(|(it, _)| it.key_id == key_id);
        found.and_then(|(_, root)| root.as_ref())
    }

    /// Whether what this intermediate has signed is verified by who has our bundle.
    pub(super) fn is_trusted(&self, intermediate: &Serial) -> bool {
        let root = self.root_of(intermediate).and_then(|root| self.root(root));
        root.is_some_and(|root| root.standing.trusted)
    }

    /// Intermediates of a root, the newest first.
    pub(super) fn below<'a>(&'a self, root: &'a Serial) -> impl Iterator<Item = &'a Arc<Authority>> {
        self.intermediates.iter().rev().filter(move |(_, of)| of.as_ref() == Some(root)).map(|(it, _)| it)
    }

    /// Every intermediate.
    pub(super) fn intermediates(&self) -> impl Iterator<Item = &Arc<Authority>> {
        self.intermediates.iter().map(|(it, _)| it)
    }

    /// Every intermediate that signs.
    pub(super) fn active(&self) -> impl Iterator<Item = &Arc<Authority>> {
        self.intermediates().filter(|it| it.standing.state == AuthorityState::Active)
    }

    /// Nothing that was signed for a workload below this root is valid after this.
    pub(super) fn issued_until(&self, root: &Serial) -> OffsetDateTime {
        let last = self.below(root).map(|it| it.issued_until.load(Ordering::Acquire)).max().unwrap_or(0);
        OffsetDateTime::from_unix_timestamp(last).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}
