//! What is known of one stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use time::OffsetDateTime;

use crate::xds::{NodeInfo, Outcome, ResourceType, Response, Version};

/// Who is at the other end of a stream.
#[derive(Clone, Debug)]
pub struct Description {
    /// The workload it speaks for, `namespace/name`.
    pub workload: String,
    /// The authenticated identity; `None` on a plaintext connection.
    pub identity: Option<String>,
    /// What it said of itself.
    pub node: NodeInfo,
    /// When its stream began.
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
    /// Whether a response waits for its answer.
    pub in_flight: bool,
    /// By name.
    pub resources: BTreeMap<Arc<str>, ResourceRecord>,
    /// Names it asked for and may not have.
    pub denied: BTreeSet<Arc<str>>,
}

/// One resource on one stream.
#[derive(Clone, Debug, Default)]
pub struct ResourceRecord {
    /// The version last sent.
    pub sent: Option<Version>,
    /// The version last acknowledged: what the client runs.
    pub acknowledged: Option<Version>,
    /// The version last refused, and the client's words.
    pub rejected: Option<(Version, String)>,
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
        match &self.rejected {
            Some((version, _)) if Some(*version) == self.sent => State::Rejected,
            _ if self.sent == self.acknowledged => State::Synced,
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
        let initial = if self.in_flight { State::Stale } else { State::Synced };
        self.resources.values().map(ResourceRecord::state).fold(initial, State::max)
    }

    /// The refusals that still stand, in the client's words.
    pub fn errors(&self) -> impl Iterator<Item = (&str, &str)> {
        self.resources.iter().filter_map(|(name, held)| match (&held.rejected, held.state()) {
            (Some((_, error)), State::Rejected) => Some((&**name, error.as_str())),
            _ => None,
        })
    }

    /// One version for everything acknowledged, the same for clients that hold the same.
    pub fn version(&self) -> Option<Version> {
        let held = self.resources.iter().filter_map(|(name, held)| Some((&**name, held.acknowledged?)));
        (!self.resources.is_empty()).then(|| Version::of_set(held))
    }
}

impl StreamRecord {
    pub(super) fn new(description: Description) -> Self {
        Self { description, types: std::array::from_fn(|_| TypeRecord::default()) }
    }

    /// What is known of one type.
    pub fn of(&self, ty: ResourceType) -> &TypeRecord {
        &self.types[ty as usize]
    }

    pub(super) fn sent(&mut self, response: &Response) {
        let record = &mut self.types[response.ty as usize];
        record.in_flight = true;
        for (name, version) in &response.contents {
            match version {
                Some(version) => record.resources.entry(Arc::clone(name)).or_default().sent = Some(*version),
                None => drop(record.resources.remove(name)),
            }
        }
    }

    pub(super) fn answered(&mut self, ty: ResourceType, outcome: &Outcome) {
        let record = &mut self.types[ty as usize];
        record.subscribed = true;
        match outcome {
            Outcome::Request | Outcome::Stale => {}
            Outcome::Resumed(has) => {
                let resumed = has.iter().map(|(name, version)| {
                    let (sent, acknowledged) = (Some(*version), Some(*version));
                    (Arc::clone(name), ResourceRecord { sent, acknowledged, rejected: None })
                });
                record.resources.extend(resumed);
            }
            Outcome::Acknowledged(contents) => {
                record.in_flight = false;
                for (name, version) in contents {
                    if let Some(held) = record.resources.get_mut(name) {
                        held.acknowledged = *version;
                    }
                }
            }
            Outcome::Rejected { resources, error } => {
                record.in_flight = false;
                for (name, version) in resources {
                    if let (Some(held), Some(version)) = (record.resources.get_mut(name), version) {
                        held.rejected = Some((*version, error.clone()));
                    }
                }
            }
        }
    }
}

/// A record that its stream writes and the fleet reads.
pub(super) type Shared = Arc<Mutex<StreamRecord>>;

pub(super) fn shared(record: StreamRecord) -> Shared {
    Arc::new(Mutex::new(record))
}

// A record is plain data: after a panic elsewhere it is as good as before.
pub(super) fn read<T>(record: &Shared, with: impl FnOnce(&StreamRecord) -> T) -> T {
    with(&record.lock().unwrap_or_else(PoisonError::into_inner))
}

pub(super) fn write<T>(record: &Shared, with: impl FnOnce(&mut StreamRecord) -> T) -> T {
    with(&mut record.lock().unwrap_or_else(PoisonError::into_inner))
}

pub(super) fn copy(record: &Shared) -> StreamRecord {
    read(record, StreamRecord::clone)
}
