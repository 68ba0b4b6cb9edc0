//! Certificates of operators' own issuers, at work: a task between the source and what is served. It sees each policy set first, issues
//! what its Certificates ask for, keeps that, and hands on the set with the Secrets in it; and it comes back when something is due.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::{Clock, blocking};
use crate::certificates::{CertificateStatus, Controller, IssuerStatus, Key, Outcome, Settings};
use crate::policy::{Object, PolicySet, Secret};
use crate::source::{State, Update};
use crate::trust::{Trust, TrustError};

/// It looks at least this often, so that a clock that jumps is noticed.
const LOOK: Duration = Duration::from_secs(20);
/// After a failure to keep what was issued it tries again this much later.
const RETRY: Duration = Duration::from_secs(2);
/// Orders that wait.
const ORDERS: usize = 16;

/// An operator's order: these Certificates again. Answered with those that there are not.
type Order = (Vec<Key>, oneshot::Sender<Result<Vec<Key>, TrustError>>);

/// The Certificates of this server.
#[derive(Clone)]
pub(super) struct Issuing {
    orders: mpsc::Sender<Order>,
    shared: Arc<Shared>,
    clock: Clock,
}

struct Shared {
    /// As it was kept: nobody sees anything else of it.
    controller: Mutex<Arc<Controller>>,
    source: watch::Receiver<Arc<State>>,
    served: watch::Sender<Arc<State>>,
}

struct Task {
    trust: Arc<Trust>,
    clock: Clock,
    shared: Arc<Shared>,
    /// The source's number of the set that is served, and the set.
    last: Option<(u64, Arc<Update>)>,
}

impl Issuing {
    /// Does what is due for the set that the source has, and follows it from then on. What it returns in the middle is what is to be
    /// served: the source's state with the Secrets that were issued, numbered anew.
    pub(super) async fn start(
        trust: Arc<Trust>,
        clock: Clock,
        settings: Settings,
        source: watch::Receiver<Arc<State>>,
    ) -> Result<(Self, watch::Receiver<Arc<State>>, JoinHandle<()>), TrustError> {
        let store = Arc::clone(&trust);
        let controller = blocking(move || Controller::new(settings, store.certificates()?)).await?;
        let (served, receiver) = watch::channel(Arc::default());
        let controller = Mutex::new(Arc::new(controller));
        let shared = Arc::new(Shared { controller, source: source.clone(), served });
        let mut task = Task { trust, clock: Arc::clone(&clock), shared: Arc::clone(&shared), last: None };
        let wait = task.pass(&[]).await.unwrap_or(RETRY);
        let (orders, queue) = mpsc::channel(ORDERS);
        Ok((Self { orders, shared, clock }, receiver, tokio::spawn(task.follow(source, queue, wait))))
    }

    /// Another certificate for each of these Certificates, kept when this returns. Those that there are not.
    pub(super) async fn renew(&self, names: Vec<Key>) -> Result<Vec<Key>, TrustError> {
        let (answer, answered) = oneshot::channel();
        let gone = || TrustError::material("the order", "the server is stopping");
        self.orders.send((names, answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Every Certificate of the set that is served.
    pub(super) fn certificates(&self) -> Vec<CertificateStatus> {
        self.shared.set().map(|set| self.shared.controller().statuses(&set)).unwrap_or_default()
    }

    /// Every issuer of the set that is served.
    pub(super) fn issuers(&self) -> Vec<IssuerStatus> {
        let now = (self.clock)();
        self.shared.set().map(|set| self.shared.controller().issuers(&set, now)).unwrap_or_default()
    }

    /// A Secret as it is served.
    pub(super) fn secret(&self, namespace: &str, name: &str) -> Option<Arc<Object<Secret>>> {
        let current = self.shared.served.borrow().current.clone()?;
        current.set.secrets.iter().find(|it| it.meta.namespace == namespace && it.meta.name == name).cloned()
    }
}

impl Shared {
    fn controller(&self) -> Arc<Controller> {
        Arc::clone(&self.controller.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self) -> Option<Arc<PolicySet>> {
        self.source.borrow().current.as_ref().map(|update| Arc::clone(&update.set))
    }
}

impl Task {
    async fn follow(
        mut self,
        mut source: watch::Receiver<Arc<State>>,
        mut orders: mpsc::Receiver<Order>,
        first: Duration,
    ) {
        let mut wait = first;
        loop {
            let order = tokio::select! {
                changed = source.changed() => match changed {
                    Ok(()) => None,
                    Err(_) => return,
                },
                order = orders.recv() => order,
                () = tokio::time::sleep(wait) => None,
            };
            let (names, answer) = order.unzip();
            let names = names.unwrap_or_default();
            let passed = self.pass(&names).await;
            wait = passed.as_ref().copied().unwrap_or(RETRY);
            if let Some(answer) = answer {
                let set = self.shared.set();
                let is_known = |key: &Key| {
                    let mut all = set.iter().flat_map(|set| &set.certificates);
                    all.any(|it| it.meta.namespace == key.0 && it.meta.name == key.1)
                };
                let unknown = names.into_iter().filter(|key| !is_known(key)).collect();
                // Nobody waits any more: it is done all the same.
                let _ = answer.send(passed.map(|_| unknown));
            }
        }
    }

    /// Does what is due, and shows what there is. How long it may wait then.
    async fn pass(&mut self, wanted: &[Key]) -> Result<Duration, TrustError> {
        let state = Arc::clone(&self.shared.source.borrow());
        let Some(update) = &state.current else {
            self.show(&state, None).await;
            return Ok(LOOK);
        };
        let (trust, set, now) = (Arc::clone(&self.trust), Arc::clone(&update.set), (self.clock)());
        let (mut controller, wanted) = (Controller::clone(&self.shared.controller()), wanted.to_vec());
        let passed = blocking(move || {
            for (namespace, name) in &wanted {
                controller.renew(namespace, name);
            }
            let outcome = controller.pass(&set, now);
            if !outcome.keep.is_empty() || !outcome.forget.is_empty() {
                trust.keep_certificates(&outcome.keep, &outcome.forget)?;
            }
            Ok::<_, TrustError>((controller, outcome))
        });
        let is_newer = self.last.as_ref().is_none_or(|(generation, _)| *generation != update.generation);
        match passed.await {
            Ok((controller, outcome)) => {
                *self.shared.controller.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(controller);
                tell(&outcome);
                let changed = is_newer || outcome.is_news;
                self.show(&state, changed.then_some(update)).await;
                Ok(until(outcome.next, (self.clock)()))
            }
            Err(error) => {
                error!(%error, "what was issued for Certificates cannot be kept, and is not served; trying again");
                self.show(&state, is_newer.then_some(update)).await;
                Err(error)
            }
        }
    }

    /// `update`: the set that is to be served with the Secrets as they are now; `None`: what was served is.
    async fn show(&mut self, state: &State, update: Option<&Arc<Update>>) {
        if let Some(update) = update {
            let (controller, set) = (self.shared.controller(), Arc::clone(&update.set));
            let set = blocking(move || controller.with_secrets(&set)).await;
            let generation = self.last.as_ref().map_or(0, |(_, last)| last.generation) + 1;
            let (files, warnings) = (update.files, update.warnings.clone());
            self.last = Some((update.generation, Arc::new(Update { set, files, warnings, generation })));
        }
        let current = self.last.as_ref().map(|(_, last)| Arc::clone(last));
        let served = State { current, rejected: state.rejected.clone() };
        self.shared.served.send_if_modified(|before| {
            let same = |a: &Arc<Update>, b: &Arc<Update>| Arc::ptr_eq(a, b);
            let is_same = match (&before.current, &served.current) {
                (Some(before), Some(now)) => same(before, now),
                (None, None) => true,
                _ => false,
            };
            let was_rejected = before.rejected.as_ref().map(Arc::as_ptr);
            let is_news = !is_same || was_rejected != served.rejected.as_ref().map(Arc::as_ptr);
            if is_news {
                *before = Arc::new(served);
            }
            is_news
        });
    }
}

fn tell(outcome: &Outcome) {
    for ((namespace, name), event) in &outcome.events {
        match event.is_warning {
            true => warn!(certificate = %format!("{namespace}/{name}"), reason = %event.reason, "{}", event.message),
            false => info!(certificate = %format!("{namespace}/{name}"), reason = %event.reason, "{}", event.message),
        }
    }
    for name in &outcome.forget {
        info!(certificate = %name, "the Certificate is gone, and so is what was issued for it");
    }
}

fn until(next: Option<OffsetDateTime>, now: OffsetDateTime) -> Duration {
    let wait = next.map(|next| Duration::try_from(next - now).unwrap_or_default());
    wait.map_or(LOOK, |wait| wait.min(LOOK))
}
