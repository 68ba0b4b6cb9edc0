//! What a stream reports: to the fleet's books, to the metrics, and to the registry of connected proxies when it ends.

use tonic::Status;
use tracing::warn;

use super::admission::Admitted;
use super::notices::Notice;
use super::proxies::Membership;
use super::refusals::Refusal;
use crate::fleet;
use crate::telemetry::Metrics;
use crate::xds::{Holdings, Memory, Outcome, ResourceType, Response, StreamObserver};

/// How many names of a refused response a line has; the rest is in `countersign proxy-status`.
const NAMES_SHOWN: usize = 64;

/// One stream's observer. Dropping it takes the stream out of everything.
pub(super) struct Observer {
    fleet: fleet::Observer,
    membership: Membership,
    /// The stream's place among the first pushes, until it has acknowledged something.
    admitted: Option<Admitted>,
}

impl Observer {
    pub(super) fn new(fleet: fleet::Observer, membership: Membership, admitted: Admitted) -> Self {
        membership.proxies().metrics.open_streams.inc();
        Self { fleet, membership, admitted: Some(admitted) }
    }

    fn metrics(&self) -> &Metrics {
        &self.membership.proxies().metrics
    }

    fn notice(&self, notice: Notice) -> Option<u64> {
        self.membership.proxies().notices.pass(notice)
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
        self.metrics().pushes.inc(response.ty.url());
        self.fleet.sent(response);
    }

    fn answered(&mut self, ty: ResourceType, outcome: &Outcome) {
        if !matches!(outcome, Outcome::Request) {
            self.admitted = None;
        }
        match outcome {
            Outcome::Rejected { resources, error } => {
                self.metrics().rejects.inc(ty.url());
                if let Some(held_back) = self.notice(Notice::Response) {
                    let names: Vec<_> = resources.iter().map(|(name, _)| &**name).take(NAMES_SHOWN).collect();
                    let (node, count) = (&self.fleet.description().node.id, resources.len());
                    warn!(%node, r#type = %ty, count, ?names, %error, held_back, "the client refused a response");
                }
            }
            Outcome::Request | Outcome::Resumed(_) => self.metrics().subscriptions.inc(ty.url()),
            Outcome::Stale | Outcome::Acknowledged(_) => {}
        }
        self.fleet.answered(ty, outcome);
    }

    fn settled(&mut self, ty: ResourceType, holdings: &Holdings) {
        self.fleet.settled(ty, holdings);
    }

    fn unavailable(&mut self, ty: ResourceType, name: &str) {
        if ty == ResourceType::Secret && self.fleet.denied(ty, name) {
            self.metrics().denied_secrets.inc();
            if let Some(held_back) = self.notice(Notice::Secret) {
                let workload = self.membership.workload();
                warn!(%workload, name, held_back, "a secret was asked for that this identity may not have");
            }
        }
    }

    fn refused(&mut self, status: &Status) {
        self.metrics().refused.inc(Refusal::Stream.reason());
        if let Some(held_back) = self.notice(Notice::Stream) {
            let (workload, code, error) = (self.membership.workload(), status.code(), status.message());
            warn!(%workload, ?code, error, held_back, "a stream is ended");
        }
    }

    fn throttled(&mut self) {
        self.metrics().throttled.inc();
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.metrics().open_streams.dec();
    }
}
