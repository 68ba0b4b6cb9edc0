//! What a stream reports: to the fleet's books, to the metrics, and to the registry of connected proxies when it ends.

use std::sync::Arc;

use tonic::Status;
use tracing::warn;

use super::admission::Admitted;
use super::proxies::Membership;
use super::refusals::Refusal;
use crate::fleet;
use crate::telemetry::Metrics;
use crate::xds::{Holdings, Memory, Outcome, ResourceType, Response, StreamObserver};

/// One stream's observer. Dropping it takes the stream out of everything.
pub(super) struct Observer {
    fleet: fleet::Observer,
    metrics: Arc<Metrics>,
    membership: Membership,
    /// The stream's place among the first pushes, until it has acknowledged something.
    admitted: Option<Admitted>,
}

impl Observer {
    pub(super) fn new(
        fleet: fleet::Observer,
        metrics: Arc<Metrics>,
        membership: Membership,
        admitted: Admitted,
    ) -> Self {
        metrics.open_streams.inc();
        Self { fleet, metrics, membership, admitted: Some(admitted) }
    }
}

impl StreamObserver for Observer {
    fn recall(&mut self) -> Memory {
        self.fleet.recall()
    }

    fn remember(&mut self, memory: Memory) {
        self.fleet.remember(memory);
    }

    fn sent(&mut self, response: &Response) {
        self.metrics.pushes.inc(response.ty.url());
        self.fleet.sent(response);
    }

    fn answered(&mut self, ty: ResourceType, outcome: &Outcome) {
        if !matches!(outcome, Outcome::Request) {
            self.admitted = None;
        }
        match outcome {
            Outcome::Rejected { .. } => self.metrics.rejects.inc(ty.url()),
            Outcome::Request | Outcome::Resumed(_) => self.metrics.subscriptions.inc(ty.url()),
            Outcome::Stale | Outcome::Acknowledged(_) => {}
        }
        self.fleet.answered(ty, outcome);
    }

    fn settled(&mut self, ty: ResourceType, holdings: &Holdings) {
        self.fleet.settled(ty, holdings);
    }

    fn unavailable(&mut self, ty: ResourceType, name: &str) {
        if ty == ResourceType::Secret && self.fleet.denied(ty, name) {
            self.metrics.denied_secrets.inc();
            warn!(workload = %self.membership.workload(), name, "a secret was asked for that this identity may not have");
        }
    }

    fn refused(&mut self, status: &Status) {
        self.metrics.refused.inc(Refusal::Stream.reason());
        warn!(workload = %self.membership.workload(), code = ?status.code(), error = status.message(), "a stream is ended");
    }

    fn throttled(&mut self) {
        self.metrics.throttled.inc();
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.metrics.open_streams.dec();
    }
}
