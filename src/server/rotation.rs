//! The root rotation at work: what the fleet has acknowledged, the next step when it is enough, and the operator's wishes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{Mutex, watch};
use tracing::{info, warn};

use super::blocking;
use super::config;
use super::mesh_issuer::MeshAuthority;
use super::peers::Entry;
use super::proxies::Proxies;
use crate::rollout::{Held, Pair, Progress, ProxyView, Refused, RootRotation, Situation, Stuck};
use crate::trust::{Relation, RotationStep, TrustError};

mod look;

/// A node that has new credentials is given this long to put them into place before its connection is ended.
const INSTALLED: time::Duration = time::Duration::seconds(2);
/// How often the log names who is waited for.
const TELL: Duration = Duration::from_secs(60);

/// The root rotation of this server.
#[derive(Clone)]
pub(super) struct Rotation {
    proxies: Proxies,
    settings: config::Rotation,
    /// The authority that an issuer wants to sign. `None`: roots are made here.
    wanted: Option<watch::Receiver<Option<Arc<MeshAuthority>>>>,
    state: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    current: Option<RootRotation>,
    /// What was last known of each proxy: one that is away still has that.
    known: HashMap<String, ProxyView>,
    /// The same, by name.
    views: Vec<ProxyView>,
    told_at: Option<tokio::time::Instant>,
    /// The issuer's authority that cannot be used. It is tried again when it is another one.
    refused: Option<Arc<MeshAuthority>>,
}

/// What an operator is told.
pub(super) struct Report {
    pub(super) rotation: Option<RootRotation>,
    pub(super) stuck: Vec<Stuck>,
}

/// Why an operator's wish was not followed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the root is that of trust.issuer, and follows its Secret")]
    Issuers,
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl Rotation {
    /// As it was kept.
    pub(super) fn new(
        proxies: Proxies,
        settings: config::Rotation,
        wanted: Option<watch::Receiver<Option<Arc<MeshAuthority>>>>,
    ) -> Self {
        let current = proxies.trust.rotation().as_ref().map(RootRotation::from_record);
        let state = Arc::new(Mutex::new(Inner { current, ..Inner::default() }));
        Self { proxies, settings, wanted, state }
    }

    /// Takes the next step, if everybody is ready for it, and starts a rotation that is due. Whether there was one, so that what is
    /// served has changed.
    pub(super) async fn advance(&self) -> Result<bool, TrustError> {
        let mut state = self.state.lock().await;
        let now = (self.proxies.clock)();
        if state.current.as_ref().is_none_or(RootRotation::is_over) {
            if self.wanted.is_some() {
                return self.follow_issuer(&mut state, now).await;
            }
            if !self.is_due(now) {
                return Ok(false);
            }
            info!("the root is near its end: its rotation begins");
            self.begin(&mut state, false, false, now).await?;
            return Ok(true);
        }
        self.look(&mut state, now).await;
        let Some(current) = &state.current else { return Ok(false) };
        match current.advance(&self.situation(&state, current, now)) {
            Progress::Next(next) => {
                // Where something is revoked, proxies need the list of whoever signs before anybody shows what it signed.
                let (trust, signing) = (Arc::clone(&self.proxies.trust), next.roots().signing);
                if blocking(move || trust.prepare_below(&signing, now)).await? {
                    return Ok(true);
                }
                let step = next.step().name();
                self.keep(&mut state, next, now).await?;
                info!(step, "the root rotation goes on");
                Ok(true)
            }
            Progress::Waiting(stuck) => {
                if state.told_at.is_none_or(|at| at.elapsed() >= TELL) && !stuck.is_empty() {
                    let names: Vec<_> = stuck.iter().filter_map(|it| it.proxy.as_deref()).take(20).collect();
                    warn!(step = current.step().name(), waiting = stuck.len(), proxies = ?names, reason = %stuck[0].reason,
                        "the root rotation waits");
                    state.told_at = Some(tokio::time::Instant::now());
                }
                Ok(false)
            }
            Progress::Paused | Progress::Ended => Ok(false),
        }
    }

    /// Whether one is under way.
    pub(super) async fn is_under_way(&self) -> bool {
        self.state.lock().await.current.as_ref().is_some_and(|it| !it.is_over())
    }

    /// Whether every proxy has acknowledged the bundle that is served, or does not use it; those that are away count for as long as a
    /// rotation waits for them.
    pub(super) async fn is_bundle_everywhere(&self) -> bool {
        let mut state = self.state.lock().await;
        self.look(&mut state, (self.proxies.clock)()).await;
        state.views.iter().all(|view| matches!(view.trusts, Held::Acknowledged(_) | Held::Unused))
    }

    /// What there is to say.
    pub(super) async fn report(&self) -> Report {
        let mut state = self.state.lock().await;
        let now = (self.proxies.clock)();
        if state.current.as_ref().is_some_and(|it| !it.is_over()) {
            self.look(&mut state, now).await;
        }
        let rotation = state.current.clone();
        let stuck = rotation.as_ref().map(|it| it.waits_for(&self.situation(&state, it, now))).unwrap_or_default();
        Report { rotation, stuck }
    }

    pub(super) async fn start(&self, paused: bool, force: bool) -> Result<(), Failed> {
        let mut state = self.state.lock().await;
        if state.current.as_ref().is_some_and(|it| !it.is_over()) {
            return Err(Refused::UnderWay.into());
        }
        if self.wanted.is_some() {
            return Err(Failed::Issuers);
        }
        Ok(self.begin(&mut state, paused, force, (self.proxies.clock)()).await?)
    }

    pub(super) async fn pause(&self) -> Result<(), Failed> {
        self.wish(|it, _| it.pause()).await
    }

    pub(super) async fn resume(&self, force: bool) -> Result<(), Failed> {
        self.wish(|it, _| it.resume(force)).await
    }

    pub(super) async fn abort(&self, force: bool) -> Result<(), Failed> {
        self.wish(|it, now| it.abort(force, now)).await
    }

    async fn wish(
        &self,
        wish: impl Fn(&RootRotation, OffsetDateTime) -> Result<RootRotation, Refused>,
    ) -> Result<(), Failed> {
        let mut state = self.state.lock().await;
        let now = (self.proxies.clock)();
        let next = wish(state.current.as_ref().ok_or(Refused::None)?, now)?;
        Ok(self.keep(&mut state, next, now).await?)
    }

    /// Lets the issuer's authority sign, if another one does: at once below the same root, and otherwise by a rotation, which begins.
    /// Whether something has changed. An authority that is no good is not tried again; what the store could not keep is.
    async fn follow_issuer(&self, state: &mut Inner, now: OffsetDateTime) -> Result<bool, TrustError> {
        let wanted = self.wanted.as_ref().and_then(|wanted| wanted.borrow().clone());
        let Some(authority) =
            wanted.filter(|it| state.refused.as_ref().is_none_or(|refused| !Arc::ptr_eq(refused, it)))
        else {
            return Ok(false);
        };
        let (trust, brought) = (Arc::clone(&self.proxies.trust), Arc::clone(&authority));
        let followed = match trust.relation(&authority.brought()) {
            Ok(Relation::Same) => return Ok(false),
            Ok(Relation::Intermediate) => {
                let imported = blocking(move || trust.import_authority(brought.brought(), now)).await;
                imported.map(|(info, done)| {
                    let (serial, waits) = (info.serial, done.waiting);
                    info!(%serial, waits, "the mesh's issuer has another intermediate below the same root");
                })
            }
            Ok(Relation::Root) => {
                let start = move |old, new| RootRotation::start(Pair { old, new }, false, false, now).record();
                let prepared = blocking(move || trust.prepare_brought_root(brought.brought(), now, start)).await;
                self.take_up(state);
                prepared.map(|record| {
                    info!(old = %record.old, new = %record.new, "the mesh's issuer has another root: a rotation to it begins");
                })
            }
            Err(error) => Err(error),
        };
        match followed {
            Ok(()) => {
                self.proxies.changed.notify_one();
                Ok(true)
            }
            Err(error @ TrustError::Store(_)) => Err(error),
            Err(error) => {
                warn!(%error, "the authority of the mesh's issuer cannot be used; the one that signs goes on signing");
                state.refused = Some(authority);
                Ok(false)
            }
        }
    }

    /// The root of an upstream authority is replaced by whoever has it.
    fn is_due(&self, now: OffsetDateTime) -> bool {
        if self.proxies.trust.has_upstream() {
            return false;
        }
        let (begin, end) = self.proxies.trust.root_life();
        let before = time::Duration::try_from(self.settings.root_before).unwrap_or(time::Duration::MAX);
        end - now <= before.min((end - begin) / 3)
    }

    async fn begin(&self, state: &mut Inner, paused: bool, force: bool, now: OffsetDateTime) -> Result<(), TrustError> {
        let trust = Arc::clone(&self.proxies.trust);
        let start = move |old, new| RootRotation::start(Pair { old, new }, paused, force, now).record();
        let prepared = blocking(move || trust.prepare_root(now, start)).await;
        self.take_up(state);
        let record = prepared?;
        info!(old = %record.old, new = %record.new, "a root rotation begins");
        Ok(())
    }

    /// Goes on from what is in the store. It is there too where only the revocation lists could not be kept: that is the rotation, and
    /// there is no second one.
    fn take_up(&self, state: &mut Inner) {
        let Some(kept) = self.proxies.trust.rotation() else { return };
        if state.current.as_ref().is_none_or(|it| it.record() != kept) {
            state.current = Some(RootRotation::from_record(&kept));
            state.told_at = None;
            self.proxies.changed.notify_one();
        }
    }

    /// On the disk first; only then is anybody shown anything of it.
    async fn keep(&self, state: &mut Inner, next: RootRotation, now: OffsetDateTime) -> Result<(), TrustError> {
        let (trust, roots, record) = (Arc::clone(&self.proxies.trust), next.roots(), next.record());
        let kept = blocking(move || trust.change_roots(&roots, record, now)).await;
        self.take_up(state);
        kept
    }

    fn situation<'a>(&self, state: &'a Inner, rotation: &RootRotation, now: OffsetDateTime) -> Situation<'a> {
        let trust = &self.proxies.trust;
        let Pair { old, new } = rotation.pair();
        let (old_until, new_until) = (trust.issued_until(old), trust.issued_until(new));
        Situation { proxies: &state.views, old_until, new_until, now }
    }

    /// Proxies that were last connected before this are not waited for.
    pub(super) fn absent_since(&self, now: OffsetDateTime) -> OffsetDateTime {
        let absent = time::Duration::try_from(self.settings.wait_for_absent).unwrap_or(time::Duration::MAX);
        now.checked_sub(absent).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// Ends connections that were made with credentials below a root that does not sign any more, when their node has been given new
    /// ones: Envoy shows them with its next connection. One that comes back with the old ones is ended again, ever more rarely.
    pub(super) async fn end_outdated(&self) {
        let step = self.state.lock().await.current.as_ref().map(RootRotation::step);
        if !matches!(step, Some(RotationStep::Activating | RotationStep::Reverting)) {
            return;
        }
        let (trust, now) = (&self.proxies.trust, (self.proxies.clock)());
        let signing = trust.root();
        let outdated = |entry: &Entry| {
            let shown = entry.certificate.authority_key.as_deref().and_then(|key| trust.root_of_key(key));
            let Some(given) = trust.last_request(&entry.id) else { return false };
            let renewed = trust.root_of(&given.issuer).is_some_and(|root| root == signing);
            let pause = INSTALLED.max((entry.opened_at - given.since) / 2);
            shown.is_some_and(|root| root != signing) && renewed && entry.opened_at.max(given.since) + pause <= now
        };
        let ended = self.proxies.peers.end(outdated);
        if ended > 0 {
            info!(connections = ended, "ended, to be opened again with the new credentials");
        }
    }
}
