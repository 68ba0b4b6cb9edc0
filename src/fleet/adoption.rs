//! Who has what everyone should have.

use std::sync::Arc;

use time::OffsetDateTime;

use super::{Departed, Description, Event, Refusal};

/// How far a version of a resource has come in the fleet.
#[derive(Clone, Debug)]
pub struct Adoption {
    /// Streams that have acknowledged it and hold it.
    pub acknowledged: usize,
    /// Connected streams that have not, by workload.
    pub missing: Vec<Missing>,
    /// Clients that are connected and do not use it: they have had the time to ask, and have not.
    pub unused: Vec<Arc<Description>>,
    /// Who was here and is not, by the time it was last seen. What it holds may be old, and it may come back.
    pub gone: Vec<Departed>,
    /// How many more were here whose record has been given up for newer ones.
    pub forgotten: u64,
}

impl Adoption {
    /// Whether every connected client that uses it has acknowledged it.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Those missing that were connected at `asked` already. Who came later is given the new version from the start.
    pub fn missing_since(&self, asked: OffsetDateTime) -> impl Iterator<Item = &Missing> {
        self.missing.iter().filter(move |missing| missing.description.connected_since <= asked)
    }
}

/// A stream that does not have what it should.
#[derive(Clone, Debug)]
pub struct Missing {
    /// The stream's number: unique in this process, rising.
    pub stream: u64,
    /// Who it is.
    pub description: Arc<Description>,
    /// Why.
    pub reason: Reason,
}

/// Why a stream does not have a version.
#[derive(Clone, Debug)]
pub enum Reason {
    /// It has asked for nothing of the type, or not for this name.
    NotSubscribed,
    /// It was sent, and is not answered yet.
    InFlight {
        /// When it was sent.
        since: OffsetDateTime,
    },
    /// The client refused it.
    Rejected(Refusal),
    /// It has not been sent; the client has this.
    Holds(Option<Event>),
}
