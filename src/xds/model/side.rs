//! The server's side of a history.

use super::super::{Outcome, ResourceType, Response, Session, Subscription, View};

/// The protocol state of one client's streams, one after the other; in tests of the model itself, with a fault in it.
pub(in crate::xds) trait Side<S: Subscription>: Default {
    fn on_request(&mut self, ty: ResourceType, request: S::Request, view: &View) -> Outcome;

    fn next_response(&mut self, view: &View) -> Option<Response>;

    /// The stream has ended, and the client's next begins.
    fn reconnect(&mut self);

    /// Tells of what the client is in step with, as it is told to the fleet: here only that telling is harmless.
    fn tell(&mut self);
}

impl<S: Subscription> Side<S> for Session<S> {
    fn on_request(&mut self, ty: ResourceType, request: S::Request, view: &View) -> Outcome {
        self.on_request(ty, request, view)
    }

    fn next_response(&mut self, view: &View) -> Option<Response> {
        self.next_response(view)
    }

    fn reconnect(&mut self) {
        *self = Self::new(self.memory());
    }

    fn tell(&mut self) {
        self.settled().for_each(|(_, holdings)| drop(holdings.resources()));
    }
}
