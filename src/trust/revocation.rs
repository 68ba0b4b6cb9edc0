//! Certificates that are not to be believed any more, before they end by themselves.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLockReadGuard};
use std::time::Duration;

use time::OffsetDateTime;

use super::bundle::RevocationLists;
use super::hierarchy::Hierarchy;
use super::issuance::Books;
use super::{
    AuthorityKind, CrlRecord, IssuedChain, IssuedRecord, LeafNames, Lists, RevocationRecord, Serial, Trust,
    TrustBundle, TrustError, crl,
};
use crate::identity::SpiffeId;

/// How many lifetimes of a workload certificate a revocation list is good for. It is made anew at half of that, so whoever has one can
/// use it for longer than any certificate: when we are away, it is never the list that ends first.
const LIFETIMES: u32 = 4;

/// What is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoke {
    /// The certificate with this serial number.
    Serial(Serial),
    /// Every certificate of this identity. Those that it is given later are good.
    Identity(SpiffeId),
}

/// A certificate for a key that somebody else holds, on its way to the books.
#[derive(Debug)]
pub(super) struct Note {
    record: IssuedRecord,
    /// The certificate by which it was asked for.
    caller: Option<Serial>,
    done: OnceLock<Result<(), TrustError>>,
}

impl Trust {
    /// [`Trust::sign_csr`] for a caller who has shown the certificate `caller`. What is handed out is in the books before, so that it can be
    /// revoked with its identity; nothing is handed out for a certificate that was revoked.
    pub fn enroll(
        &self,
        csr_pem: &str,
        names: impl Into<LeafNames>,
        caller: Option<&Serial>,
        lifetime: Option<Duration>,
        now: OffsetDateTime,
    ) -> Result<IssuedChain, TrustError> {
        let names = names.into();
        let issued = self.sign_csr(csr_pem, names.clone(), lifetime, now)?;
        let record = IssuedRecord {
            serial: issued.serial.clone(),
            issuer: issued.issuer.clone(),
            identity: names.id().to_string(),
            not_after: issued.not_after,
        };
        let note = Arc::new(Note { record, caller: caller.cloned(), done: OnceLock::new() });
        self.notes().push(Arc::clone(&note));
        let books = self.books();
        if note.done.get().is_none() {
            // Whoever has its turn writes for all that wait: many wait for the disk once.
            let notes = std::mem::take(&mut *self.notes());
            self.keep_notes(&notes);
        }
        drop(books);
        let lost = || Err(TrustError::material("a certificate", "it was lost"));
        note.done.get().cloned().unwrap_or_else(lost).map(|()| issued)
    }

    /// The books are held, so a revocation has either happened, or finds what is written here.
    fn keep_notes(&self, notes: &[Arc<Note>]) {
        let (refused, good): (Vec<_>, Vec<_>) =
            notes.iter().partition(|it| it.caller.as_ref().is_some_and(|serial| self.is_revoked(serial)));
        let records: Vec<_> = good.iter().map(|it| it.record.clone()).collect();
        let kept = self.store.note_issued(&records).map_err(TrustError::from);
        for note in good {
            let _ = note.done.set(kept.clone());
        }
        for note in refused {
            let _ = note.done.set(Err(TrustError::Revoked));
        }
    }

    /// Revokes certificates that are valid, or could still be renewed: durably, and from then on for everybody who asks here. The answer
    /// has those that were revoked before too. An error if there is no such certificate.
    pub fn revoke(&self, what: &Revoke, now: OffsetDateTime) -> Result<Vec<RevocationRecord>, TrustError> {
        let mut books = self.books();
        let (found, named) = match what {
            Revoke::Serial(serial) => (self.store.find_issued(serial)?.into_iter().collect(), serial.to_string()),
            Revoke::Identity(id) => (self.store.issued_to(id.as_str())?, id.to_string()),
        };
        let end = self.forgotten_until(now);
        let known = self.revoked().clone();
        let found = found.into_iter().filter(|it| it.not_after > end).map(|certificate| {
            let fresh = || RevocationRecord { certificate: certificate.clone(), revoked_at: now };
            known.get(&certificate.serial).cloned().unwrap_or_else(fresh)
        });
        let all: Vec<_> = found.collect();
        if all.is_empty() {
            return Err(TrustError::NotIssued(named));
        }
        self.store.revoke(&all)?;
        let revoked = all.iter().map(|it| (it.certificate.serial.clone(), it.clone()));
        self.revoked.write().unwrap_or_else(PoisonError::into_inner).extend(revoked);
        self.refresh_lists(&mut books, now)?;
        Ok(all)
    }

    /// Whether this certificate was revoked.
    pub fn is_revoked(&self, serial: &Serial) -> bool {
        self.revoked().contains_key(serial)
    }

    /// What was revoked and has not been forgotten, the oldest first.
    pub fn revocations(&self) -> Vec<RevocationRecord> {
        let mut all: Vec<_> = self.revoked().values().cloned().collect();
        all.sort_by(|left, right| {
            (left.revoked_at, &left.certificate.serial).cmp(&(right.revoked_at, &right.certificate.serial))
        });
        all
    }

    /// Says that every proxy has acknowledged this bundle, with the revocation lists in it: the intermediates that have one may sign.
    pub fn confirm_lists(&self, bundle: &TrustBundle) {
        if *self.bundle() == *bundle {
            self.books().listed = bundle.listed().to_vec();
        }
    }

    /// Whether a proxy could refuse what this intermediate signs, because it lacks its list.
    pub(super) fn is_held_back(&self, hierarchy: &Hierarchy, books: &Books, intermediate: &Serial) -> bool {
        hierarchy.bundle.crls().is_some() && !books.listed.contains(intermediate)
    }

    /// Puts lists into the bundle while a certificate is revoked that would otherwise be valid, and takes them out when there is none.
    ///
    /// Who is given one list demands one of every issuer whose certificates it is shown (BoringSSL: `unable to get certificate CRL`). So
    /// there are lists of all intermediates that can be believed, most of them empty, or none at all.
    pub(super) fn refresh_lists(&self, books: &mut Books, now: OffsetDateTime) -> Result<(), TrustError> {
        let hierarchy = self.hierarchy();
        let skew = time::Duration::try_from(self.settings.clock_skew).unwrap_or_default();
        let live: Vec<_> = self.revocations().into_iter().filter(|it| it.certificate.not_after + skew > now).collect();
        if live.is_empty() || !self.lists_are_possible(&hierarchy, now) {
            if hierarchy.bundle.crls().is_some() {
                books.listed.clear();
                self.set_hierarchy(hierarchy.with_lists(None));
            }
            return Ok(());
        }
        let life = time::Duration::try_from(self.settings.workload_ttl * LIFETIMES).unwrap_or(time::Duration::WEEK);
        let (mut fresh, mut intermediates, mut roots, mut listed) =
            (Vec::new(), String::new(), String::new(), Vec::new());
        let signing = hierarchy.intermediates().filter(|it| it.info.not_after > now);
        // A root's own list is empty: only who looks up whole chains asks for it (Envoy's SPIFFE validator).
        let whole_chains =
            !hierarchy.bundle.has_further() && hierarchy.trusted_roots().all(|root| root.can_sign_lists());
        let trusted = hierarchy.trusted_roots().filter(|_| whole_chains);
        for signer in signing.chain(trusted) {
            let serial = &signer.info.serial;
            let own: Vec<_> = live.iter().filter(|it| it.certificate.issuer == *serial).cloned().collect();
            let mut wanted: Vec<_> = own.iter().map(|it| it.certificate.serial.clone()).collect();
            wanted.sort();
            let last = books.crls.iter().find(|it| it.issuer == *serial);
            let is_good = |last: &&CrlRecord| {
                crl::read(signer, &last.der)
                    .is_ok_and(|it| it.serials == wanted && it.this_update <= now && now < it.next_update - life / 2)
            };
            let list = match last.filter(is_good) {
                Some(good) => good.clone(),
                None => {
                    let number = last.map_or(1, |last| last.number + 1);
                    let list = crl::sign(signer, &own, number, (now - skew, now + life))?;
                    fresh.push(list.clone());
                    list
                }
            };
            match signer.kind {
                AuthorityKind::Root => roots.push_str(&crl::pem_of(&list)),
                AuthorityKind::Intermediate => {
                    intermediates.push_str(&crl::pem_of(&list));
                    listed.push(serial.clone());
                }
            }
        }
        if !fresh.is_empty() {
            self.store.save_crls(&fresh)?;
            books.crls.retain(|old| fresh.iter().all(|new| new.issuer != old.issuer));
            books.crls.extend(fresh);
        }
        let lists =
            RevocationLists { intermediates: intermediates.into(), roots: whole_chains.then(|| roots.into()), listed };
        if hierarchy.bundle.lists() != Some(&lists) {
            self.set_hierarchy(hierarchy.with_lists(Some(lists)));
        }
        Ok(())
    }

    fn lists_are_possible(&self, hierarchy: &Hierarchy, now: OffsetDateTime) -> bool {
        let all_sign = hierarchy.intermediates().filter(|it| it.info.not_after > now).all(|it| it.can_sign_lists());
        match self.settings.lists {
            Lists::Never => false,
            Lists::Always => all_sign,
            // Whoever has a root's key may have signed intermediates that we know nothing of.
            Lists::Auto => {
                all_sign && !hierarchy.bundle.has_further() && hierarchy.trusted_roots().all(|root| root.has_key())
            }
        }
    }

    /// What ended then or before can neither be used nor renewed.
    pub(super) fn forgotten_until(&self, now: OffsetDateTime) -> OffsetDateTime {
        let grace = time::Duration::try_from(self.settings.renewal_grace + self.settings.clock_skew);
        now.checked_sub(grace.unwrap_or(time::Duration::MAX)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    pub(super) fn revoked(&self) -> RwLockReadGuard<'_, HashMap<Serial, RevocationRecord>> {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Note>>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
