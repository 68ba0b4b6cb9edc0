//! Changes of the hierarchy: intermediates that follow one another, and the roots' part of a rotation. Each is durable before it is
//! acted on.

use time::OffsetDateTime;

use super::authority::Authority;
use super::federation::published_roots;
use super::hierarchy::Hierarchy;
use super::issuance::Books;
use super::{AuthorityRecord, AuthorityState, Change, RotationRecord, Serial, Standing, Trust, TrustError};

/// What the roots are to be at one step of a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// The root whose intermediate signs.
    pub signing: Serial,
    /// The roots in the bundle; the signing one among them.
    pub trusted: Vec<Serial>,
}

/// Whether intermediates were made or began to sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// One was made, for later.
    pub prepared: bool,
    /// Another one signs from now on.
    pub activated: bool,
    /// One is to sign as soon as every proxy has its revocation list ([`Trust::confirm_lists`]).
    pub waiting: bool,
}

const ACTIVE: Standing = Standing { state: AuthorityState::Active, trusted: false };
pub(super) const RETIRED: Standing = Standing { state: AuthorityState::Retired, trusted: false };

impl Trust {
    /// Keeps the hierarchy fit to sign. A successor of the intermediate is prepared when `intermediate_prepare` or half of its life is left,
    /// whichever is less, and signs when `intermediate_activate` or a sixth is. Certificates below the older one stay good, since both
    /// chain to the same root. Forgets what has expired.
    pub fn maintain(&self, now: OffsetDateTime) -> Result<Maintained, TrustError> {
        let mut books = self.books();
        self.forget_expired(&mut books, now)?;
        // Whether there are lists decides who has to wait; after a start, nobody has looked yet.
        self.refresh_lists(&mut books, now)?;
        let hierarchy = self.hierarchy();
        let mut done = Maintained::default();
        let (remaining, life) = hierarchy.signer.remaining(now);
        // One that ends with its root has no better successor: it is the root's turn.
        let improvable = hierarchy.signer.info.not_after < hierarchy.root.last_of_next();
        let within = |limit, fraction: i32| improvable && remaining <= signed(limit).min(life / fraction);
        // Where the root's key is kept elsewhere, a successor is brought by an operator, and may be waiting for its turn.
        if !hierarchy.root.can_mint() {
            if self.prepared(&hierarchy, now).is_some() {
                done = self.next_intermediate(&mut books, now)?;
            }
            self.refresh_lists(&mut books, now)?;
            return Ok(done);
        }
        // One whose key was in the memory of a server that has ended signs nothing more.
        let elsewhere = hierarchy.signer.cluster != self.settings.cluster || !hierarchy.signer.has_key();
        if elsewhere || books.hand_over || within(self.settings.intermediate_activate, 6) {
            done = self.next_intermediate(&mut books, now)?;
        } else if within(self.settings.intermediate_prepare, 2) && self.prepared(&hierarchy, now).is_none() {
            self.prepare(&mut books, &hierarchy.root, now)?;
            done.prepared = true;
        }
        self.maintain_listener(&mut books, now)?;
        self.refresh_lists(&mut books, now)?;
        Ok(done)
    }

    /// Another intermediate signs from now on, or while something is revoked, as soon as every proxy has its revocation list.
    pub fn rotate_intermediate(&self, now: OffsetDateTime) -> Result<Maintained, TrustError> {
        let mut books = self.books();
        books.hand_over = true;
        self.next_intermediate(&mut books, now).inspect_err(|_| books.hand_over = false)
    }

    /// Makes an intermediate that is to sign later.
    fn prepare(&self, books: &mut Books, root: &Authority, now: OffsetDateTime) -> Result<(), TrustError> {
        let add = vec![root.new_intermediate(&self.settings, AuthorityState::Prepared, now)?];
        self.apply(books, Change { add, ..Change::default() })?;
        self.refresh_lists(books, now)
    }

    /// Makes an intermediate below this root, which is to sign next, if there is none and proxies want its revocation list before it signs.
    /// Whether it did.
    pub fn prepare_below(&self, root: &Serial, now: OffsetDateTime) -> Result<bool, TrustError> {
        let mut books = self.books();
        let hierarchy = self.hierarchy();
        let fit = |it: &&std::sync::Arc<Authority>| it.cluster == self.settings.cluster && self.has_time(it, now);
        let signs = hierarchy.root.info.serial == *root;
        if signs || hierarchy.bundle.crls().is_none() || hierarchy.below(root).any(|it| fit(&it)) {
            return Ok(false);
        }
        let Some(root) = hierarchy.root(root) else { return Ok(false) };
        self.prepare(&mut books, root, now)?;
        Ok(true)
    }

    /// While another root signs for the workloads, the listener's certificate comes from below an older one, for as long as that takes.
    fn maintain_listener(&self, books: &mut Books, now: OffsetDateTime) -> Result<(), TrustError> {
        let hierarchy = self.hierarchy();
        // The oldest root is one that every client knows.
        let Some(root) = hierarchy.trusted_roots().next() else { return Ok(()) };
        if root.info.serial == hierarchy.root.info.serial || !root.can_mint() {
            return Ok(());
        }
        let listener = &hierarchy.listener;
        let (remaining, life) = listener.remaining(now);
        let is_late = remaining <= signed(self.settings.intermediate_activate).min(life / 6);
        let is_below = hierarchy.root_of(&listener.info.serial) == Some(&root.info.serial);
        if is_below && (!is_late || listener.info.not_after >= root.last_of_next()) {
            return Ok(());
        }
        let add = vec![root.new_intermediate(&self.settings, AuthorityState::Retired, now)?];
        self.apply(books, Change { add, ..Change::default() })
    }

    pub(super) fn next_intermediate(&self, books: &mut Books, now: OffsetDateTime) -> Result<Maintained, TrustError> {
        let hierarchy = self.hierarchy();
        let mut change = Change::default();
        let prepared = self.prepared(&hierarchy, now);
        // A certificate of full length must come from somewhere, whoever is late.
        let can_wait =
            hierarchy.signer.has_key() && hierarchy.signer.remaining(now).0 > signed(self.settings.workload_ttl);
        match &prepared {
            None if can_wait && hierarchy.bundle.crls().is_some() => {
                self.prepare(books, &hierarchy.root, now)?;
                return Ok(Maintained { prepared: true, waiting: true, ..Maintained::default() });
            }
            Some(serial) if can_wait && self.is_held_back(&hierarchy, books, serial) => {
                return Ok(Maintained { waiting: true, ..Maintained::default() });
            }
            _ => {}
        }
        match prepared {
            Some(serial) => change.standings.push((serial, ACTIVE)),
            None => change.add.push(hierarchy.root.new_intermediate(&self.settings, AuthorityState::Active, now)?),
        }
        change.standings.extend(hierarchy.active().map(|it| (it.info.serial.clone(), RETIRED)));
        self.apply(books, change)?;
        books.hand_over = false;
        self.refresh_lists(books, now)?;
        Ok(Maintained { activated: true, ..Maintained::default() })
    }

    /// The prepared intermediate below the root that signs, if it is one of ours with life enough.
    fn prepared(&self, hierarchy: &Hierarchy, now: OffsetDateTime) -> Option<Serial> {
        let fit = |it: &&std::sync::Arc<Authority>| {
            it.standing.state == AuthorityState::Prepared
                && it.cluster == self.settings.cluster
                && self.has_time(it, now)
        };
        hierarchy.below(&hierarchy.root.info.serial).find(fit).map(|it| it.info.serial.clone())
    }

    pub(super) fn has_time(&self, intermediate: &Authority, now: OffsetDateTime) -> bool {
        let (remaining, life) = intermediate.remaining(now);
        intermediate.has_key() && remaining > signed(self.settings.intermediate_activate).min(life / 6)
    }

    /// The root rotation that is under way, or the last one.
    pub fn rotation(&self) -> Option<RotationRecord> {
        self.books().rotation.clone()
    }

    /// Makes a root and an intermediate below it, for a rotation from the root that signs now. `record` names the rotation, given the old
    /// root and the new one.
    pub fn prepare_root(
        &self,
        now: OffsetDateTime,
        record: impl FnOnce(Serial, Serial) -> RotationRecord,
    ) -> Result<RotationRecord, TrustError> {
        let mut books = self.books();
        let (hierarchy, keys) = (self.hierarchy(), self.keys());
        let root = match &keys.upstream {
            Some(upstream) if hierarchy.root.der == *upstream.root() => return Err(TrustError::UpstreamRoot),
            Some(upstream) => upstream.root_record(&self.settings, AuthorityState::Prepared, now)?,
            None => Authority::new_root(&self.settings, AuthorityState::Prepared, now)?,
        };
        let above = Authority::from_record(&root)?.minted_by(&keys)?;
        let below = above.new_intermediate(&self.settings, AuthorityState::Prepared, now)?;
        let rotation = record(hierarchy.root.info.serial.clone(), root.serial.clone());
        let known = books.records.iter().find(|it| it.serial == root.serial).map(|it| it.serial.clone());
        let (add, standings) = match known {
            // It was the root once, and is to be so again.
            Some(serial) => (vec![below], vec![(serial, Standing { state: AuthorityState::Prepared, trusted: false })]),
            None => (vec![root, below], Vec::new()),
        };
        let change = Change { add, standings, rotation: Some(rotation.clone()), ..Change::default() };
        self.apply(&mut books, change)?;
        self.refresh_lists(&mut books, now)?;
        Ok(rotation)
    }

    /// Makes the roots what they are to be at this step of a rotation, and remembers the step: both or neither.
    pub fn change_roots(&self, roots: &Roots, rotation: RotationRecord, now: OffsetDateTime) -> Result<(), TrustError> {
        let mut books = self.books();
        let change = self.roots_change(&books.records, roots, rotation, now)?;
        self.apply(&mut books, change)?;
        self.refresh_lists(&mut books, now)
    }

    fn roots_change(
        &self,
        records: &[AuthorityRecord],
        roots: &Roots,
        rotation: RotationRecord,
        now: OffsetDateTime,
    ) -> Result<Change, TrustError> {
        let hierarchy = self.hierarchy();
        let mut change = Change { rotation: Some(rotation), ..Change::default() };
        for record in records.iter().filter(|record| hierarchy.root(&record.serial).is_some()) {
            let state = match (record.serial == roots.signing, record.standing.state) {
                (true, _) => AuthorityState::Active,
                (false, AuthorityState::Active) => AuthorityState::Retired,
                (false, other) => other,
            };
            let standing = Standing { state, trusted: roots.trusted.contains(&record.serial) };
            if standing != record.standing {
                change.standings.push((record.serial.clone(), standing));
            }
        }
        if hierarchy.root.info.serial == roots.signing {
            return Ok(change);
        }
        let root = hierarchy
            .root(&roots.signing)
            .ok_or_else(|| TrustError::material(format!("root {}", roots.signing), "it is not in the store"))?;
        let fit = |it: &&std::sync::Arc<Authority>| it.cluster == self.settings.cluster && self.has_time(it, now);
        match hierarchy.below(&roots.signing).find(fit) {
            Some(it) => change.standings.push((it.info.serial.clone(), ACTIVE)),
            None => change.add.push(root.new_intermediate(&self.settings, AuthorityState::Active, now)?),
        }
        change.standings.extend(hierarchy.active().map(|it| (it.info.serial.clone(), RETIRED)));
        Ok(change)
    }

    /// Nothing that a workload was given below this root is valid after this.
    pub fn issued_until(&self, root: &Serial) -> OffsetDateTime {
        self.hierarchy().issued_until(root)
    }

    /// The root whose intermediate signs.
    pub fn root(&self) -> Serial {
        self.hierarchy().root.info.serial.clone()
    }

    /// The first and the last second of the root that signs.
    pub fn root_life(&self) -> (OffsetDateTime, OffsetDateTime) {
        let info = &self.hierarchy().root.info;
        (info.not_before, info.not_after)
    }

    /// The root above an intermediate of ours.
    pub fn root_of(&self, intermediate: &Serial) -> Option<Serial> {
        self.hierarchy().root_of(intermediate).cloned()
    }

    /// The root above the intermediate of ours with this key identifier.
    pub fn root_of_key(&self, key_id: &[u8]) -> Option<Serial> {
        self.hierarchy().root_of_key(key_id).cloned()
    }

    /// The intermediate that signs the certificate of our own listener.
    pub fn listener_issuer(&self) -> Serial {
        self.hierarchy().listener.info.serial.clone()
    }

    pub(super) fn apply(&self, books: &mut Books, mut change: Change) -> Result<(), TrustError> {
        let mut records = books.records.clone();
        for (serial, standing) in &change.standings {
            records.iter_mut().filter(|record| record.serial == *serial).for_each(|record| record.standing = *standing);
        }
        records.extend(change.add.iter().cloned());
        // What could not be used afterwards is not written.
        let bundle = self.bundle();
        let hierarchy =
            Hierarchy::from_records(&records, &self.settings, &self.keys())?.with_lists(bundle.lists().cloned());
        let rotation = change.rotation.as_ref().or(books.rotation.as_ref());
        if published_roots(&records, rotation) != published_roots(&books.records, books.rotation.as_ref()) {
            change.bundle_sequence = Some(books.bundle_sequence + 1);
        }
        let kept =
            Change { add: change.add.iter().map(|record| self.keys().for_store(record)).collect(), ..change.clone() };
        self.store.change(&kept)?;
        books.bundle_sequence = change.bundle_sequence.unwrap_or(books.bundle_sequence);
        books.records = records;
        books.rotation = change.rotation.or_else(|| books.rotation.take());
        self.set_hierarchy(hierarchy);
        Ok(())
    }
}

fn signed(duration: std::time::Duration) -> time::Duration {
    time::Duration::try_from(duration).unwrap_or(time::Duration::MAX)
}
