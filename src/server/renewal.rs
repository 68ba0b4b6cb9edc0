//! Certificates before they expire: the proxies' leaves, our own listener's, and the intermediate that signs them.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::blocking;
use super::proxies::{Proxies, Served};
use super::rotation::Rotation;
use crate::identity::SpiffeId;
use crate::mesh::WorkloadKey;
use crate::trust::tls::ServerTls;
use crate::trust::{TrustError, WorkloadCertificate};

/// The loop looks at least this often, so that a clock that jumps is noticed.
const LOOK: Duration = Duration::from_secs(20);
/// While a root rotation is under way the loop looks this often.
const ROTATING: Duration = Duration::from_millis(500);
/// How long answers are gathered before they are looked at.
const GATHER: Duration = Duration::from_millis(50);
/// After a failure it tries again this much later, and twice as late after each further one, up to 32 s; the certificates in place are
/// good for half their life still.
const RETRY: Duration = Duration::from_secs(2);

/// After a proxy came or went the loop rests this long: each look goes through all of them, and a whole fleet may be coming.
const REST: Duration = Duration::from_millis(100);

/// Our own listener: its TLS, the names in its certificate, and the certificate it has.
pub(super) struct Own {
    pub(super) tls: Arc<ServerTls>,
    pub(super) names: Vec<String>,
    pub(super) certificate: Arc<WorkloadCertificate>,
}

/// Renews what is due, and moves the root rotation on, for as long as the server runs. One task does both, so that what is shown is what
/// was kept last.
pub(super) fn run(proxies: Proxies, own: Own, rotation: Rotation, spread: Duration) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut answers = proxies.fleet.answers();
        let mut work =
            Work { proxies, own, rotation, follow: Follow::new(spread), failures: 0, waiting: false, seen_at: None };
        loop {
            let wait = match work.pass().await {
                Ok(wait) => {
                    work.failures = 0;
                    wait
                }
                Err(error) => {
                    work.failures = (work.failures + 1).min(5);
                    error!(%error, "certificates could not be renewed; trying again");
                    work.measure((work.proxies.clock)());
                    RETRY * 2_u32.pow(work.failures - 1)
                }
            };
            let under_way = work.waiting || work.rotation.is_under_way().await;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = work.proxies.changed.notified() => tokio::time::sleep(REST).await,
                // In a large fleet many answer at once: they are looked at together.
                _ = answers.changed(), if under_way => tokio::time::sleep(GATHER).await,
            }
        }
    })
}

struct Work {
    proxies: Proxies,
    own: Own,
    rotation: Rotation,
    follow: Follow,
    failures: u32,
    /// Whether an intermediate waits for all to have its revocation list.
    waiting: bool,
    seen_at: Option<tokio::time::Instant>,
}

impl Work {
    /// Everything that is due now. Returns when to look again.
    async fn pass(&mut self) -> Result<Duration, TrustError> {
        let (proxies, now) = (&self.proxies, (self.proxies.clock)());
        let trust = Arc::clone(&proxies.trust);
        let maintained = blocking(move || trust.maintain(now)).await?;
        if maintained.prepared {
            info!("an intermediate is prepared, to sign later");
        }
        if maintained.activated {
            info!(serial = %proxies.trust.intermediate().serial, "a new intermediate signs from now on");
        }
        let mut waiting = maintained.waiting;
        if self.seen_at.is_none_or(|at| at.elapsed() >= LOOK) {
            let (trust, names) = (Arc::clone(&proxies.trust), proxies.names());
            let before = self.rotation.absent_since(now);
            blocking(move || trust.saw(&names, now).and_then(|()| trust.forget_seen(before))).await?;
            self.seen_at = Some(tokio::time::Instant::now());
        }
        while self.rotation.advance().await? {
            self.publish().await?;
        }
        self.publish().await?;
        if waiting && self.rotation.is_bundle_everywhere().await {
            let (trust, bundle) = (Arc::clone(&self.proxies.trust), Arc::clone(&self.proxies.roots().bundle));
            let maintained = blocking(move || {
                trust.confirm_lists(&bundle);
                trust.maintain(now)
            });
            waiting = maintained.await?.waiting;
            self.publish().await?;
        }
        self.waiting = waiting;
        self.rotation.end_outdated().await;
        let next = self.leaves(now).await?;
        let mut wait = until(next.min(self.own.certificate.renew_at), (self.proxies.clock)()).min(LOOK);
        if self.follow.is_under_way() {
            wait = wait.min(Follow::STEP);
        } else if self.waiting || self.rotation.is_under_way().await {
            wait = wait.min(ROTATING);
        }
        Ok(wait)
    }

    /// Shows what trust has: first at our own door, so that nobody is shut out by what it was just told.
    async fn publish(&mut self) -> Result<(), TrustError> {
        let (proxies, own, now) = (&self.proxies, &mut self.own, (self.proxies.clock)());
        let first_root = proxies.trust.bundle().roots().iter().map(|root| root.not_after.unix_timestamp()).min();
        proxies.metrics.root_expiry.set(first_root.unwrap_or(0));
        proxies.metrics.intermediate_expiry.set(proxies.trust.intermediate().not_after.unix_timestamp());
        let revoked = proxies.trust.revocations().len();
        proxies.metrics.revoked_certificates.set(i64::try_from(revoked).unwrap_or(i64::MAX));
        if own.certificate.renew_at <= now || own.certificate.issuer != proxies.trust.listener_issuer() {
            let (trust, names) = (Arc::clone(&proxies.trust), own.names.clone());
            own.certificate = blocking(move || trust.server_certificate(&names, now)).await?;
            own.tls.set_certificate(&own.certificate)?;
            info!(serial = %own.certificate.serial, "our own certificate is renewed");
        }
        let bundle = proxies.trust.bundle();
        if proxies.roots().bundle != bundle {
            own.tls.set_bundle(&bundle)?;
        }
        proxies.set_roots(bundle, proxies.trust.federation());
        Ok(())
    }

    /// Whether a certificate is to be replaced now: by its time, because it is revoked, or because it was issued when the clock was ahead.
    fn is_due(&self, it: &WorkloadCertificate, now: OffsetDateTime) -> bool {
        it.renew_at <= now || it.not_before > now || self.proxies.trust.is_revoked(&it.serial)
    }

    /// The proxies' certificates: those that are due, and some of those whose signer does not sign any more, or whose names are not
    /// what the policy says any more. Returns when the next is due.
    async fn leaves(&mut self, now: OffsetDateTime) -> Result<OffsetDateTime, TrustError> {
        let proxies = &self.proxies;
        let signer = proxies.trust.intermediate().serial;
        let (mut replaced, mut outdated) = (Vec::new(), Vec::new());
        proxies.see_certificates(|key, id, it| {
            if self.is_due(it, now) {
                replaced.push((key.clone(), id.clone()));
            } else if it.issuer != signer || !it.is_under(&proxies.leaf_names(key, id)) {
                outdated.push((key.clone(), id.clone()));
            }
        });
        outdated.truncate(self.follow.quota(outdated.len()));
        replaced.append(&mut outdated);
        if !replaced.is_empty() {
            replace(proxies, replaced).await?;
        }
        Ok(self.measure(now).unwrap_or(now + LOOK))
    }

    /// Tells how near their end the served certificates are, whether they could be renewed or not. Returns when the next is due.
    fn measure(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let proxies = &self.proxies;
        let (mut expiry, mut next, mut names) = (None, None, Vec::new());
        proxies.see_certificates(|key, _, it| {
            let (until, renew_at) = (it.not_after.unix_timestamp(), it.renew_at);
            expiry = Some(expiry.map_or(until, |first: i64| first.min(until)));
            next = Some(next.map_or(renew_at, |first: OffsetDateTime| first.min(renew_at)));
            if is_late(it, now) {
                names.push(key.to_string());
            }
        });
        proxies.metrics.earliest_leaf_expiry.set(expiry.unwrap_or(0));
        if proxies.metrics.expiring_leaves.set(i64::try_from(names.len()).unwrap_or(i64::MAX)) == 0 && !names.is_empty()
        {
            let some = &names[..names.len().min(20)];
            warn!(count = names.len(), workloads = ?some, "certificates in the last quarter of their life are not renewed");
        }
        next
    }
}

/// Renewal is at half of the life; in the last quarter something has kept it from happening.
fn is_late(certificate: &WorkloadCertificate, now: OffsetDateTime) -> bool {
    certificate.not_after - now <= (certificate.not_after - certificate.issued_at) / 4
}

fn until(next: OffsetDateTime, now: OffsetDateTime) -> Duration {
    // A moment of rest in any case: what is due this very instant must not spin.
    Duration::try_from(next - now).unwrap_or_default().max(Duration::from_millis(5))
}

/// Hands out new certificates over some time instead of all at once.
struct Follow {
    spread: Duration,
    begun: Option<(tokio::time::Instant, usize)>,
}

impl Follow {
    /// The pause between two portions.
    const STEP: Duration = Duration::from_millis(100);

    fn new(spread: Duration) -> Self {
        Self { spread, begun: None }
    }

    fn is_under_way(&self) -> bool {
        self.begun.is_some()
    }

    /// How many of those that are `left` have their turn now.
    fn quota(&mut self, left: usize) -> usize {
        if left == 0 {
            self.begun = None;
            return 0;
        }
        let (begun, total) = self.begun.get_or_insert((tokio::time::Instant::now(), left));
        *total = left.max(*total);
        let share = (begun.elapsed() + Self::STEP).as_secs_f64() / self.spread.as_secs_f64().max(0.001);
        let turn = (*total as f64 * share).ceil() as usize;
        turn.saturating_sub(*total - left).min(left)
    }
}

/// A workload that has another certificate now.
pub(super) struct Replaced {
    pub(super) key: WorkloadKey,
    pub(super) certificate: Arc<WorkloadCertificate>,
    /// The names and versions that it is served under; `None` if no proxy of the workload is connected.
    pub(super) served: Option<Served>,
}

/// Issues new certificates for these workloads, durably, and only then shows them to the proxies.
pub(super) async fn replace(
    proxies: &Proxies,
    workloads: Vec<(WorkloadKey, SpiffeId)>,
) -> Result<Vec<Replaced>, TrustError> {
    let (trust, now) = (Arc::clone(&proxies.trust), (proxies.clock)());
    let names: Vec<_> = workloads.iter().map(|(key, id)| (key.to_string(), proxies.leaf_names(key, id))).collect();
    let issued = blocking(move || trust.renew_workload_certificates(&names, now)).await?;
    proxies.metrics.certificates_issued.inc_by(issued.len() as u64);
    let replaced = workloads.into_iter().zip(issued).map(|((key, _), certificate)| {
        let served = proxies.set_certificate(&key, &certificate);
        Replaced { key, certificate, served }
    });
    Ok(replaced.collect())
}
