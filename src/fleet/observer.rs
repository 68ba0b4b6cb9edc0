//! Where a stream reports to.

use std::sync::Arc;

use super::Fleet;
use super::record::{self, Shared};
use crate::xds::{Outcome, ResourceType, Response, StreamObserver};

/// How many names that a stream may not have are remembered; the rest of a flood is counted nowhere.
const DENIED_REMEMBERED: usize = 64;

/// One stream's entry in the fleet's books; dropping it takes the stream out of them.
#[derive(Debug)]
pub struct Observer {
    fleet: Arc<Fleet>,
    id: u64,
    record: Shared,
}

impl Observer {
    pub(super) fn new(fleet: Arc<Fleet>, id: u64, record: Shared) -> Self {
        Self { fleet, id, record }
    }

    /// Remembers that the stream asked for a name it may not have. `true` the first time, so that it is told once.
    pub fn denied(&mut self, ty: ResourceType, name: &str) -> bool {
        record::write(&self.record, |record| {
            let denied = &mut record.types[ty as usize].denied;
            denied.len() < DENIED_REMEMBERED && denied.insert(name.into())
        })
    }
}

impl StreamObserver for Observer {
    fn sent(&mut self, response: &Response) {
        record::write(&self.record, |record| record.sent(response));
    }

    fn answered(&mut self, ty: ResourceType, outcome: &Outcome) {
        record::write(&self.record, |record| record.answered(ty, outcome));
        if !matches!(outcome, Outcome::Request | Outcome::Stale) {
            self.fleet.answered();
        }
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
