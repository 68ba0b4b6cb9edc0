//! Where a stream reports to.

use std::sync::Arc;

use super::{Description, Fleet, Shared, read, write};
use crate::xds::{Holdings, Memory, Outcome, ResourceType, Response, StreamObserver};

/// One stream's entry in the fleet's books; dropping it takes the stream out of them.
#[derive(Debug)]
pub struct Observer {
    fleet: Arc<Fleet>,
    id: u64,
    ledger: Shared,
}

impl Observer {
    pub(super) fn new(fleet: Arc<Fleet>, id: u64, ledger: Shared) -> Self {
        Self { fleet, id, ledger }
    }

    /// Who is at the other end.
    pub fn description(&self) -> Arc<Description> {
        read(&self.ledger, |ledger| Arc::clone(&ledger.description))
    }

    /// Remembers that the stream asked for a name it may not have. `true` the first time, so that it is told once.
    pub fn denied(&mut self, ty: ResourceType, name: &str) -> bool {
        write(&self.ledger, |ledger| ledger.of_mut(ty).deny(name))
    }
}

impl StreamObserver for Observer {
    fn recall(&mut self) -> Memory {
        self.fleet.memories().get(&self.description())
    }

    fn remember(&mut self, memory: Memory) {
        self.fleet.memories().set(&self.description(), memory);
    }

    fn sent(&mut self, response: &Response) {
        let now = (self.fleet.clock)();
        write(&self.ledger, |ledger| ledger.of_mut(response.ty).sent(response, now));
    }

    fn answered(&mut self, ty: ResourceType, outcome: &Outcome) {
        let now = (self.fleet.clock)();
        write(&self.ledger, |ledger| ledger.of_mut(ty).answered(outcome, now));
        if !matches!(outcome, Outcome::Request | Outcome::Stale) {
            self.fleet.answered();
        }
    }

    fn settled(&mut self, ty: ResourceType, holdings: &Holdings) {
        let now = (self.fleet.clock)();
        write(&self.ledger, |ledger| ledger.of_mut(ty).settled(holdings, now));
    }

    fn unavailable(&mut self, ty: ResourceType, name: &str) {
        self.denied(ty, name);
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.fleet.leave(self.id);
    }
}
