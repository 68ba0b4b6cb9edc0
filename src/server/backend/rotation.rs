//! Authorities that follow one another: the rotation of the root, and of the intermediate.

use std::sync::Arc;

use super::super::blocking;
use super::super::rotation::{Failed, Report};
use super::{ServerBackend, internal, rfc3339};
use crate::admin::Failure;
use crate::admin::api::{
    AuthorityStatus, IntermediateReport, RootRotationAction, RootRotationRequest, RootRotationStatus, WaitingFor,
};
use crate::rollout::Stuck;

impl ServerBackend {
    /// How far the rotation of the root is, and whom it waits for.
    pub(super) async fn root_rotation_status(&self) -> RootRotationStatus {
        rotation_status(self.rotation.report().await)
    }

    /// Starts, holds, goes on with or takes back the rotation of the root.
    pub(super) async fn order_root_rotation(
        &self,
        request: RootRotationRequest,
    ) -> Result<RootRotationStatus, Failure> {
        let (rotation, paused, force) = (self.rotation.clone(), request.paused, request.force);
        // A caller who goes away does not stop it half-way.
        let done = tokio::spawn(async move {
            match request.action {
                RootRotationAction::Start => rotation.start(paused, force).await,
                RootRotationAction::Pause => rotation.pause().await,
                RootRotationAction::Resume => rotation.resume(force).await,
                RootRotationAction::Abort => rotation.abort(force).await,
            }
        });
        match done.await.map_err(internal)? {
            Ok(()) => Ok(self.root_rotation_status().await),
            Err(Failed::Refused(refused)) => {
                let help = "countersign rotate root status says how far it is".to_owned();
                Err(Failure::Conflict(refused.to_string(), help))
            }
            Err(Failed::Issuers) => {
                let help = "put another authority into the Secret of that ClusterIssuer".to_owned();
                Err(Failure::Conflict(Failed::Issuers.to_string(), help))
            }
            Err(Failed::Trust(error)) => Err(internal(error)),
        }
    }

    /// Prepares another intermediate, which signs at once unless proxies have to have its revocation list first.
    pub(super) async fn replace_intermediate(&self) -> Result<IntermediateReport, Failure> {
        let (trust, now) = (Arc::clone(&self.proxies.trust), (self.clock)());
        let done = blocking(move || trust.rotate_intermediate(now)).await.map_err(internal)?;
        self.proxies.changed.notify_one();
        let intermediate = self.proxies.trust.intermediate();
        let (serial, not_after) = (intermediate.serial.to_string(), rfc3339(intermediate.not_after));
        Ok(IntermediateReport { intermediate: AuthorityStatus { serial, not_after }, waiting: done.waiting })
    }
}

fn rotation_status(report: Report) -> RootRotationStatus {
    let Some(rotation) = report.rotation else {
        return RootRotationStatus { step: "none".to_owned(), ..RootRotationStatus::default() };
    };
    let record = rotation.record();
    let waiting = report.stuck.into_iter().map(|Stuck { proxy, reason }| WaitingFor { proxy, reason });
    RootRotationStatus {
        step: record.step.name().to_owned(),
        paused: record.paused,
        force: record.force,
        old_root: record.old.to_string(),
        new_root: record.new.to_string(),
        started_at: rfc3339(record.started_at),
        step_since: rfc3339(record.step_at),
        waiting: waiting.collect(),
    }
}
