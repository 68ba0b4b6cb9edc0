//! Every connected proxy: what it was sent, what it acknowledged and what it refused.
//!
//! The fleet learns from the streams alone, through [`Observer`], and forgets a stream when it ends. It answers two questions:
//! what does each proxy run ([`Fleet::streams`]), and has everyone who is connected acknowledged this version of that
//! resource ([`Fleet::acknowledged`])?

mod observer;
mod record;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use tokio::sync::watch;

pub use observer::Observer;
pub use record::{Description, ResourceRecord, State, StreamRecord, TypeRecord};

use crate::xds::{ResourceType, Version};
use record::Shared;

/// The connected proxies.
#[derive(Debug)]
pub struct Fleet {
    streams: DashMap<u64, Shared>,
    next: AtomicU64,
    answers: watch::Sender<u64>,
}

impl Default for Fleet {
    fn default() -> Self {
        Self { streams: DashMap::new(), next: AtomicU64::new(0), answers: watch::Sender::new(0) }
    }
}

impl Fleet {
    /// Takes a new stream into the books. It leaves them when the observer is dropped.
    pub fn join(self: &Arc<Self>, description: Description) -> Observer {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let record = record::shared(StreamRecord::new(description));
        self.streams.insert(id, Arc::clone(&record));
        Observer::new(Arc::clone(self), id, record)
    }

    /// A copy of every stream's record, by workload and then by age.
    pub fn streams(&self) -> Vec<StreamRecord> {
        let mut streams: Vec<_> =
            self.streams.iter().map(|entry| (*entry.key(), record::copy(entry.value()))).collect();
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

    /// Whether the workload is connected and each of its streams has acknowledged this version of a resource.
    pub fn acknowledged(&self, workload: &str, ty: ResourceType, name: &str, version: Version) -> bool {
        let mut any = false;
        let all = self.streams.iter().all(|entry| {
            record::read(entry.value(), |record| {
                if record.description.workload != workload {
                    return true;
                }
                any = true;
                record.types[ty as usize].resources.get(name).and_then(|held| held.acknowledged) == Some(version)
            })
        });
        any && all
    }

    /// Changes each time a client answers or leaves: what waits for an acknowledgement looks again.
    pub fn answers(&self) -> watch::Receiver<u64> {
        self.answers.subscribe()
    }

    fn answered(&self) {
        self.answers.send_modify(|count| *count += 1);
    }

    fn leave(&self, id: u64) {
        self.streams.remove(&id);
        self.answered();
    }
}
