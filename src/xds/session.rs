//! One stream: its types, and the order in which a change crosses them.

use std::sync::Arc;
use std::time::Instant;

use super::holdings::Holdings;
use super::wire::Response;
use super::{Memory, Outcome, Removals, Resource, ResourceType, Subscription, View};

/// Heartbeats in the time a resource lives, so that one that is late does no harm.
const BEATS: u32 = 3;

/// The protocol state of one stream. Pure: requests and views go in, responses come out.
pub struct Session<S> {
    subscriptions: [Option<S>; ResourceType::ALL.len()],
    beats: [Option<Instant>; ResourceType::ALL.len()],
    /// The types of which the client has something from an earlier stream. How long it has not heard of that, nobody knows.
    overdue: [bool; ResourceType::ALL.len()],
    /// Whether the client has been sent anything that lives for a time only: otherwise nothing needs a heartbeat.
    has_mortal: bool,
    /// Of the types that have not been asked for yet.
    memory: Option<Box<Memory>>,
}

impl<S: Subscription> Default for Session<S> {
    fn default() -> Self {
        Self::new(Memory::default())
    }
}

impl<S: Subscription> Session<S> {
    /// A stream of a client of which this is remembered.
    pub fn new(memory: Memory) -> Self {
        let memory = (!memory.is_empty()).then(|| Box::new(memory));
        let (subscriptions, beats) = (std::array::from_fn(|_| None), [None; ResourceType::ALL.len()]);
        Self { subscriptions, beats, overdue: [false; ResourceType::ALL.len()], has_mortal: false, memory }
    }

    /// What is to be remembered for the client's next stream, were this one to end now.
    pub fn memory(&self) -> Memory {
        let mut memory = self.memory.as_deref().cloned().unwrap_or_default();
        for (ty, subscription) in ResourceType::ALL.into_iter().zip(&self.subscriptions) {
            if let Some(subscription) = subscription {
                memory.set(ty, subscription.memory());
            }
        }
        memory
    }

    /// Takes a request of one type into account.
    pub fn on_request(&mut self, ty: ResourceType, request: S::Request, view: &View) -> Outcome {
        let memory = &mut self.memory;
        let mut recall = || memory.as_mut().map(|memory| memory.take(ty)).unwrap_or_default();
        let subscription = self.subscriptions[ty.index()].get_or_insert_with(|| S::new(ty, recall()));
        let replacing = subscription.is_replacing();
        let outcome = subscription.on_request(request, view);
        if let Outcome::Resumed(has) = &outcome {
            let is_mortal = has.iter().any(|resource| resource.ttl().is_some());
            self.has_mortal |= is_mortal;
            self.overdue[ty.index()] |= is_mortal;
        }
        if ty == ResourceType::Secret
            && replacing
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
        // name goes when they have been acknowledged. A client that refused one still runs the old, with all that it names.
        if !(self.is_idle(Cluster) && self.is_idle(Endpoint)) {
            return None;
        }
        for ty in [Listener, Route] {
            if let Some(response) = self.respond(ty, view, Removals::Send) {
                return Some(response);
            }
        }
        if [Listener, Route].into_iter().any(|ty| !self.is_idle(ty) || self.is_refused(ty)) {
            return None;
        }
        [Cluster, Endpoint, Secret].into_iter().find_map(|ty| self.respond(ty, view, Removals::Send))
    }

    /// How many names of a type the client is subscribed to.
    pub fn names(&self, ty: ResourceType) -> usize {
        self.subscriptions[ty.index()].as_ref().map_or(0, Subscription::names)
    }

    /// What these names take, in bytes.
    pub fn name_bytes(&self, ty: ResourceType) -> usize {
        self.subscriptions[ty.index()].as_ref().map_or(0, Subscription::name_bytes)
    }

    /// The next heartbeat that is due at `now`, if any. Call it until it has none, when [`next_response`](Self::next_response)
    /// has none.
    pub fn heartbeat(&mut self, now: Instant) -> Option<Response> {
        if !self.has_mortal {
            return None;
        }
        ResourceType::ALL.into_iter().find_map(|ty| {
            let subscription = self.subscriptions[ty.index()].as_mut()?;
            let beat = &mut self.beats[ty.index()];
            let Some(ttl) = subscription.shortest_ttl() else {
                *beat = None;
                return None;
            };
            let overdue = &mut self.overdue[ty.index()];
            if *beat.get_or_insert(now + ttl / BEATS) > now && !*overdue {
                return None;
            }
            *beat = Some(now + ttl / BEATS);
            let response = subscription.heartbeat();
            *overdue &= response.is_none();
            response
        })
    }

    /// When [`heartbeat`](Self::heartbeat) is to be called next; `None` while nothing that the client has needs one.
    pub fn next_heartbeat(&self) -> Option<Instant> {
        self.beats.iter().flatten().min().copied()
    }

    /// What the client has of each type with which it has come into step since this was last asked.
    pub fn settled(&mut self) -> impl Iterator<Item = (ResourceType, &Holdings)> {
        let all = ResourceType::ALL.into_iter().zip(&mut self.subscriptions);
        all.filter_map(|(ty, subscription)| Some((ty, subscription.as_mut()?.take_settled()?)))
    }

    fn at(&mut self, ty: ResourceType) -> Option<&mut S> {
        self.subscriptions[ty.index()].as_mut()
    }

    fn is_idle(&self, ty: ResourceType) -> bool {
        self.subscriptions[ty.index()].as_ref().is_none_or(Subscription::is_idle)
    }

    fn is_refused(&self, ty: ResourceType) -> bool {
        self.subscriptions[ty.index()].as_ref().is_some_and(Subscription::is_refused)
    }

    fn respond(&mut self, ty: ResourceType, view: &View, removals: Removals) -> Option<Response> {
        let response = self.at(ty)?.respond(view, removals)?;
        let is_mortal = |resource: &Option<Arc<Resource>>| resource.as_ref().is_some_and(|it| it.ttl().is_some());
        self.has_mortal |= response.contents.iter().any(|(_, resource)| is_mortal(resource));
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
