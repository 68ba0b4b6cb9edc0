//! Certificates before they expire: the proxies' leaves, our own listener's, and the intermediate that signs them.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::task::JoinHandle;
use tracing::{error, info};

use super::blocking;
use super::proxies::Proxies;
use crate::identity::SpiffeId;
use crate::mesh::WorkloadKey;
use crate::trust::tls::ServerTls;
use crate::trust::{TrustError, WorkloadCertificate};
use crate::xds::Version;

/// The loop looks at least this often, so that a clock that jumps is noticed.
const LOOK: Duration = Duration::from_secs(20);
/// After a failure it tries again this much later; the certificates in place are good for half their life still.
const RETRY: Duration = Duration::from_secs(2);

/// After a proxy came or went the loop rests this long: each look goes through all of them, and a whole fleet may be coming.
const REST: Duration = Duration::from_millis(100);

/// Our own listener: its TLS, the names in its certificate, and the certificate it has.
pub(super) struct Own {
    pub(super) tls: Arc<ServerTls>,
    pub(super) names: Vec<String>,
    pub(super) certificate: Arc<WorkloadCertificate>,
}

/// Renews what is due, for as long as the server runs.
pub(super) fn run(proxies: Proxies, mut own: Own) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let wait = match renew_due(&proxies, &mut own).await {
                Ok(next) => until(next, (proxies.clock)()).min(LOOK),
                Err(error) => {
                    error!(%error, "certificates could not be renewed; trying again");
                    RETRY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = proxies.changed.notified() => tokio::time::sleep(REST).await,
            }
        }
    })
}

fn until(next: OffsetDateTime, now: OffsetDateTime) -> Duration {
    // A moment of rest in any case: what is due this very instant must not spin.
    Duration::try_from(next - now).unwrap_or_default().max(Duration::from_millis(5))
}

/// Renews everything that is due now. Returns when the next is.
async fn renew_due(proxies: &Proxies, own: &mut Own) -> Result<OffsetDateTime, TrustError> {
    let now = (proxies.clock)();
    let trust = Arc::clone(&proxies.trust);
    if blocking(move || trust.maintain(now)).await? {
        info!(serial = %proxies.trust.intermediate().serial, "a new intermediate signs from now on");
    }
    let first_root = proxies.trust.bundle().roots().iter().map(|root| root.not_after.unix_timestamp()).min();
    proxies.metrics.root_expiry.set(first_root.unwrap_or(0));
    proxies.metrics.intermediate_expiry.set(proxies.trust.intermediate().not_after.unix_timestamp());
    if own.certificate.renew_at <= now {
        let (trust, names) = (Arc::clone(&proxies.trust), own.names.clone());
        own.certificate = blocking(move || trust.server_certificate(&names, now)).await?;
        own.tls.set_certificate(&own.certificate)?;
        info!(serial = %own.certificate.serial, "our own certificate is renewed");
    }
    let held = proxies.certificates();
    let due: Vec<_> = held
        .iter()
        .filter(|(_, _, certificate)| certificate.renew_at <= now)
        .map(|(key, id, _)| (key.clone(), id.clone()))
        .collect();
    if !due.is_empty() {
        replace(proxies, due).await?;
    }
    let leaves = proxies.certificates();
    let next = leaves.iter().map(|(_, _, certificate)| certificate.renew_at).chain([own.certificate.renew_at]).min();
    let expiry = leaves.iter().map(|(_, _, certificate)| certificate.not_after.unix_timestamp()).min();
    proxies.metrics.earliest_leaf_expiry.set(expiry.unwrap_or(0));
    Ok(next.unwrap_or(own.certificate.renew_at))
}

/// A workload that has another certificate now.
pub(super) struct Replaced {
    pub(super) key: WorkloadKey,
    pub(super) certificate: Arc<WorkloadCertificate>,
    /// The version its secret is served under; `None` if no proxy of the workload is connected.
    pub(super) version: Option<Version>,
}

/// Issues new certificates for these workloads, durably, and only then shows them to the proxies.
pub(super) async fn replace(
    proxies: &Proxies,
    workloads: Vec<(WorkloadKey, SpiffeId)>,
) -> Result<Vec<Replaced>, TrustError> {
    let (trust, now) = (Arc::clone(&proxies.trust), (proxies.clock)());
    let names: Vec<_> = workloads.iter().map(|(key, id)| (key.to_string(), id.clone())).collect();
    let issued = blocking(move || trust.renew_workload_certificates(&names, now)).await?;
    proxies.metrics.certificates_issued.inc_by(issued.len() as u64);
    let replaced = workloads.into_iter().zip(issued).map(|((key, _), certificate)| {
        let version = proxies.set_certificate(&key, &certificate);
        Replaced { key, certificate, version }
    });
    Ok(replaced.collect())
}
