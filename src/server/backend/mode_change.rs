//! Ports on their way to another mTLS mode.

use super::super::staging::{self, NotAdvanced};
use super::{ServerBackend, internal, rfc3339};
use crate::admin::Failure;
use crate::admin::api::{
    ModeChange, ModeChangeRequest, ModeChangeStatus, ModeChangeSummary, PortInTransit, WaitingFor,
};
use crate::rollout::{Port, Stuck};

impl ServerBackend {
    /// Which ports are at which step, and whom they wait for.
    pub(super) async fn mode_change_status(&self) -> ModeChangeStatus {
        status(self.staging.report().await)
    }

    /// The same in short.
    pub(super) async fn mode_change_summary(&self) -> ModeChangeSummary {
        summary(&self.staging.report().await)
    }

    /// Takes the next step, without waiting for anybody if the request says so.
    pub(super) async fn advance_modes(&self, request: ModeChangeRequest) -> Result<ModeChangeStatus, Failure> {
        let (staging, force) = (self.staging.clone(), request.force);
        // A caller who goes away does not stop it half-way.
        match tokio::spawn(async move { staging.push_on(force).await }).await.map_err(internal)? {
            Ok(()) => Ok(self.mode_change_status().await),
            Err(NotAdvanced::Settled) => Err(Failure::Conflict(NotAdvanced::Settled.to_string(), String::new())),
            Err(NotAdvanced::NoPolicy) => {
                let help = "countersign status says what is wrong with the policy directory".to_owned();
                Err(Failure::Conflict(NotAdvanced::NoPolicy.to_string(), help))
            }
            Err(NotAdvanced::Waiting(stuck)) => {
                let first =
                    stuck.first().map(|it| format!("{}: {}", it.proxy.as_deref().unwrap_or_default(), it.reason));
                let message = format!("it waits for {} proxies, {}", stuck.len(), first.unwrap_or_default());
                let help = "countersign rollout status names them; --force goes on without them, and requests from or to them may fail";
                Err(Failure::Conflict(message, help.to_owned()))
            }
            Err(NotAdvanced::File(error)) => Err(internal(error)),
        }
    }
}

fn summary(report: &staging::Report) -> ModeChangeSummary {
    let rollout = report.rollout.as_ref();
    ModeChangeSummary {
        step: rollout.and_then(|it| it.step()).map(|step| step.name().to_owned()).unwrap_or_default(),
        ports: rollout.map_or(0, |it| it.in_transit().count()),
        waiting: report.stuck.len(),
    }
}

fn status(report: staging::Report) -> ModeChangeStatus {
    let summary = summary(&report);
    let Some(rollout) = report.rollout else { return ModeChangeStatus::default() };
    let change = |port| match port {
        Port::Settled(mode) => ModeChange { from: mode.to_string(), to: mode.to_string(), step: String::new() },
        Port::Moving { from, to, step } => {
            ModeChange { from: from.to_string(), to: to.to_string(), step: step.name().to_owned() }
        }
    };
    let ports = rollout.in_transit().map(|(key, number, port)| PortInTransit {
        workload: key.to_string(),
        port: number,
        change: change(port),
    });
    let waiting = report.stuck.into_iter().map(|Stuck { proxy, reason }| WaitingFor { proxy, reason });
    let (started_at, step_since) = rollout.times().map(|(a, b)| (rfc3339(a), rfc3339(b))).unwrap_or_default();
    ModeChangeStatus { step: summary.step, started_at, step_since, ports: ports.collect(), waiting: waiting.collect() }
}
