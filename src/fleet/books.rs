//! A look into one stream's books.

use super::Reason;
use super::ledger::Ledger;
use crate::xds::{ResourceType, Version};

/// What one stream has, at the moment of the look.
#[derive(Clone, Copy, Debug)]
pub struct Books<'a>(&'a Ledger);

impl<'a> Books<'a> {
    pub(super) fn new(ledger: &'a Ledger) -> Self {
        Self(ledger)
    }

    /// Why it is not certain that the client has this version and will have it, were nothing more to be sent: `None` if it is. A client
    /// that has acknowledged it and is on its way to another one does not count.
    pub fn lacks(self, ty: ResourceType, name: &str, version: Version) -> Option<Reason> {
        let of_type = self.0.of(ty);
        if of_type.is_at(name, version) {
            return None;
        }
        let acknowledged =
            || Reason::InFlight { since: of_type.in_flight().unwrap_or(self.0.description.connected_since) };
        Some(of_type.reason(name, version).unwrap_or_else(acknowledged))
    }

    /// Whether the client has asked for the type.
    pub fn is_subscribed(self, ty: ResourceType) -> bool {
        self.0.of(ty).is_subscribed()
    }

    /// Whether a response of the type waits for its answer.
    pub fn is_waiting(self, ty: ResourceType) -> bool {
        self.0.of(ty).in_flight().is_some()
    }
}
