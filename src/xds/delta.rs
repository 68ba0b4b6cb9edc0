//! The incremental variant (`DeltaDiscoveryRequest`): one type's subscription.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::interest::{Interest, WILDCARD};
use super::view::Lookup;
use super::wire::Response;
use super::{Outcome, Removals, Resource, ResourceType, Subscription, Version, View};

/// A `DeltaDiscoveryRequest`, reduced to what concerns its type.
#[derive(Clone, Debug, Default)]
pub struct DeltaRequest {
    /// `response_nonce`; empty when it answers nothing.
    pub nonce: String,
    /// `error_detail.message`: the response was refused.
    pub error: Option<String>,
    /// `resource_names_subscribe`.
    pub subscribe: Vec<String>,
    /// `resource_names_unsubscribe`.
    pub unsubscribe: Vec<String>,
    /// `initial_resource_versions`: what a client that comes back already has. Counts on a stream's first request of a type.
    pub initial_versions: HashMap<String, String>,
}

/// What the client has under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// This version, or one that is none of ours (from another server).
    Version(Option<Version>),
    /// It has been told that there is none.
    Absent,
}

struct InFlight {
    nonce: u64,
    contents: Vec<(Arc<str>, Option<Version>)>,
    before: Vec<Option<Held>>,
}

/// One type's delta subscription on one stream.
pub struct DeltaSubscription {
    ty: ResourceType,
    interest: Interest,
    started: bool,
    /// A wildcard client waits for its first answer even when there is nothing to tell.
    greet: bool,
    held: HashMap<Arc<str>, Held>,
    resend: BTreeSet<Arc<str>>,
    rejected: HashMap<Arc<str>, Version>,
    alone: BTreeSet<Arc<str>>,
    in_flight: Option<InFlight>,
    last_nonce: u64,
    /// The view for which, and the removals with which, there was nothing to send.
    settled: Option<(Option<Version>, Removals)>,
}

impl DeltaSubscription {
    fn start(&mut self, request: &DeltaRequest) {
        self.started = true;
        for (name, version) in &request.initial_versions {
            self.held.insert(name.as_str().into(), Held::Version(Version::parse(version)));
        }
        if request.subscribe.is_empty() && self.ty.is_full_state() {
            self.interest.wildcard = true;
        }
        for name in &request.subscribe {
            if name == WILDCARD {
                self.interest.wildcard = true;
            } else {
                // A name that comes with a version is no new wish: silence is the answer if it is still that version.
                self.interest.names.insert(name.as_str().into());
            }
        }
        self.greet = self.interest.wildcard && request.initial_versions.is_empty();
    }

    /// What the client has brought along and is still what it should have.
    fn resumed(&self, view: &View) -> Outcome {
        let current = self.held.iter().filter_map(|(name, held)| {
            let resource = view.get(self.ty, name)?;
            let same = *held == Held::Version(Some(resource.version())) && self.interest.covers(name);
            same.then(|| (Arc::clone(resource.name()), resource.version()))
        });
        let current: Vec<_> = current.collect();
        if current.is_empty() { Outcome::Request } else { Outcome::Resumed(current) }
    }

    fn subscribe(&mut self, name: &str) {
        if name == WILDCARD {
            self.interest.wildcard = true;
            self.greet = true;
            return;
        }
        let name: Arc<str> = name.into();
        self.rejected.remove(&name);
        self.resend.insert(Arc::clone(&name));
        self.interest.names.insert(name);
    }

    fn unsubscribe(&mut self, name: &str) {
        if name == WILDCARD {
            self.interest.wildcard = false;
            let names = &self.interest.names;
            self.held.retain(|name, _| names.contains(name));
            self.rejected.retain(|name, _| names.contains(name));
        } else if self.interest.names.remove(name) {
            if self.interest.wildcard {
                // The wildcard may still cover it; the client is told what it has now.
                self.resend.insert(name.into());
            } else {
                self.forget(name);
            }
        }
    }

    fn forget(&mut self, name: &str) {
        self.held.remove(name);
        self.rejected.remove(name);
        self.resend.remove(name);
        self.alone.remove(name);
    }

    fn answer(&mut self, nonce: &str, error: Option<String>) -> Outcome {
        let answered = self.in_flight.take_if(|flight| nonce.parse() == Ok(flight.nonce));
        let Some(flight) = answered else { return Outcome::Stale };
        let Some(error) = error else {
            for (name, _) in &flight.contents {
                self.alone.remove(name);
            }
            return Outcome::Acknowledged(flight.contents);
        };
        let single = flight.contents.len() == 1;
        for ((name, version), before) in flight.contents.iter().zip(flight.before) {
            if !self.interest.covers(name) {
                continue;
            }
            match before {
                Some(held) => self.held.insert(Arc::clone(name), held),
                None => self.held.remove(name),
            };
            if single {
                self.alone.remove(name);
                match version {
                    Some(version) => self.rejected.insert(Arc::clone(name), *version),
                    // A removal cannot be offered any better the next time.
                    None => {
                        self.held.insert(Arc::clone(name), Held::Absent);
                        None
                    }
                };
            } else {
                self.alone.insert(Arc::clone(name));
            }
        }
        Outcome::Rejected { resources: flight.contents, error }
    }

    fn wants(&self, resource: &Resource) -> bool {
        let held = self.held.get(resource.name());
        let current = held == Some(&Held::Version(Some(resource.version())));
        let refused = self.rejected.get(resource.name()) == Some(&resource.version());
        (!current || self.resend.contains(resource.name())) && !refused
    }

    fn due<'a>(&self, view: &'a View) -> Vec<&'a Arc<Resource>> {
        let mut due: Vec<_> = Vec::new();
        if self.interest.wildcard {
            due.extend(view.resources(self.ty).filter(|resource| self.wants(resource)));
        } else {
            let named = self.interest.names.iter().filter_map(|name| view.get(self.ty, name));
            due.extend(named.filter(|resource| self.wants(resource)));
        }
        due
    }

    fn gone(&self, view: &View, removals: Removals) -> Vec<Arc<str>> {
        let is_gone = |name: &str| matches!(view.lookup(self.ty, name), Lookup::Absent);
        // What was asked for by name and cannot exist is answered at once: the client stops waiting.
        let unknown = self.interest.names.iter().chain(&self.resend).filter(|name| {
            let answered = self.held.contains_key(*name) && !self.resend.contains(*name);
            !answered && is_gone(name)
        });
        let mut gone: Vec<_> = unknown.cloned().collect();
        if removals == Removals::Send {
            let held = self.held.iter().filter(|(name, held)| **held != Held::Absent && is_gone(name));
            gone.extend(held.map(|(name, _)| Arc::clone(name)));
        }
        gone.sort_unstable();
        gone.dedup();
        gone
    }

    /// What travels next: everything that is due, or one of those that were part of a refused response.
    fn isolate<'a>(&self, due: Vec<&'a Arc<Resource>>, gone: Vec<Arc<str>>) -> (Vec<&'a Arc<Resource>>, Vec<Arc<str>>) {
        if self.alone.is_empty() {
            return (due, gone);
        }
        let (alone_due, together_due): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|resource| self.alone.contains(resource.name()));
        let (alone_gone, together_gone): (Vec<_>, Vec<_>) =
            gone.into_iter().partition(|name| self.alone.contains(name));
        if !together_due.is_empty() || !together_gone.is_empty() {
            (together_due, together_gone)
        } else if let Some(first) = alone_due.into_iter().next() {
            (vec![first], Vec::new())
        } else {
            (Vec::new(), alone_gone.into_iter().take(1).collect())
        }
    }
}

impl Subscription for DeltaSubscription {
    type Request = DeltaRequest;

    fn new(ty: ResourceType) -> Self {
        Self {
            ty,
            interest: Interest::default(),
            started: false,
            greet: false,
            held: HashMap::new(),
            resend: BTreeSet::new(),
            rejected: HashMap::new(),
            alone: BTreeSet::new(),
            in_flight: None,
            last_nonce: 0,
            settled: None,
        }
    }

    fn on_request(&mut self, request: DeltaRequest, view: &View) -> Outcome {
        self.settled = None;
        if !self.started {
            self.start(&request);
            return self.resumed(view);
        }
        for name in &request.subscribe {
            self.subscribe(name);
        }
        for name in &request.unsubscribe {
            self.unsubscribe(name);
        }
        if request.nonce.is_empty() { Outcome::Request } else { self.answer(&request.nonce, request.error) }
    }

    fn respond(&mut self, view: &View, removals: Removals) -> Option<Response> {
        let stamp = view.stamp(self.ty);
        if !self.started || self.in_flight.is_some() || self.settled == Some((stamp, removals)) {
            return None;
        }
        let (due, gone) = self.isolate(self.due(view), self.gone(view, removals));
        if due.is_empty() && gone.is_empty() && !self.greet {
            self.settled = Some((stamp, removals));
            return None;
        }
        self.greet = false;
        self.last_nonce += 1;
        let due: Vec<_> = due.into_iter().cloned().collect();
        let response = Response::delta(self.ty, stamp, &due, &gone, self.last_nonce);
        let mut before = Vec::with_capacity(response.contents.len());
        for (name, version) in &response.contents {
            self.resend.remove(name);
            // An absence is remembered for names the client asked for; under a wildcard it is simply gone.
            let now = match version {
                Some(version) => Some(Held::Version(Some(*version))),
                None if self.interest.names.contains(name) => Some(Held::Absent),
                None => None,
            };
            before.push(match now {
                Some(held) => self.held.insert(Arc::clone(name), held),
                None => self.held.remove(name),
            });
        }
        self.in_flight = Some(InFlight { nonce: self.last_nonce, contents: response.contents.clone(), before });
        Some(response)
    }

    fn is_idle(&self) -> bool {
        self.in_flight.is_none()
    }

    fn names(&self) -> usize {
        self.interest.names.len()
    }

    fn refresh(&mut self, names: &[Arc<str>]) {
        self.settled = None;
        let known = names.iter().filter(|name| self.held.contains_key(*name) && self.interest.covers(name));
        self.resend.extend(known.cloned());
    }

    fn retry_rejected(&mut self) {
        self.settled = None;
        self.rejected.clear();
    }
}
