//! What is known of one stream, as a copy to read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use time::OffsetDateTime;

use crate::xds::{NodeInfo, ResourceType, Version};

/// Who is at the other end of a stream.
#[derive(Clone, Debug)]
pub struct Description {
    /// The workload it speaks for, `namespace/name`.
    pub workload: String,
    /// The authenticated identity; `None` on a plaintext connection.
    pub identity: Option<String>,
    /// What it said of itself.
    pub node: NodeInfo,
    /// When its stream came into the fleet's books.
    pub connected_since: OffsetDateTime,
}

/// One stream: who it is, and what it holds of each type.
#[derive(Clone, Debug)]
pub struct StreamRecord {
    /// Who it is.
    pub description: Description,
    /// By type, in the order of [`ResourceType::ALL`].
    pub types: [TypeRecord; ResourceType::ALL.len()],
}

/// One type on one stream.
#[derive(Clone, Debug, Default)]
pub struct TypeRecord {
    /// Whether the client asked for this type.
    pub subscribed: bool,
    /// Since when a response waits for its answer.
    pub in_flight: Option<OffsetDateTime>,
    /// By name.
    pub resources: BTreeMap<Arc<str>, ResourceRecord>,
    /// Names it asked for and may not have.
    pub denied: BTreeSet<Arc<str>>,
}

/// One resource on one stream.
#[derive(Clone, Debug, Default)]
pub struct ResourceRecord {
    /// What was last sent.
    pub sent: Option<Event>,
    /// What was last acknowledged: what the client runs.
    pub acknowledged: Option<Event>,
    /// What was last refused, while nothing else has been acknowledged.
    pub rejected: Option<Refusal>,
}

/// A version of a resource, and when something happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The version.
    pub version: Version,
    /// The serial number of the certificate in it, where there is one.
    pub serial: Option<Arc<str>>,
    /// When. The newest changes keep their own times; of those before them it is known that it was not later than this.
    pub at: OffsetDateTime,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The refused version.
    pub version: Version,
    /// The client's own words.
    pub error: Arc<str>,
    /// When.
    pub at: OffsetDateTime,
    /// How many others were in the refused response. If any, this one is only under suspicion: what is good among them is
    /// found out by sending them in smaller responses. Lists of clusters and listeners in the state-of-the-world variant cannot be
    /// divided; there the suspicion stays until the next list.
    pub others: usize,
}

/// How far a client is with what it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It never asked.
    NotSent,
    /// It has acknowledged the newest.
    Synced,
    /// It has not answered yet.
    Stale,
    /// It refused the newest.
    Rejected,
}

impl ResourceRecord {
    /// How far the client is with this resource.
    pub fn state(&self) -> State {
        let version = |event: &Option<Event>| event.as_ref().map(|event| event.version);
        match &self.rejected {
            Some(refusal) if Some(refusal.version) == version(&self.sent) => State::Rejected,
            _ if version(&self.sent) == version(&self.acknowledged) => State::Synced,
            _ => State::Stale,
        }
    }
}

impl TypeRecord {
    /// The worst of its resources.
    pub fn state(&self) -> State {
        if !self.subscribed {
            return State::NotSent;
        }
        let initial = if self.in_flight.is_some() { State::Stale } else { State::Synced };
        self.resources.values().map(ResourceRecord::state).fold(initial, State::max)
    }

    /// The refusals that still stand, in the client's words.
    pub fn errors(&self) -> impl Iterator<Item = (&str, &str)> {
        self.resources.iter().filter_map(|(name, held)| match (&held.rejected, held.state()) {
            (Some(refusal), State::Rejected) => Some((&**name, &*refusal.error)),
            _ => None,
        })
    }

    /// One version for everything acknowledged, the same for clients that hold the same.
    pub fn version(&self) -> Option<Version> {
        let held =
            self.resources.iter().filter_map(|(name, held)| Some((&**name, held.acknowledged.as_ref()?.version)));
        (!self.resources.is_empty()).then(|| Version::of_set(held))
    }
}

impl StreamRecord {
    /// What is known of one type.
    pub fn of(&self, ty: ResourceType) -> &TypeRecord {
        &self.types[ty as usize]
    }
}
