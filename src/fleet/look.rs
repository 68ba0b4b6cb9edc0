//! A look at one stream's books where they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use time::{Duration, OffsetDateTime};

use super::ledger::Ledger;
use super::{Description, Reason, ResourceRecord, State, StreamRecord};
use crate::xds::{ResourceType, Version};

/// A client that has not asked for a secret this long after its stream began does not use it. Envoy waits 15 seconds for what it
/// lacks before it goes on to the next type.
const SETTLED: Duration = Duration::seconds(16);

/// One stream, to be looked at while its books are open: nothing is copied that is not asked for.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    pub(super) ledger: &'a Ledger,
}

impl Look<'_> {
    /// Who is at the other end.
    pub fn description(&self) -> &Arc<Description> {
        &self.ledger.description
    }

    /// How far the client is with a type.
    pub fn state(&self, ty: ResourceType) -> State {
        self.ledger.of(ty).state()
    }

    /// What is known of one resource; `None` if it was never sent, or is gone.
    pub fn resource(&self, ty: ResourceType, name: &str) -> Option<ResourceRecord> {
        self.ledger.of(ty).resource(name)
    }

    /// What is known of every resource of a type, by name.
    pub fn resources(&self, ty: ResourceType) -> BTreeMap<Arc<str>, ResourceRecord> {
        self.ledger.of(ty).resources()
    }

    /// Whether the client has asked for all that it is going to ask for, as far as it is known now: what it has not asked for it does
    /// not use.
    ///
    /// A client of all types asks for the secrets of its clusters and listeners when it has taken these. One that asks for secrets, and
    /// has asked for neither clusters nor listeners, has a stream for secrets alone.
    pub fn is_settled(&self, now: OffsetDateTime) -> bool {
        let [clusters, listeners] = [ResourceType::Cluster, ResourceType::Listener].map(|ty| self.state(ty));
        let is_fed = match (clusters, listeners) {
            (State::NotSent, State::NotSent) => self.state(ResourceType::Secret) != State::NotSent,
            both => both == (State::Synced, State::Synced),
        };
        is_fed && self.has_had_time(now)
    }

    /// Whether the client has been here for long enough to ask for whatever it uses.
    pub fn has_had_time(&self, now: OffsetDateTime) -> bool {
        self.description().connected_since + SETTLED <= now
    }

    /// Why it is not certain that the client has this version and will have it, were nothing more to be sent; `None` if it is. One that has
    /// acknowledged it, and is sent another now, is not certain to have it.
    pub fn lacks(&self, ty: ResourceType, name: &str, version: Version) -> Option<Reason> {
        let of_type = self.ledger.of(ty);
        if of_type.is_at(name, version) {
            return None;
        }
        let superseded =
            || Reason::InFlight { since: of_type.in_flight().unwrap_or(self.description().connected_since) };
        Some(of_type.reason(name, version).unwrap_or_else(superseded))
    }

    /// Whether the client has asked for a type and has not been in step with it since. It may be held back until it has acknowledged
    /// another, for however long that takes: what it lacks it is going to get.
    pub fn is_beginning(&self, ty: ResourceType) -> bool {
        self.ledger.of(ty).is_beginning()
    }

    /// Whether a response of a type waits for its answer.
    pub fn is_waiting(&self, ty: ResourceType) -> bool {
        self.ledger.of(ty).in_flight().is_some()
    }

    /// A copy of everything.
    pub fn record(&self) -> StreamRecord {
        self.ledger.record()
    }
}
