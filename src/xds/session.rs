//! One stream: its types, and the order in which a change crosses them.

use std::sync::Arc;

use super::wire::Response;
use super::{Outcome, Removals, ResourceType, Subscription, View};

/// The protocol state of one stream. Pure: requests and views go in, responses come out.
pub struct Session<S> {
    subscriptions: [Option<S>; ResourceType::ALL.len()],
}

impl<S: Subscription> Default for Session<S> {
    fn default() -> Self {
        Self { subscriptions: std::array::from_fn(|_| None) }
    }
}

impl<S: Subscription> Session<S> {
    /// Takes a request of one type into account.
    pub fn on_request(&mut self, ty: ResourceType, request: S::Request, view: &View) -> Outcome {
        let subscription = self.subscriptions[ty.index()].get_or_insert_with(|| S::new(ty));
        let outcome = subscription.on_request(request, view);
        if ty == ResourceType::Secret
            && let Outcome::Acknowledged(_) = outcome
        {
            // Envoy refuses a cluster or listener that refers to a secret it holds as bad, and does not come back to it when
            // the secret is mended. Offering them again costs nothing where none was refused.
            for ty in [ResourceType::Cluster, ResourceType::Listener] {
                if let Some(subscription) = self.at(ty) {
                    subscription.retry_rejected();
                }
            }
        }
        outcome
    }

    /// The next response that is due, if any. Call it until it has none: then everything the client may be sent now is on
    /// its way, and the next request or view brings more.
    pub fn next_response(&mut self, view: &View) -> Option<Response> {
        use ResourceType::{Cluster, Endpoint, Listener, Route, Secret};
        for ty in [Cluster, Endpoint, Secret] {
            if let Some(response) = self.respond(ty, view, Removals::Hold) {
                return Some(response);
            }
        }
        // Make before break: listeners and routes follow when the clusters they may name are there, and what they no longer
        // name goes when they have been acknowledged.
        if !(self.is_idle(Cluster) && self.is_idle(Endpoint)) {
            return None;
        }
        for ty in [Listener, Route] {
            if let Some(response) = self.respond(ty, view, Removals::Send) {
                return Some(response);
            }
        }
        if !(self.is_idle(Listener) && self.is_idle(Route)) {
            return None;
        }
        [Cluster, Endpoint, Secret].into_iter().find_map(|ty| self.respond(ty, view, Removals::Send))
    }

    /// How many names of a type the client is subscribed to.
    pub fn names(&self, ty: ResourceType) -> usize {
        self.subscriptions[ty.index()].as_ref().map_or(0, Subscription::names)
    }

    fn at(&mut self, ty: ResourceType) -> Option<&mut S> {
        self.subscriptions[ty.index()].as_mut()
    }

    fn is_idle(&self, ty: ResourceType) -> bool {
        self.subscriptions[ty.index()].as_ref().is_none_or(Subscription::is_idle)
    }

    fn respond(&mut self, ty: ResourceType, view: &View, removals: Removals) -> Option<Response> {
        let response = self.at(ty)?.respond(view, removals)?;
        if ty == ResourceType::Cluster {
            // A cluster that Envoy builds anew waits for its endpoints again, though its subscription to them never ended.
            let names: Vec<Arc<str>> = response.contents.iter().map(|(name, _)| Arc::clone(name)).collect();
            if let Some(endpoints) = self.at(ResourceType::Endpoint) {
                endpoints.refresh(&names);
            }
        }
        Some(response)
    }
}
