//! Every connected proxy: what it was sent, what it acknowledged and what it refused.
//!
//! The fleet learns from the streams alone, through [`Observer`]. When a stream ends, what is kept of it is when it was last seen and
//! which secrets it had. It answers two questions: what does each proxy run ([`Fleet::look`]), and has everyone who is connected
//! acknowledged this version of that resource, and if not, who and why ([`Fleet::adoption`])?

mod adoption;
mod departed;
mod ledger;
mod look;
mod memories;
mod observer;
mod record;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use time::OffsetDateTime;
use tokio::sync::watch;

pub use adoption::{Adoption, Missing, Reason};
pub use departed::Departed;
pub use look::Look;
pub use observer::Observer;
pub use record::{Description, Event, Refusal, ResourceRecord, State, StreamRecord, TypeRecord};

use crate::xds::{ResourceType, Version};
use departed::Departures;
use ledger::Ledger;
use memories::Memories;

/// Where the time comes from.
pub type Clock = Arc<dyn Fn() -> OffsetDateTime + Send + Sync>;

/// A ledger that its stream writes and the fleet reads.
type Shared = Arc<Mutex<Ledger>>;

/// The connected proxies.
pub struct Fleet {
    streams: DashMap<u64, Shared>,
    /// The streams of each workload.
    workloads: DashMap<String, Vec<u64>>,
    next: AtomicU64,
    answers: watch::Sender<u64>,
    departures: Mutex<Departures>,
    memories: Mutex<Memories>,
    clock: Clock,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("streams", &self.streams.len()).finish_non_exhaustive()
    }
}

impl Fleet {
    /// A fleet of nobody, on this clock.
    pub fn new(clock: Clock) -> Self {
        Self {
            streams: DashMap::new(),
            workloads: DashMap::new(),
            next: AtomicU64::new(0),
            answers: watch::Sender::new(0),
            departures: Mutex::default(),
            memories: Mutex::default(),
            clock,
        }
    }

    /// Takes a new stream into the books, as of now. It leaves them when the observer is dropped.
    pub fn join(self: &Arc<Self>, mut description: Description) -> Observer {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.workloads.entry(description.workload.clone()).or_default().push(id);
        // A look that does not see the stream has begun before: the place is locked until the stream is there.
        let place = self.streams.entry(id);
        description.connected_since = (self.clock)();
        let ledger = Arc::new(Mutex::new(Ledger::new(description)));
        drop(place.insert(Arc::clone(&ledger)));
        Observer::new(Arc::clone(self), id, ledger)
    }

    /// Looks at every stream, and returns what was of interest, by workload and then by age. `look` must be quick: the stream that
    /// it looks at waits.
    pub fn look<T>(&self, mut look: impl FnMut(Look<'_>) -> Option<T>) -> Vec<T> {
        let mut found: Vec<_> = Vec::new();
        for entry in &self.streams {
            read(entry.value(), |ledger| {
                if let Some(it) = look(Look { ledger }) {
                    found.push((Arc::clone(&ledger.description), *entry.key(), it));
                }
            });
        }
        found.sort_by(|(left, left_id, _), (right, right_id, _)| {
            (&left.workload, left_id).cmp(&(&right.workload, right_id))
        });
        found.into_iter().map(|(.., it)| it).collect()
    }

    /// A copy of every stream's record, by workload and then by age.
    pub fn streams(&self) -> Vec<StreamRecord> {
        self.look(|stream| Some(stream.record()))
    }

    /// How many streams are open.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether no stream is open.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Who has acknowledged a version of a resource, and who has not, and why. `expected` says which version a stream should have,
    /// by workload or identity; `None` leaves the stream out of the question. Where a client has a stream for each secret, the one that
    /// asks for this one counts.
    pub fn adoption(
        &self,
        ty: ResourceType,
        name: &str,
        expected: impl Fn(&Description) -> Option<Version>,
    ) -> Adoption {
        let now = (self.clock)();
        let (mut connected, mut users) = (HashSet::new(), HashSet::new());
        let (mut acknowledged, mut missing, mut silent) = (0, Vec::new(), Vec::new());
        for entry in &self.streams {
            read(entry.value(), |ledger| {
                connected.insert(departed::key(&ledger.description));
                let Some(version) = expected(&ledger.description) else { return };
                let client = memories::key(&ledger.description);
                let Some(reason) = ledger.of(ty).reason(name, version) else {
                    acknowledged += 1;
                    users.insert(client);
                    return;
                };
                let it = Missing { stream: *entry.key(), description: Arc::clone(&ledger.description), reason };
                if let Reason::NotSubscribed = it.reason {
                    silent.push((client, Look { ledger }.is_settled(now), it));
                } else {
                    users.insert(client);
                    missing.push(it);
                }
            });
        }
        let mut unused = BTreeMap::new();
        for (client, is_settled, it) in silent {
            if users.contains(&client) {
                continue;
            } else if ty == ResourceType::Secret && is_settled {
                unused.insert(client, it.description);
            } else {
                missing.push(it);
            }
        }
        missing.sort_by(|left, right| {
            (&left.description.workload, left.stream).cmp(&(&right.description.workload, right.stream))
        });
        let departures = self.departures();
        let gone = departures.iter().filter(|gone| !connected.contains(&departed::key(&gone.description)));
        let (gone, unused) = (gone.cloned().collect(), unused.into_values().collect());
        Adoption { acknowledged, missing, unused, gone, forgotten: departures.forgotten() }
    }

    /// Whether the workload is connected, and each of its streams that uses a resource, by one of its names, has acknowledged this version
    /// of it. A gRPC client, or a stream for another secret, does not use it.
    pub fn acknowledged(&self, workload: &str, ty: ResourceType, names: &[(Arc<str>, Version)]) -> bool {
        let streams = self.workloads.get(workload).map(|ids| ids.clone()).unwrap_or_default();
        let reason = |ledger: &Shared, name: &str, version| read(ledger, |ledger| ledger.of(ty).reason(name, version));
        let mut has = false;
        for id in streams {
            // A stream that is just coming or going: there is another look when it has.
            let Some(ledger) = self.streams.get(&id) else { return false };
            for (name, version) in names {
                match reason(&ledger, name, *version) {
                    None => has = true,
                    Some(Reason::NotSubscribed) => {}
                    Some(_) => return false,
                }
            }
        }
        has
    }

    /// Changes each time a client answers or leaves: what waits for an acknowledgement looks again.
    pub fn answers(&self) -> watch::Receiver<u64> {
        self.answers.subscribe()
    }

    fn answered(&self) {
        self.answers.send_modify(|count| *count += 1);
    }

    fn leave(&self, id: u64) {
        if let Some((_, ledger)) = self.streams.remove(&id) {
            let gone = read(&ledger, |ledger| ledger.depart((self.clock)()));
            self.workloads.entry(gone.description.workload.clone()).and_modify(|ids| ids.retain(|of| *of != id));
            self.workloads.remove_if(&gone.description.workload, |_, ids| ids.is_empty());
            self.departures().insert(gone);
        }
        self.answered();
    }

    fn memories(&self) -> std::sync::MutexGuard<'_, Memories> {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn departures(&self) -> std::sync::MutexGuard<'_, Departures> {
        self.departures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// A ledger is plain data: after a panic elsewhere it is as good as before.
fn read<T>(ledger: &Shared, with: impl FnOnce(&Ledger) -> T) -> T {
    with(&ledger.lock().unwrap_or_else(PoisonError::into_inner))
}

fn write<T>(ledger: &Shared, with: impl FnOnce(&mut Ledger) -> T) -> T {
    with(&mut ledger.lock().unwrap_or_else(PoisonError::into_inner))
}
