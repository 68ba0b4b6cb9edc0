//! The hierarchy at work: who signs now, and what is signed for keys that are not ours.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use rcgen::SanType;
use time::OffsetDateTime;

use super::authority::Authority;
use super::federation::Federation;
use super::hierarchy::Hierarchy;
use super::orders::Order;
use super::revocation::Note;
use super::upstream::{Keys, Upstream};
use super::{
    AuthorityInfo, AuthorityRecord, AuthorityState, Change, CrlRecord, IssuedChain, LeafNames, RevocationRecord,
    RotationRecord, Serial, Settings, Store, TrustBundle, TrustError, WorkloadCertificate, WorkloadRecord, csr, leaf,
    server_identity,
};
use crate::identity::SpiffeId;

/// Certificates that have expired are forgotten this often.
const FORGET: time::Duration = time::Duration::HOUR;
/// Join tokens are known for so long after their end: operators may want to see what became of them.
const TOKENS_KEPT: time::Duration = time::Duration::WEEK;

/// The certificates that an identity last had for a key of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requested {
    /// The serial of the intermediate that signed them.
    pub issuer: Serial,
    /// When it had the first from this intermediate.
    pub since: OffsetDateTime,
    /// When it had the newest.
    pub last: OffsetDateTime,
}

/// The certificate hierarchy of one trust domain, in one cluster. `Debug` shows no key.
#[derive(Debug)]
pub struct Trust {
    pub(super) settings: Settings,
    pub(super) store: Box<dyn Store>,
    /// Where keys are that are not in the store.
    keys: ArcSwap<Keys>,
    pub(super) hierarchy: ArcSwap<Hierarchy>,
    /// The newest certificate of each workload (`namespace/name`). It is in the store too.
    pub(super) issued: RwLock<HashMap<String, Arc<WorkloadCertificate>>>,
    pub(super) queue: Mutex<Vec<Arc<Order>>>,
    /// Held by whoever writes to the store.
    books: Mutex<Books>,
    /// The certificates that each identity last had for a key of its own.
    requested: RwLock<HashMap<SpiffeId, Requested>>,
    /// Certificates for others' keys that wait to be written down.
    pub(super) notes: Mutex<Vec<Arc<Note>>>,
    /// What was revoked. It is in the store too.
    pub(super) revoked: RwLock<HashMap<Serial, RevocationRecord>>,
    /// The bundles of other trust domains. They are in the store too.
    pub(super) federation: ArcSwap<Federation>,
}

/// What whoever writes to the store has to know.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// When expired certificates were last forgotten.
    forgotten_at: Option<OffsetDateTime>,
    /// Every authority, the oldest first.
    pub(super) records: Vec<AuthorityRecord>,
    pub(super) rotation: Option<RotationRecord>,
    pub(super) seen: HashMap<String, OffsetDateTime>,
    /// The newest revocation list of each intermediate that ever had one.
    pub(super) crls: Vec<CrlRecord>,
    /// The intermediates whose lists every proxy has acknowledged.
    pub(super) listed: Vec<Serial>,
    /// An operator wants another intermediate to sign.
    pub(super) hand_over: bool,
    /// The number of our own bundle as others are shown it.
    pub(super) bundle_sequence: u64,
}

impl Trust {
    /// Opens the hierarchy that the store holds. An empty store gets a root and an intermediate.
    pub fn open(store: Box<dyn Store>, settings: Settings, now: OffsetDateTime) -> Result<Self, TrustError> {
        Self::open_with(store, settings, Keys::default(), now)
    }

    /// The same with keys that are kept elsewhere. An empty store gets the upstream's root, and an intermediate below it.
    pub fn open_with(
        store: Box<dyn Store>,
        settings: Settings,
        keys: Keys,
        now: OffsetDateTime,
    ) -> Result<Self, TrustError> {
        let mut contents = store.load()?;
        match &contents.trust_domain {
            Some(stored) if *stored != settings.trust_domain => {
                let (stored, configured) = (stored.clone(), settings.trust_domain.clone());
                return Err(TrustError::TrustDomain { stored, configured });
            }
            Some(_) => {}
            None => {
                let mut authorities = match &keys.upstream {
                    Some(upstream) => vec![upstream.root_record(&settings, AuthorityState::Active, now)?],
                    None => vec![Authority::new_root(&settings, AuthorityState::Active, now)?],
                };
                if let Some(root) = authorities.last() {
                    let root = Authority::from_record(root)?.minted_by(&keys)?;
                    authorities.push(root.new_intermediate(&settings, AuthorityState::Active, now)?);
                }
                let kept: Vec<_> = authorities.iter().map(|record| keys.for_store(record)).collect();
                store.found(&settings.trust_domain, &kept)?;
                contents.authorities = authorities;
            }
        }
        let hierarchy = Hierarchy::from_records(&contents.authorities, &settings, &keys)?;
        let issued = contents.workloads.into_iter().map(|record| {
            let WorkloadRecord { workload, chain_pem, key_pem, issued_at, renew_at, .. } = record;
            Ok((workload, Arc::new(WorkloadCertificate::from_pem(chain_pem, key_pem, issued_at, renew_at)?)))
        });
        let books = Books {
            forgotten_at: None,
            records: contents.authorities,
            rotation: contents.rotation,
            seen: contents.seen.into_iter().collect(),
            crls: contents.crls,
            listed: Vec::new(),
            hand_over: false,
            bundle_sequence: contents.bundle_sequence,
        };
        let revoked = contents.revocations.into_iter().map(|it| (it.certificate.serial.clone(), it));
        let trust = Self {
            issued: RwLock::new(issued.collect::<Result<_, TrustError>>()?),
            settings,
            store,
            keys: ArcSwap::from_pointee(keys),
            hierarchy: ArcSwap::from_pointee(hierarchy),
            queue: Mutex::default(),
            books: Mutex::new(books),
            requested: RwLock::default(),
            notes: Mutex::default(),
            revoked: RwLock::new(revoked.collect()),
            federation: ArcSwap::from_pointee(Federation::from_records(contents.federated)?),
        };
        if trust.has_upstream() {
            // What its bundle named when the server ended is not known, and whoever compares is to look again.
            let mut books = trust.books();
            let bundle_sequence = Some(books.bundle_sequence + 1);
            trust.apply(&mut books, Change { bundle_sequence, ..Change::default() })?;
        }
        trust.maintain(now)?;
        Ok(trust)
    }

    pub(super) fn forget_expired(&self, books: &mut Books, now: OffsetDateTime) -> Result<(), TrustError> {
        if books.forgotten_at.is_none_or(|at| at + FORGET <= now) {
            let end = self.forgotten_until(now);
            if self.store.forget_expired(now, end)? > 0 {
                self.issued_mut().retain(|_, certificate| certificate.not_after > now);
                let mut revoked = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
                revoked.retain(|_, it| it.certificate.not_after > end);
            }
            self.store.forget_join_tokens(now.checked_sub(TOKENS_KEPT).unwrap_or(OffsetDateTime::UNIX_EPOCH))?;
            let life = time::Duration::try_from(self.settings.workload_ttl).unwrap_or(time::Duration::MAX);
            // What was asked for so long ago can neither be used nor renewed.
            let lives = |at: &OffsetDateTime| at.checked_add(life).is_none_or(|until| until > end);
            self.requested.write().unwrap_or_else(PoisonError::into_inner).retain(|_, it| lives(&it.last));
            books.forgotten_at = Some(now);
        }
        Ok(())
    }

    /// A certificate for the key of a request, under these names, whatever the request says. It lives as long as any workload's, or
    /// shorter if `lifetime` is. It is not kept: its key is not ours.
    pub fn sign_csr(
        &self,
        csr_pem: &str,
        names: impl Into<LeafNames>,
        lifetime: Option<Duration>,
        now: OffsetDateTime,
    ) -> Result<IssuedChain, TrustError> {
        let names = names.into();
        let id = names.id();
        let key = csr::checked_key(csr_pem, id)?;
        let wishes = [Some(self.settings.workload_ttl), names.lifetime(), lifetime];
        let lifetime = wishes.into_iter().flatten().min().unwrap_or(self.settings.workload_ttl);
        loop {
            let signer = Arc::clone(&self.hierarchy.load().signer);
            let issued = leaf::issue_for(&signer, &self.settings, &names, &key, lifetime, now)?;
            if signer.issued_until.load(Ordering::Acquire) < issued.not_after.unix_timestamp() {
                self.reserve(&mut self.books(), &signer, issued.not_after)?;
            }
            // Another authority may have begun to sign in between, and nobody may count on an older one's certificate then.
            if signer.info.serial == self.hierarchy.load().signer.info.serial {
                let mut requested = self.requested.write().unwrap_or_else(PoisonError::into_inner);
                match requested.get_mut(id).filter(|it| it.issuer == signer.info.serial) {
                    Some(known) => known.last = known.last.max(now),
                    None => {
                        let issuer = signer.info.serial.clone();
                        requested.insert(id.clone(), Requested { issuer, since: now, last: now });
                    }
                }
                return Ok(issued);
            }
        }
    }

    /// What this identity last had for a key of its own ([`Trust::sign_csr`]), as far as is known since the start.
    pub fn last_request(&self, id: &SpiffeId) -> Option<Requested> {
        self.requested.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Remembers, before anything is handed out, until when it may be valid: a root leaves the bundle only after that. Somewhat later is
    /// remembered, so that most certificates cost no write.
    pub(super) fn reserve(
        &self,
        books: &mut Books,
        signer: &Authority,
        until: OffsetDateTime,
    ) -> Result<(), TrustError> {
        let slack = time::Duration::try_from(self.settings.workload_ttl / 8).unwrap_or_default().min(FORGET);
        let until = until.checked_add(slack).unwrap_or(until).min(signer.info.not_after);
        self.store.reserve(&signer.info.serial, until)?;
        let own = |record: &&mut AuthorityRecord| record.serial == signer.info.serial;
        if let Some(record) = books.records.iter_mut().find(own) {
            record.issued_until = record.issued_until.max(until);
        }
        // Of the hierarchy that is there now: the signer may be one of the one before.
        for authority in self.hierarchy.load().intermediates().filter(|it| it.info.serial == signer.info.serial) {
            authority.issued_until.fetch_max(until.unix_timestamp(), Ordering::AcqRel);
        }
        Ok(())
    }

    /// A certificate for our own listener, under [`server_identity`] and these DNS names and addresses. It is not kept: each start makes
    /// its own.
    pub fn server_certificate(
        &self,
        names: &[String],
        now: OffsetDateTime,
    ) -> Result<Arc<WorkloadCertificate>, TrustError> {
        let names = names.iter().map(|name| match name.parse::<IpAddr>() {
            Ok(address) => Ok(SanType::IpAddress(address)),
            Err(_) => name
                .as_str()
                .try_into()
                .map(SanType::DnsName)
                .map_err(|error| TrustError::material(name.as_str(), error)),
        });
        let names = names.collect::<Result<Vec<_>, TrustError>>()?;
        let id = server_identity(&self.settings.trust_domain);
        leaf::issue(&self.hierarchy.load().listener, &self.settings, &id, &names, None, now).map(Arc::new)
    }

    /// How long workload certificates live.
    pub fn workload_ttl(&self) -> Duration {
        self.settings.workload_ttl
    }

    /// What peers are verified against.
    pub fn bundle(&self) -> Arc<TrustBundle> {
        Arc::clone(&self.hierarchy.load().bundle)
    }

    /// Who signs workload certificates now.
    pub fn intermediate(&self) -> AuthorityInfo {
        self.hierarchy.load().signer.info.clone()
    }

    pub(super) fn hierarchy(&self) -> Arc<Hierarchy> {
        self.hierarchy.load_full()
    }

    /// Takes another upstream authority's key and certificates. `true`: its root is another than the one that signs, and a root rotation
    /// has to take it in. With the same root another intermediate signs from now on, if the authority is another.
    ///
    /// # Errors
    /// It could not be kept. The keys before go on, and the same upstream may be set again.
    pub fn set_upstream(&self, upstream: Arc<Upstream>, now: OffsetDateTime) -> Result<bool, TrustError> {
        let before = self.keys();
        let is_same = before.upstream.as_ref().is_some_and(|it| it.signs_as(&upstream));
        let keys = Keys { upstream: Some(upstream), in_memory: before.in_memory };
        let taken = self.take_keys(&before, keys, is_same, now);
        if taken.is_err() {
            self.keys.store(before);
        }
        taken
    }

    fn take_keys(&self, before: &Keys, keys: Keys, is_same: bool, now: OffsetDateTime) -> Result<bool, TrustError> {
        {
            let mut books = self.books();
            let is_news = keys.further() != before.further();
            self.keys.store(Arc::new(keys));
            let bundle_sequence = is_news.then_some(books.bundle_sequence + 1);
            self.apply(&mut books, Change { bundle_sequence, ..Change::default() })?;
            self.refresh_lists(&mut books, now)?;
        }
        let awaited = self.awaits_upstream();
        if !awaited && !is_same {
            self.rotate_intermediate(now)?;
        }
        Ok(awaited)
    }

    /// Whether there is an upstream authority whose root does not sign yet.
    pub fn awaits_upstream(&self) -> bool {
        let keys = self.keys();
        keys.upstream.as_ref().is_some_and(|upstream| self.hierarchy.load().root.der != *upstream.root())
    }

    /// Whether the root is another's, who replaces it.
    pub fn has_upstream(&self) -> bool {
        self.keys().upstream.is_some()
    }

    pub(super) fn keys(&self) -> Arc<Keys> {
        self.keys.load_full()
    }

    pub(super) fn set_hierarchy(&self, hierarchy: Hierarchy) {
        self.hierarchy.store(Arc::new(hierarchy));
    }

    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        // What is written is written to the store first; a panic leaves both as they were.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn issued_mut(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<String, Arc<WorkloadCertificate>>> {
        self.issued.write().unwrap_or_else(PoisonError::into_inner)
    }
}
