//! The open connections to the xDS port: who is at the other end, by which certificate, and a way to end them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use time::OffsetDateTime;
use tokio::sync::Notify;

use crate::identity::{Peer, PeerCertificate, SpiffeId};

/// Every open connection of an authenticated peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    open: DashMap<u64, Entry>,
    next: AtomicU64,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) id: SpiffeId,
    pub(super) certificate: PeerCertificate,
    pub(super) opened_at: OffsetDateTime,
    end: Arc<Notify>,
}

/// A connection's place among the open ones; dropping it gives it up.
#[derive(Debug)]
pub(super) struct Guard {
    peers: Peers,
    number: u64,
    end: Arc<Notify>,
}

impl Peers {
    /// Takes a connection in. `None` for a peer that has shown no certificate.
    pub(super) fn enter(&self, peer: &Peer, now: OffsetDateTime) -> Option<Guard> {
        let Peer::Authenticated { id, certificate: Some(certificate) } = peer else { return None };
        let (number, end) = (self.0.next.fetch_add(1, Ordering::Relaxed), Arc::new(Notify::new()));
        let (id, certificate) = (id.clone(), certificate.clone());
        self.0.open.insert(number, Entry { id, certificate, opened_at: now, end: Arc::clone(&end) });
        Some(Guard { peers: self.clone(), number, end })
    }

    /// A copy of the books, by identity.
    pub(super) fn by_identity(&self) -> HashMap<String, Vec<Entry>> {
        let mut all: HashMap<String, Vec<Entry>> = HashMap::new();
        for entry in &self.0.open {
            all.entry(entry.id.to_string()).or_default().push(entry.value().clone());
        }
        all
    }

    /// Ends the connections of which `which` holds. How many there were.
    pub(super) fn end(&self, which: impl Fn(&Entry) -> bool) -> usize {
        let ended = self.0.open.iter().filter(|entry| which(entry.value()));
        ended.map(|entry| entry.value().end.notify_one()).count()
    }
}

impl Guard {
    /// Resolves when the connection is to end.
    pub(super) async fn ended(&self) {
        self.end.notified().await;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.peers.0.open.remove(&self.number);
    }
}
