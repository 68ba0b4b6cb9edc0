//! Workload certificates that are replaced because an operator asks for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::super::proxies::Proxies;
use super::super::renewal::{self, Replaced};
use super::{ServerBackend, identity_of, internal};
use crate::admin::Failure;
use crate::admin::api::{RotateReport, RotateRequest, RotatedWorkload};
use crate::identity::SpiffeId;
use crate::mesh::WorkloadKey;
use crate::trust::TrustError;
use crate::xds::{ResourceType, Version};

impl ServerBackend {
    /// Replaces them, and waits for as long as the request says that proxies acknowledge.
    pub(super) async fn rotate_workloads(&self, request: RotateRequest) -> Result<RotateReport, Failure> {
        let workloads: Vec<(WorkloadKey, SpiffeId)> = if request.all || request.namespace.is_some() {
            let wanted = |key: &WorkloadKey| request.namespace.as_ref().is_none_or(|it| *it == key.namespace);
            let all = self.proxies.certificates().into_iter();
            all.filter(|(key, ..)| wanted(key)).map(|(key, id, _)| (key, id)).collect()
        } else {
            let named = request.workloads.iter().map(|name| {
                let workload = self.workload(name)?;
                Ok((workload.key.clone(), identity_of(&workload)?))
            });
            named.collect::<Result<_, Failure>>()?
        };
        let (proxies, spread) = (self.proxies.clone(), Duration::from_secs(request.spread_seconds.unwrap_or(0)));
        // A caller who goes away does not stop it half-way.
        let replaced = tokio::spawn(async move { replace(&proxies, workloads, spread).await });
        let replaced = replaced.await.map_err(internal)?.map_err(internal)?;
        if let Some(seconds) = request.wait_seconds {
            self.wait_acknowledged(&replaced, Instant::now() + Duration::from_secs(seconds)).await;
        }
        let rotated = replaced.iter().map(|one| RotatedWorkload {
            workload: one.key.to_string(),
            serial: one.certificate.serial.to_string(),
            acknowledged: self.is_acknowledged(one),
            connected: one.served.is_some(),
        });
        Ok(RotateReport { rotated: rotated.collect() })
    }

    /// Who is connected and has not acknowledged is waited for. Who is not connected gets its certificate when it comes.
    async fn wait_acknowledged(&self, replaced: &[Replaced], until: Instant) {
        let mut answers = self.proxies.fleet.answers();
        while !replaced.iter().all(|one| one.served.is_none() || self.is_acknowledged(one)) {
            if !matches!(timeout_at(until, answers.changed()).await, Ok(Ok(()))) {
                return;
            }
        }
    }

    fn is_acknowledged(&self, one: &Replaced) -> bool {
        let fleet = &self.proxies.fleet;
        let names = |(name, version): &(Arc<str>, Version)| (Arc::clone(name), *version);
        one.served.as_ref().is_some_and(|served| {
            fleet.acknowledged(&one.key.to_string(), ResourceType::Secret, &served.each_ref().map(names))
        })
    }
}

/// New certificates that an operator has asked for, in portions if that is to take some time.
async fn replace(
    proxies: &Proxies,
    workloads: Vec<(WorkloadKey, SpiffeId)>,
    spread: Duration,
) -> Result<Vec<Replaced>, TrustError> {
    const PAUSE: Duration = Duration::from_millis(100);
    let portions = (spread.as_millis() / PAUSE.as_millis()).max(1) as usize;
    let (size, mut replaced) = (workloads.len().div_ceil(portions).max(1), Vec::new());
    let (total, begun) = (workloads.len(), Instant::now());
    info!(workloads = total, spread = %humantime::format_duration(spread), "certificates are replaced, as an operator asks");
    for portion in workloads.chunks(size) {
        let done = renewal::replace(proxies, portion.to_vec()).await;
        replaced.extend(done.inspect_err(|error| {
            let left = total - replaced.len();
            warn!(%error, replaced = replaced.len(), left, "the replacement of certificates stops here");
        })?);
        if replaced.len() < total {
            tokio::time::sleep_until(begun + spread.mul_f64(replaced.len() as f64 / total as f64)).await;
        }
    }
    info!(workloads = total, "certificates are replaced");
    Ok(replaced)
}
