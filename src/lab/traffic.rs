//! Continuous traffic, to see what a change does to it: some connections that live through everything, and a new connection for
//! every other request, so that each of those is a TLS handshake between two Envoys.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::app::Echo;
use super::http::{Answer, Connection, HttpError, authority};

/// How many failures are kept as text.
const KEPT_ERRORS: usize = 10;

/// What traffic to make.
#[derive(Clone, Debug)]
pub struct TrafficPlan {
    /// The forward proxy of the kept connections.
    pub proxy: SocketAddr,
    /// What they ask for, absolute.
    pub url: String,
    /// How many kept connections.
    pub kept: usize,
    /// Where new connections go: a TCP listener that opens an upstream connection for each of ours.
    pub fresh: SocketAddr,
    /// How many tasks open new connections.
    pub fresh_tasks: usize,
    /// The pause between two requests of one task; bounds the rate.
    pub interval: Duration,
    /// After how long a request has failed.
    pub limit: Duration,
}

/// Running traffic. Dropping it stops it at once, [`Traffic::stop`] lets the last requests finish.
#[derive(Debug)]
pub struct Traffic {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Requests that were made.
    pub requests: u64,
    /// Those without a 200.
    pub failures: u64,
    /// Requests that were answered over a connection of their own.
    pub new_connections: u64,
    /// Requests that were answered over a kept connection.
    pub kept: u64,
    /// How often a kept connection had to be opened again.
    pub reconnects: u64,
    /// Client certificates that were seen.
    pub client_certificates: usize,
    /// The first failures, with the time since the start.
    pub errors: Vec<String>,
}

#[derive(Debug)]
struct Shared {
    plan: TrafficPlan,
    started: Instant,
    requests: AtomicU64,
    failures: AtomicU64,
    new_connections: AtomicU64,
    kept: AtomicU64,
    reconnects: AtomicU64,
    errors: Mutex<Vec<String>>,
    seen: watch::Sender<HashMap<String, Instant>>,
}

impl Traffic {
    /// Starts it.
    pub fn start(plan: TrafficPlan) -> Self {
        let shared = Arc::new(Shared {
            started: Instant::now(),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            new_connections: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            errors: Mutex::default(),
            seen: watch::Sender::new(HashMap::new()),
            plan,
        });
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let (kept, fresh) = (shared.plan.kept, shared.plan.fresh_tasks);
        for index in 0..kept {
            tasks.spawn(keep_one(shared.clone(), stopped.clone(), stagger(&shared.plan, index, kept)));
        }
        for index in 0..fresh {
            tasks.spawn(open_each(shared.clone(), stopped.clone(), stagger(&shared.plan, index, fresh)));
        }
        Self { shared, stop, tasks }
    }

    /// What came of it so far.
    pub fn report(&self) -> Report {
        self.shared.report()
    }

    /// Waits for the first response over a new connection whose client certificate has this SHA-256 (hexadecimal), and tells how
    /// long after `after` it came. `None`: not within `limit`.
    pub async fn first_seen(&self, hash: &str, after: Instant, limit: Duration) -> Option<Duration> {
        let hash = hash.to_ascii_lowercase();
        self.wait_seen(after, limit, |seen| seen.get(&hash).copied()).await
    }

    /// The same for any client certificate that was not known before `after`: for a control plane that tells no hashes.
    pub async fn first_new(&self, after: Instant, limit: Duration) -> Option<Duration> {
        self.wait_seen(after, limit, |seen| seen.values().copied().filter(|at| *at >= after).min()).await
    }

    async fn wait_seen(
        &self,
        after: Instant,
        limit: Duration,
        find: impl Fn(&HashMap<String, Instant>) -> Option<Instant>,
    ) -> Option<Duration> {
        let mut seen = self.shared.seen.subscribe();
        let found = tokio::time::timeout(limit, seen.wait_for(|seen| find(seen).is_some())).await.ok()?.ok()?;
        find(&found).map(|at| at.saturating_duration_since(after))
    }

    /// Lets requests that are under way finish, and tells what came of it all.
    pub async fn stop(mut self) -> Report {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        self.shared.report()
    }
}

impl Shared {
    fn report(&self) -> Report {
        Report {
            requests: self.requests.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            new_connections: self.new_connections.load(Ordering::Relaxed),
            kept: self.kept.load(Ordering::Relaxed),
            reconnects: self.reconnects.load(Ordering::Relaxed),
            client_certificates: self.seen.borrow().len(),
            errors: self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Counts one request. The answer, if it is a good one.
    fn count(&self, result: Result<Answer, HttpError>, counter: &AtomicU64) -> Option<Answer> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let reason = match result {
            Ok(answer) if answer.status == http::StatusCode::OK => {
                counter.fetch_add(1, Ordering::Relaxed);
                return Some(answer);
            }
            Ok(answer) => format!("{}: {}", answer.status, answer.text().trim()),
            Err(error) => error.to_string(),
        };
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        if errors.len() < KEPT_ERRORS {
            errors.push(format!("at {:.3} s: {reason}", self.started.elapsed().as_secs_f64()));
        }
        None
    }

    fn saw(&self, answer: &Answer, at: Instant) {
        let echo: Option<Echo> = serde_json::from_slice(&answer.body).ok();
        let Some(hash) = echo.and_then(|echo| echo.peer()?.hash) else { return };
        self.seen.send_if_modified(|seen| {
            let new = !seen.contains_key(&hash);
            seen.entry(hash).or_insert(at);
            new
        });
    }
}

/// Spreads the tasks over one interval, so that the next request is never far.
fn stagger(plan: &TrafficPlan, index: usize, tasks: usize) -> Duration {
    plan.interval.mul_f64(index as f64 / tasks.max(1) as f64)
}

/// Waits; `false` when the traffic is to stop.
async fn pause(stopped: &mut watch::Receiver<bool>, duration: Duration) -> bool {
    tokio::select! {
        _ = stopped.wait_for(|stop| *stop) => false,
        () = tokio::time::sleep(duration) => true,
    }
}

async fn keep_one(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>, delay: Duration) {
    let plan = &shared.plan;
    let (mut connection, mut opened) = (None::<Connection>, 0_u64);
    let mut go_on = pause(&mut stopped, delay).await;
    while go_on {
        // A connection that was closed between two requests costs none: it is only counted.
        if connection.as_ref().is_none_or(Connection::is_closed) {
            match Connection::open(plan.proxy, plan.limit).await {
                Ok(new) => {
                    connection = Some(new);
                    opened += 1;
                    shared.reconnects.fetch_add(u64::from(opened > 1), Ordering::Relaxed);
                }
                Err(error) => drop(shared.count(Err(error), &shared.kept)),
            }
        }
        if let Some(open) = &mut connection {
            let result = open.get(&plan.url, authority(&plan.url)).await;
            if result.is_err() {
                connection = None;
            }
            shared.count(result, &shared.kept);
        }
        go_on = pause(&mut stopped, plan.interval).await;
    }
}

async fn open_each(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>, delay: Duration) {
    let plan = &shared.plan;
    let mut go_on = pause(&mut stopped, delay).await;
    while go_on {
        let result = super::http::get(plan.fresh, authority(&plan.url), "/fresh", plan.limit).await;
        let at = Instant::now();
        if let Some(answer) = shared.count(result, &shared.new_connections) {
            shared.saw(&answer, at);
        }
        go_on = pause(&mut stopped, plan.interval).await;
    }
}
