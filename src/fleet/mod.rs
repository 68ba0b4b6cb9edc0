//! Every connected proxy: what it was sent, what it acknowledged and what it refused.
//!
//! The fleet learns from the streams alone, through [`Observer`]. When a stream ends, what is kept of it is when it was last seen and
//! which secrets it had. It answers two questions: what does each proxy run ([`Fleet::streams`]), and has everyone who is connected
//! acknowledged this version of that resource, and if not, who and why ([`Fleet::adoption`])?

mod adoption;
mod books;
mod departed;
mod ledger;
mod memories;
mod observer;
mod record;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use time::OffsetDateTime;
use tokio::sync::watch;

pub use adoption::{Adoption, Missing, Reason};
pub use books::Books;
pub use departed::Departed;
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
            next: AtomicU64::new(0),
            answers: watch::Sender::new(0),
            departures: Mutex::default(),
            memories: Mutex::default(),
            clock,
        }
    }

    /// Takes a new stream into the books. It leaves them when the observer is dropped.
    pub fn join(self: &Arc<Self>, description: Description) -> Observer {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let ledger = Arc::new(Mutex::new(Ledger::new(description)));
        self.streams.insert(id, Arc::clone(&ledger));
        Observer::new(Arc::clone(self), id, ledger)
    }

    /// A copy of every stream's record, by workload and then by age.
    pub fn streams(&self) -> Vec<StreamRecord> {
        let mut streams: Vec<_> =
            self.streams.iter().map(|entry| (*entry.key(), read(entry.value(), Ledger::record))).collect();
        streams.sort_by(|(left_id, left), (right_id, right)| {
            (&left.description.workload, left_id).cmp(&(&right.description.workload, right_id))
        });
        streams.into_iter().map(|(_, record)| record).collect()
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
    /// by workload or identity; `None` leaves the stream out of the question.
    pub fn adoption(
        &self,
        ty: ResourceType,
        name: &str,
        expected: impl Fn(&Description) -> Option<Version>,
    ) -> Adoption {
        let mut connected = HashSet::new();
        let (mut acknowledged, mut missing) = (0, Vec::new());
        for entry in &self.streams {
            read(entry.value(), |ledger| {
                connected.insert(departed::key(&ledger.description));
                let Some(version) = expected(&ledger.description) else { return };
                match ledger.of(ty).reason(name, version) {
                    None => acknowledged += 1,
                    Some(reason) => {
                        let description = Arc::clone(&ledger.description);
                        missing.push(Missing { stream: *entry.key(), description, reason });
                    }
                }
            });
        }
        missing.sort_by(|left, right| {
            (&left.description.workload, left.stream).cmp(&(&right.description.workload, right.stream))
        });
        let departures = self.departures();
        let gone = departures.iter().filter(|gone| !connected.contains(&departed::key(&gone.description)));
        Adoption { acknowledged, missing, gone: gone.cloned().collect(), forgotten: departures.forgotten() }
    }

    /// Asks every stream's books the same question.
    pub fn ask<T>(&self, mut question: impl FnMut(&Description, Books<'_>) -> T) -> Vec<T> {
        let ask = |entry: dashmap::mapref::multiple::RefMulti<'_, u64, Shared>| {
            read(entry.value(), |ledger| question(&ledger.description, Books::new(ledger)))
        };
        self.streams.iter().map(ask).collect()
    }

    /// Whether the workload is connected and each of its streams has acknowledged this version of a resource.
    pub fn acknowledged(&self, workload: &str, ty: ResourceType, name: &str, version: Version) -> bool {
        let answers = self.streams.iter().filter_map(|entry| {
            read(entry.value(), |ledger| {
                (ledger.description.workload == workload).then(|| ledger.of(ty).reason(name, version).is_none())
            })
        });
        answers.reduce(|all, one| all && one).unwrap_or(false)
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
