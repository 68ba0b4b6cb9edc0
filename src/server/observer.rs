//! What a stream reports: to the fleet's books, to the metrics, and to the registry of connected proxies when it ends.

use std::sync::Arc;

use tracing::warn;

use super::proxies::Membership;
use crate::fleet;
use crate::telemetry::Metrics;
use crate::xds::{Holdings, Outcome, ResourceType, Response, StreamObserver};

/// One stream's observer. Dropping it takes the stream out of everything.
pub(super) struct Observer {
    fleet: fleet::Observer,
    metrics: Arc<Metrics>,
    membership: Membership,
}

impl Observer {
    pub(super) fn new(fleet: fleet::Observer, metrics: Arc<Metrics>, membership: Membership) -> Self {
        metrics.open_streams.inc();
        Self { fleet, metrics, membership }
    }
}

impl StreamObserver for Observer {
    fn sent(&mut self, response: &Response) {
        self.metrics.pushes.inc(response.ty.url());
        self.fleet.sent(response);
    }

    fn answered(&mut self, ty: ResourceType, outcome: &Outcome) {
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
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.metrics.open_streams.dec();
    }
}
