//! Policies that change the mode of a port, at work: what is kept, what is shown then, and who is waited for.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{Mutex, MutexGuard, Notify};
use tracing::{info, warn};

use super::blocking;
use super::mode_file::{ModeFile, ModeFileError};
use super::model::Model;
use super::participants::{self, Fulfilled};
use super::policy_loop::Settings;
use super::proxies::Proxies;
use crate::mesh::{Mesh, Step, Transit};
use crate::rollout::{ModeProgress, ModeRollout, Participant, Stuck};
use crate::source;

/// Envoy acknowledges before its workers have the change. So a step is not over before its gate has been open for this long.
const AT_WORK: Duration = Duration::from_secs(1);
/// While somebody is late the fleet is looked at this often, besides when somebody answers or leaves: who was away may be given up, and what
/// a client has not asked for it may not use.
const LOOK: Duration = Duration::from_secs(5);
/// How long answers are gathered before they are looked at.
const GATHER: Duration = Duration::from_millis(50);
/// How often the log names who is waited for.
const TELL: Duration = Duration::from_secs(60);

/// The mode changes of this server.
#[derive(Clone)]
pub(super) struct Staging {
    proxies: Proxies,
    file: ModeFile,
    settings: Settings,
    state: Arc<Mutex<Inner>>,
    /// An operator has taken a step.
    forced: Arc<Notify>,
}

struct Inner {
    /// As it is on the disk. `None`: nothing was ever served.
    rollout: Option<ModeRollout>,
    /// What is merely new or gone in it could not be kept.
    unkept: bool,
    /// Shared with what runs on other threads, which goes on when whoever has asked goes away.
    fulfilled: Arc<std::sync::Mutex<Fulfilled>>,
    participants: Vec<Participant>,
    /// Since when the gate is open to these ports' steps. One that opens beside it has a second of its own.
    open_since: Option<(tokio::time::Instant, Transit)>,
    told_at: Option<tokio::time::Instant>,
}

/// What an operator is told.
pub(super) struct Report {
    pub(super) rollout: Option<ModeRollout>,
    pub(super) stuck: Vec<Stuck>,
}

/// When to look at the fleet again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// At the latest.
    pub(super) look: Duration,
    /// This long after somebody has answered.
    pub(super) gather: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { look: LOOK, gather: GATHER }
    }
}

/// Why no step was taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAdvanced {
    #[error("no port is on its way to another mode")]
    Settled,
    #[error("no policy is served yet, so that no step can be taken")]
    NoPolicy,
    #[error("the step is not over")]
    Waiting(Vec<Stuck>),
    #[error(transparent)]
    File(#[from] ModeFileError),
}

impl Staging {
    /// As it was kept.
    pub(super) fn open(proxies: Proxies, file: ModeFile, settings: Settings) -> Result<Self, ModeFileError> {
        file.sweep()?;
        let state = Inner {
            rollout: file.read()?,
            unkept: false,
            fulfilled: Arc::default(),
            participants: Vec::new(),
            open_since: None,
            told_at: None,
        };
        Ok(Self { proxies, file, settings, state: Arc::new(Mutex::new(state)), forced: Arc::default() })
    }

    /// Serves another policy set. Ports to which it gives another mode begin to change; what is not kept is not served.
    pub(super) async fn follow(&self, update: &Arc<source::Update>) -> Result<Option<Arc<Model>>, ModeFileError> {
        let mut state = self.state.lock().await;
        let (update, settings, before) = (Arc::clone(update), self.settings.clone(), self.proxies.model.load_full());
        let (served, now) = (state.rollout.clone(), (self.proxies.clock)());
        let built =
            tokio::task::spawn_blocking(move || build(&update, &settings, served.as_ref(), before.as_deref(), now));
        let Ok((model, next)) = built.await else { return Ok(None) };
        let begins = next.is_under_way() && state.rollout.as_ref().is_none_or(|it| it.transit() != next.transit());
        let changed = state.rollout.as_ref() != Some(&next);
        let first = state.rollout.as_ref().is_some_and(|it| it.differs_in_known(&next));
        if begins {
            self.remember_who_is_here(now).await;
        }
        if first {
            self.write(&next).await?;
        }
        self.show(&mut state, next.clone(), Arc::clone(&model), begins).await;
        if !first && (changed || state.unkept) {
            // Where ports are merely new or gone, nobody who serves or reaches them has to be waited for.
            let kept = self.write(&next).await;
            state.unkept = kept.is_err();
            if let Err(error) = kept {
                warn!(%error, "which ports there are cannot be kept");
            }
        }
        Ok(Some(model))
    }

    /// Keeps what is merely new or gone, where that has failed. `false`: it has to be tried again.
    pub(super) async fn keep(&self) -> bool {
        let mut state = self.state.lock().await;
        if state.unkept
            && let Some(rollout) = state.rollout.clone()
        {
            match self.write(&rollout).await {
                Ok(()) => state.unkept = false,
                Err(error) => warn!(%error, "which ports there are still cannot be kept; trying again"),
            }
        }
        !state.unkept
    }

    /// Takes the next step, if everybody is ready for it.
    pub(super) async fn advance(&self) -> Result<Pace, ModeFileError> {
        let mut state = self.state.lock().await;
        let mut pace = Pace::default();
        let Some(rollout) = state.rollout.clone().filter(ModeRollout::is_under_way) else { return Ok(pace) };
        if self.proxies.model.load().is_none() {
            // Nobody knows whom a step concerns before there is a policy.
            return Ok(pace);
        }
        let (now, begun) = ((self.proxies.clock)(), tokio::time::Instant::now());
        self.look(&mut state, now).await;
        // In a large fleet somebody answers all the time.
        pace.gather = (begun.elapsed() * 4).clamp(GATHER, AT_WORK);
        match rollout.advance(&state.participants, now) {
            ModeProgress::Next(next) => {
                let transit = next.transit();
                let open_since = match state.open_since.take() {
                    Some((at, to)) if to == transit => at,
                    _ => tokio::time::Instant::now(),
                };
                state.open_since = Some((open_since, transit));
                match AT_WORK.checked_sub(open_since.elapsed()).filter(|left| !left.is_zero()) {
                    Some(left) => pace.look = left,
                    None => {
                        self.step(&mut state, next).await?;
                        pace.look = GATHER;
                    }
                }
            }
            ModeProgress::Waiting(stuck) => {
                state.open_since = None;
                if state.told_at.is_none_or(|at| at.elapsed() >= TELL) && !stuck.is_empty() {
                    let names: Vec<_> = stuck.iter().filter_map(|it| it.proxy.as_deref()).take(20).collect();
                    let step = rollout.step().map(Step::name);
                    warn!(step, waiting = stuck.len(), proxies = ?names, reason = %stuck[0].reason, "a mode change waits");
                    state.told_at = Some(tokio::time::Instant::now());
                }
            }
            ModeProgress::Settled => {}
        }
        Ok(pace)
    }

    /// Takes the next step for an operator; with `force`, whoever is late.
    pub(super) async fn push_on(&self, force: bool) -> Result<(), NotAdvanced> {
        let mut state = self.state.lock().await;
        let now = (self.proxies.clock)();
        let rollout = state.rollout.clone().filter(ModeRollout::is_under_way).ok_or(NotAdvanced::Settled)?;
        if self.proxies.model.load().is_none() {
            return Err(NotAdvanced::NoPolicy);
        }
        self.look(&mut state, now).await;
        let next = match rollout.advance(&state.participants, now) {
            ModeProgress::Next(next) => next,
            ModeProgress::Waiting(stuck) if !force => return Err(NotAdvanced::Waiting(stuck)),
            ModeProgress::Waiting(stuck) => {
                warn!(passed_over = stuck.len(), "a mode change is made to go on");
                rollout.force(now).ok_or(NotAdvanced::Settled)?
            }
            ModeProgress::Settled => return Err(NotAdvanced::Settled),
        };
        self.step(&mut state, next).await?;
        self.forced.notify_one();
        Ok(())
    }

    /// Resolves after an operator has taken a step.
    pub(super) async fn forced(&self) {
        self.forced.notified().await;
    }

    /// Whether any port is on its way.
    pub(super) async fn is_under_way(&self) -> bool {
        self.state.lock().await.rollout.as_ref().is_some_and(ModeRollout::is_under_way)
    }

    /// What there is to say.
    pub(super) async fn report(&self) -> Report {
        let mut state = self.state.lock().await;
        let rollout = state.rollout.clone().filter(ModeRollout::is_under_way);
        if rollout.is_some() {
            self.look(&mut state, (self.proxies.clock)()).await;
        }
        let stuck = rollout.as_ref().map(|it| it.waits_for(&state.participants)).unwrap_or_default();
        Report { rollout, stuck }
    }

    /// On the disk first; only then is anybody shown anything of it.
    async fn step(&self, state: &mut MutexGuard<'_, Inner>, next: ModeRollout) -> Result<(), ModeFileError> {
        let Some(model) = self.proxies.model.load_full() else { return Ok(()) };
        self.write(&next).await?;
        let (settings, transit) = (self.settings.clone(), next.transit());
        let model = blocking(move || {
            let (mesh, _) = Mesh::build_after(Some(&model.mesh), &model.set, &settings.mesh, transit);
            Arc::new(model.at_other_steps(mesh))
        });
        let model = model.await;
        self.show(state, next, model, true).await;
        Ok(())
    }

    async fn show(&self, state: &mut MutexGuard<'_, Inner>, next: ModeRollout, model: Arc<Model>, stepped: bool) {
        let (proxies, now) = (self.proxies.clone(), (self.proxies.clock)());
        let fulfilled = Arc::clone(&state.fulfilled);
        // Encodes every class that is connected.
        let replaced = blocking(move || {
            proxies.set_model(Arc::clone(&model));
            lock(&fulfilled).forget_what_changed(&model, now)
        })
        .await;
        for step in Step::ALL {
            self.proxies.metrics.ports_in_transit.set(step.name(), next.count(step));
        }
        let was_under_way = state.rollout.as_ref().is_some_and(ModeRollout::is_under_way);
        match next.step() {
            Some(step) if stepped => {
                let ports: Vec<_> = next.in_transit().map(|(key, port, _)| format!("{key}:{port}")).collect();
                info!(step = step.name(), ports = ports.len(), some = ?&ports[..ports.len().min(20)],
                    "ports are on their way to another mode");
            }
            None if was_under_way => info!("every port serves its mode"),
            _ => {}
        }
        if !next.is_under_way() {
            self.proxies.metrics.rollout_waiting.set(0);
        }
        // A gate that is open stays so under a policy that has nothing to do with it, however often one comes.
        if replaced || state.rollout.as_ref().is_none_or(|it| it.transit() != next.transit()) {
            (state.open_since, state.told_at) = (None, None);
        }
        state.rollout = Some(next);
    }

    /// Takes what the fleet knows now into the books.
    async fn look(&self, state: &mut MutexGuard<'_, Inner>, now: OffsetDateTime) {
        let Some(model) = self.proxies.model.load_full() else { return };
        let absent = time::Duration::try_from(self.settings.wait_for_absent).unwrap_or(time::Duration::MAX);
        let since = now.checked_sub(absent).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (proxies, fulfilled) = (self.proxies.clone(), Arc::clone(&state.fulfilled));
        let looked = blocking(move || participants::look(&proxies, &model, &mut lock(&fulfilled), since, now));
        state.participants = looked.await;
        let waiting = state.rollout.as_ref().map_or(0, |it| it.waits_for(&state.participants).len());
        self.proxies.metrics.rollout_waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    async fn write(&self, rollout: &ModeRollout) -> Result<(), ModeFileError> {
        let (file, rollout) = (self.file.clone(), rollout.clone());
        blocking(move || file.write(&rollout)).await
    }

    /// Whoever is connected now is waited for, also if the server is killed before it is connected again.
    async fn remember_who_is_here(&self, now: OffsetDateTime) {
        let (trust, names) = (Arc::clone(&self.proxies.trust), self.proxies.names());
        if let Err(error) = blocking(move || trust.saw(&names, now)).await {
            warn!(%error, "it could not be kept who is connected");
        }
    }
}

// What it holds was true when it was written: after a panic elsewhere it is as good as before.
fn lock(fulfilled: &std::sync::Mutex<Fulfilled>) -> std::sync::MutexGuard<'_, Fulfilled> {
    fulfilled.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The model of a set, with what it changes on the way there.
fn build(
    update: &source::Update,
    settings: &Settings,
    served: Option<&ModeRollout>,
    before: Option<&Model>,
    now: OffsetDateTime,
) -> (Arc<Model>, ModeRollout) {
    let was = before.map(|before| &before.mesh);
    let (mesh, found) = Mesh::build_after(was, &update.set, &settings.mesh, Transit::default());
    let same = was.is_some_and(|was| Arc::ptr_eq(was.modes(), mesh.modes()));
    let next = match served {
        // Nothing else is written of any port, and each serves what is written.
        Some(served) if same && !served.is_under_way() => served.clone(),
        Some(served) => {
            // Proxies that were seen no later than that are not waited for either.
            let absent = time::Duration::try_from(settings.wait_for_absent).unwrap_or(time::Duration::MAX);
            let forgotten = now.checked_sub(absent).unwrap_or(OffsetDateTime::UNIX_EPOCH);
            served.retarget(mesh.modes(), settings.staged, forgotten, now)
        }
        None => ModeRollout::first(mesh.modes()),
    };
    let mesh = match next.is_under_way() {
        true => Mesh::build_after(was, &update.set, &settings.mesh, next.transit()).0,
        false => mesh,
    };
    let warnings = (update.warnings.clone(), found);
    let model = Model::new(mesh, Arc::clone(&update.set), update.generation, warnings, settings.plan, before)
        .with_resource_ttl(settings.resource_ttl);
    (Arc::new(model), next)
}

#[cfg(test)]
mod tests;
