//! The incremental variant (`DeltaDiscoveryRequest`): one type's subscription.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::holdings::{Entry, Holdings};
use super::interest::WILDCARD;
use super::memory::{Claim, TypeMemory};
use super::refusals::{Parcel, Refusals};
use super::subscription::Settled;
use super::view::{Lookup, TypeView};
use super::wire::{Content, Form, Response};
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

struct InFlight {
    nonce: u64,
    contents: Arc<[Content]>,
}

/// One type's delta subscription on one stream.
pub struct DeltaSubscription {
    ty: ResourceType,
    started: bool,
    /// A wildcard client waits for its first answer even when there is nothing to tell.
    greet: bool,
    holdings: Holdings,
    /// Names that are answered in any case.
    resend: BTreeSet<Arc<str>>,
    refusals: Refusals,
    /// What the client says of these on its first request is not believed.
    doubts: BTreeMap<Arc<str>, Claim>,
    /// Something that is due was refused.
    standing: bool,
    in_flight: Option<InFlight>,
    last_nonce: u64,
    settled: Settled,
}

impl DeltaSubscription {
    fn start(&mut self, request: &DeltaRequest, view: &TypeView) {
        self.started = true;
        let wildcard = request.subscribe.is_empty() && self.ty.is_full_state();
        self.holdings.set_wildcard(wildcard || request.subscribe.iter().any(|name| name == WILDCARD));
        // A name that comes with a version is no new wish: silence is the answer if it is still that version.
        for name in request.subscribe.iter().filter(|name| *name != WILDCARD) {
            self.holdings.subscribe(view.intern(name));
        }
        for (name, version) in &request.initial_versions {
            if self.holdings.covers(name) {
                self.holdings.set(view.intern(name), Entry::Brought(Version::parse(version)));
            }
        }
        for (name, claim) in std::mem::take(&mut self.doubts) {
            if !self.holdings.entry(&name).version().is_some_and(|version| claim.holds(version)) {
                self.holdings.doubt(&name);
            }
        }
        self.greet = self.holdings.interest.wildcard && request.initial_versions.is_empty();
    }

    /// What the client has brought along and is still what it should have.
    fn resumed(&self, request: &DeltaRequest, view: &TypeView) -> Outcome {
        let current = request.initial_versions.keys().filter_map(|name| {
            let resource = view.get(name).filter(|_| self.holdings.covers(name))?;
            let has = self.holdings.entry(name).version() == Some(resource.version());
            has.then(|| Arc::clone(resource))
        });
        let current: Vec<_> = current.collect();
        if current.is_empty() { Outcome::Request } else { Outcome::Resumed(current) }
    }

    fn subscribe(&mut self, name: &str, view: &TypeView) {
        if name == WILDCARD {
            self.holdings.set_wildcard(true);
            self.greet = true;
            return;
        }
        let name = view.intern(name);
        // A client that asks anew has dropped what it had, and with it what it knew of a refusal.
        self.refusals.forget(&name);
        self.resend.insert(Arc::clone(&name));
        self.holdings.subscribe(name);
    }

    fn unsubscribe(&mut self, name: &str, view: &TypeView) {
        if name == WILDCARD {
            self.holdings.set_wildcard(false);
            let interest = &self.holdings.interest;
            self.refusals.retain(|name| interest.covers(name));
            self.resend.retain(|name| interest.covers(name));
            return;
        }
        let was_subscribed = self.holdings.unsubscribe(name);
        if self.holdings.interest.wildcard {
            // It keeps what it has under the name, and what it has refused.
            // The wildcard may still cover it; the client is told what it has now. Of a name that it never asked for and that stands
            // for nothing there is nothing to tell.
            if was_subscribed || matches!(view.lookup(name), Lookup::Present(_)) {
                self.resend.insert(view.intern(name));
            }
        } else {
            self.refusals.forget(name);
            self.resend.remove(name);
        }
    }

    fn answer(&mut self, nonce: &str, error: Option<String>) -> Outcome {
        let answered = self.in_flight.take_if(|flight| nonce.parse() == Ok(flight.nonce));
        let Some(flight) = answered else { return Outcome::Stale };
        let Some(error) = error else {
            self.holdings.apply(&flight.contents);
            self.refusals.clear(&flight.contents);
            return Outcome::Acknowledged(flight.contents);
        };
        if let [(_, None)] = *flight.contents {
            // A removal cannot be offered any better the next time.
            self.holdings.apply(&flight.contents);
        }
        if flight.contents.len() > 1 {
            // Envoy takes what is good of a response that it refuses.
            let resources = flight.contents.iter().filter(|(_, resource)| resource.is_some());
            resources.for_each(|(name, _)| self.holdings.doubt(name));
        }
        let interest = &self.holdings.interest;
        self.refusals.refuse(self.ty, &flight.contents, |name| interest.covers(name));
        Outcome::Rejected { resources: flight.contents, error }
    }

    /// What the client should be sent, and what it should be told the end of.
    fn due(&mut self, view: &TypeView, removals: Removals) -> (Vec<Arc<Resource>>, Vec<Arc<str>>) {
        let (mut due, mut gone) = (Vec::new(), Vec::new());
        self.standing = false;
        for name in self.holdings.candidates(view, &self.resend) {
            let (asked, entry) = (self.resend.contains(&name), self.holdings.entry(&name));
            match view.lookup(&name) {
                Lookup::Present(resource) => {
                    let wanted = asked || entry.version() != Some(resource.version());
                    if wanted && self.refusals.is_refused(resource) {
                        self.standing = true;
                    } else if wanted {
                        due.push(Arc::clone(resource));
                    }
                }
                Lookup::Pending => {}
                Lookup::Absent => {
                    // What was asked for by name and cannot exist is answered at once: the client stops waiting.
                    let unknown = matches!(entry, Entry::Nothing) && self.holdings.interest.names.contains(&name);
                    if asked || unknown || (entry.is_something() && removals == Removals::Send) {
                        gone.push(name);
                    }
                }
            }
        }
        (due, gone)
    }

    fn send(&mut self, stamp: Option<Version>, parcel: Parcel) -> Response {
        self.last_nonce += 1;
        let response = Response::delta(self.ty, stamp, parcel, self.last_nonce);
        self.in_flight = Some(InFlight { nonce: self.last_nonce, contents: Arc::clone(&response.contents) });
        response
    }
}

impl Subscription for DeltaSubscription {
    type Request = DeltaRequest;

    fn new(ty: ResourceType, memory: TypeMemory) -> Self {
        Self {
            ty,
            started: false,
            greet: false,
            holdings: Holdings::default(),
            resend: BTreeSet::new(),
            refusals: Refusals::recall(memory.trials),
            doubts: memory.doubts,
            standing: false,
            in_flight: None,
            last_nonce: 0,
            settled: Settled::default(),
        }
    }

    fn on_request(&mut self, request: DeltaRequest, view: &View) -> Outcome {
        let view = view.of(self.ty);
        self.settled.unset();
        let first = !std::mem::replace(&mut self.started, true);
        if first {
            self.start(&request, view);
        } else {
            request.subscribe.iter().for_each(|name| self.subscribe(name, view));
        }
        request.unsubscribe.iter().for_each(|name| self.unsubscribe(name, view));
        if first {
            self.resumed(&request, view)
        } else if request.nonce.is_empty() {
            Outcome::Request
        } else {
            self.answer(&request.nonce, request.error)
        }
    }

    fn respond(&mut self, view: &View, removals: Removals) -> Option<Response> {
        let view = view.of(self.ty);
        if !self.started || self.in_flight.is_some() || self.settled.is_for(view.stamp(), removals) {
            return None;
        }
        let (due, gone) = self.due(view, removals);
        let parcel = self.refusals.select(due, gone);
        if parcel.is_empty() && !self.greet {
            self.holdings.settle(view);
            self.settled.set(view.stamp(), removals);
            return None;
        }
        self.greet = false;
        let names = parcel.resources.iter().map(|resource| resource.name()).chain(&parcel.removed);
        for name in names {
            self.resend.remove(name);
        }
        Some(self.send(view.stamp(), parcel))
    }

    fn heartbeat(&mut self) -> Option<Response> {
        let resources = if self.is_idle() { self.holdings.with_ttl() } else { Vec::new() };
        let parcel = Parcel { resources, removed: Vec::new(), form: Form::Heartbeat };
        (!parcel.is_empty()).then(|| self.send(self.holdings.stamp(), parcel))
    }

    fn shortest_ttl(&self) -> Option<Duration> {
        self.holdings.with_ttl().iter().filter_map(|resource| resource.ttl()).min()
    }

    fn is_idle(&self) -> bool {
        self.in_flight.is_none()
    }

    fn names(&self) -> usize {
        // Those that wait for an answer too: a client that takes back what it has just asked for leaves them behind.
        self.holdings.interest.names.len().max(self.resend.len())
    }

    fn name_bytes(&self) -> usize {
        self.holdings.interest.names.iter().chain(&self.resend).map(|name| name.len()).sum()
    }

    fn is_refused(&self) -> bool {
        self.standing
    }

    fn is_replacing(&self) -> bool {
        self.in_flight.as_ref().is_some_and(|flight| {
            flight.contents.iter().any(|(name, resource)| {
                let had = self.holdings.entry(name).version();
                let replaces = |new: &Arc<Resource>| had.is_some() && had != Some(new.version());
                resource.as_ref().is_some_and(|new| replaces(new) || self.refusals.knows(name))
            })
        })
    }

    fn take_settled(&mut self) -> Option<&Holdings> {
        self.settled.take_untold().then_some(&self.holdings)
    }

    fn memory(&self) -> TypeMemory {
        let in_flight: &[Content] = self.in_flight.as_ref().map_or(&[], |flight| &flight.contents);
        let mut doubts = self.doubts.clone();
        for (name, resource) in in_flight {
            let claim = resource.as_ref().map_or(Claim::None, |resource| Claim::Only(resource.version()));
            doubts.insert(Arc::clone(name), claim);
        }
        doubts.extend(self.holdings.doubts().map(|name| (Arc::clone(name), Claim::None)));
        TypeMemory { doubts, whole: Claim::Any, trials: self.refusals.trials(in_flight) }
    }

    fn refresh(&mut self, names: &[Arc<str>]) {
        let known = names.iter().filter(|name| self.holdings.entry(name).is_something());
        self.resend.extend(known.cloned());
        self.settled.unset();
    }

    fn retry_rejected(&mut self) {
        if self.refusals.retry() {
            self.settled.unset();
        }
    }
}
