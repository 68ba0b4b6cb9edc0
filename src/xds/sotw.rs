//! The state-of-the-world variant (`DiscoveryRequest`): one type's subscription.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::holdings::Holdings;
use super::interest::WILDCARD;
use super::memory::{Claim, TypeMemory};
use super::refusals::{Parcel, Refusals};
use super::subscription::Settled;
use super::view::{Lookup, TypeView};
use super::wire::{Content, Form, Response};
use super::{Outcome, Removals, Resource, ResourceType, Subscription, Version, View};

/// A `DiscoveryRequest`, reduced to what concerns its type.
#[derive(Clone, Debug, Default)]
pub struct SotwRequest {
    /// `version_info`: what the client has; on the first request of a stream, what it has from the stream before.
    pub version: String,
    /// `response_nonce`; empty when it answers nothing.
    pub nonce: String,
    /// `error_detail.message`: the response was refused.
    pub error: Option<String>,
    /// `resource_names`: the whole list, each time.
    pub names: Vec<String>,
}

struct InFlight {
    version: Version,
    contents: Arc<[Content]>,
    form: Form,
}

/// One type's state-of-the-world subscription on one stream.
///
/// The version of a response is that of everything the client then has, also where only what changed is sent: so a client
/// that comes back with it is known to have it all.
pub struct SotwSubscription {
    ty: ResourceType,
    started: bool,
    /// A name was given, if only `*`: an empty list means nothing from then on, no longer everything.
    named_before: bool,
    /// A list is due even if nothing changed.
    greet: bool,
    holdings: Holdings,
    resend: BTreeSet<Arc<str>>,
    refusals: Refusals,
    /// The lists that were refused as a whole since one was taken: those of the view with this stamp, of which there are two (with
    /// what is to be removed, and without), and before them the newest of the views before.
    refused_lists: Vec<Version>,
    refused_at: Option<Version>,
    /// How far the version that the client names on its first request is believed.
    claim: Claim,
    /// The newest response when the client let something go, or refused something, that its version speaks of. What it takes after
    /// that one makes its version good again.
    outdated: Option<u64>,
    /// Something that is due was refused.
    standing: bool,
    in_flight: Option<InFlight>,
    last_nonce: u64,
    /// The version of the last response: a heartbeat repeats it.
    last_version: Option<Version>,
    settled: Settled,
}

impl SotwSubscription {
    fn set_names(&mut self, list: &[String], view: &TypeView) {
        let wildcard = list.iter().any(|name| name == WILDCARD)
            || (list.is_empty() && self.ty.is_full_state() && !self.named_before);
        self.named_before |= !list.is_empty();
        if wildcard && !self.holdings.interest.wildcard {
            self.greet = true;
            if self.started {
                // A list that was refused before may hold what the client has let go since, and wants again.
                self.refused_lists.clear();
            }
        }
        if self.holdings.interest.wildcard && !wildcard {
            self.outdated = Some(self.last_nonce);
        }
        self.holdings.set_wildcard(wildcard);
        let names = &self.holdings.interest.names;
        let known = |name: &String| names.contains(name.as_str());
        // Each acknowledgement repeats the list.
        if list.len() == names.len() && list.iter().all(known) && list.windows(2).all(|pair| pair[0] < pair[1]) {
            return;
        }
        let list: BTreeSet<&str> = list.iter().map(String::as_str).filter(|name| *name != WILDCARD).collect();
        let removed: Vec<_> = names.iter().filter(|name| !list.contains(&***name)).cloned().collect();
        let added: Vec<_> = list.into_iter().filter(|name| !names.contains(*name)).map(|it| view.intern(it)).collect();
        if !removed.is_empty() {
            self.outdated = Some(self.last_nonce);
        }
        for name in removed {
            self.holdings.unsubscribe(&name);
            self.refusals.forget(&name);
            self.resend.remove(&name);
        }
        for name in added {
            // A state-of-the-world client that asks for a name anew has nothing under it, whatever it had before. Where a list
            // is the whole state, it is told so even if there is no such resource: absence is deletion.
            self.greet |= self.ty.is_full_state();
            if self.started {
                // Who asks anew has dropped what it had, and what it knew of a refusal.
                self.refused_lists.clear();
                self.refusals.forget(&name);
            }
            self.resend.insert(Arc::clone(&name));
            self.holdings.subscribe(name);
        }
    }

    /// Everything of the view that the client asked for, by name.
    fn wanted(&self, view: &TypeView) -> Vec<Arc<Resource>> {
        let interest = &self.holdings.interest;
        let mut wanted: Vec<_> = if interest.wildcard {
            view.resources().cloned().collect()
        } else {
            interest.names.iter().filter_map(|name| view.get(name)).cloned().collect()
        };
        wanted.sort_unstable_by(|left, right| left.name().cmp(right.name()));
        wanted
    }

    fn version_of(resources: &[Arc<Resource>]) -> Version {
        Version::of_set(resources.iter().map(|resource| (&**resource.name(), resource.version())))
    }

    fn answer(&mut self, error: Option<String>) -> Outcome {
        let Some(InFlight { version, contents, form }) = self.in_flight.take() else {
            // The newest nonce again, after its acknowledgement: a change of the names.
            return Outcome::Request;
        };
        let Some(error) = error else {
            if self.outdated.is_some_and(|nonce| nonce < self.last_nonce) {
                self.outdated = None;
            }
            if self.ty.is_full_state() {
                self.holdings.replace(&contents);
                self.refused_lists.clear();
            } else {
                self.holdings.apply(&contents);
                self.refusals.clear(&contents);
            }
            return Outcome::Acknowledged(contents);
        };
        self.outdated = Some(self.last_nonce);
        if self.ty.is_full_state() {
            // Half a list would delete the other half, so the list as a whole waits for its next version.
            self.refused_lists.push(version);
        } else if form != Form::Heartbeat {
            if contents.len() > 1 {
                // Envoy takes what is good of a response that it refuses.
                contents.iter().for_each(|(name, _)| self.holdings.doubt(name));
            }
            let interest = &self.holdings.interest;
            self.refusals.refuse(self.ty, &contents, |name| interest.covers(name));
        }
        Outcome::Rejected { resources: contents, error }
    }

    /// The whole list, if it is another than the client has.
    fn whole(&mut self, view: &TypeView, removals: Removals) -> Option<(Version, Vec<Arc<Resource>>)> {
        if self.refused_at != view.stamp() {
            self.refused_at = view.stamp();
            let before_newest = self.refused_lists.len().saturating_sub(1);
            self.refused_lists.drain(..before_newest);
        }
        // Envoy takes what is good of a list that it refuses, so only a list that it takes whole says what it has.
        let mut changed = self.greet || !self.refused_lists.is_empty();
        let mut kept = Vec::new();
        self.standing = false;
        for name in self.holdings.candidates(view, &self.resend) {
            let held = self.holdings.get(&name);
            match (view.lookup(&name), held) {
                (Lookup::Present(resource), held) => {
                    let asked = self.resend.contains(&name);
                    changed |= asked || held.is_none_or(|held| held.version() != resource.version());
                }
                (Lookup::Absent, Some(_)) if removals == Removals::Send => changed = true,
                (Lookup::Absent | Lookup::Pending, Some(held)) => kept.push(held),
                (Lookup::Absent | Lookup::Pending, None) => {}
            }
        }
        if !changed {
            return None;
        }
        let mut list = self.wanted(view);
        list.extend(kept);
        list.sort_unstable_by(|left, right| left.name().cmp(right.name()));
        let version = Self::version_of(&list);
        self.standing = self.refused_lists.contains(&version);
        (!self.standing).then_some((version, list))
    }

    /// What changed, together, or what is under suspicion, in parts; and the version it makes.
    fn partial(&mut self, view: &TypeView) -> Option<(Version, Vec<Arc<Resource>>, Form)> {
        self.holdings.forget_absent(view);
        self.standing = false;
        let (mut due, mut in_step) = (Vec::new(), true);
        for name in self.holdings.candidates(view, &self.resend) {
            let Lookup::Present(resource) = view.lookup(&name) else {
                in_step &= !self.holdings.entry(&name).is_something();
                continue;
            };
            let current = self.holdings.entry(&name).version() == Some(resource.version());
            if current && !self.resend.contains(&name) {
                continue;
            }
            if self.refusals.is_refused(resource) {
                (self.standing, in_step) = (true, false);
            } else {
                due.push(Arc::clone(resource));
            }
        }
        let all = due.len();
        let Parcel { resources, form, .. } = self.refusals.select(due, Vec::new());
        in_step &= resources.len() == all;
        (!resources.is_empty()).then(|| (self.version_after(&resources, in_step, view), resources, form))
    }

    /// The version of what the client has once it has taken these. Where it is then in step with the view, that is known.
    fn version_after(&self, taken: &[Arc<Resource>], in_step: bool, view: &TypeView) -> Version {
        let known = in_step.then(|| view.version_of_names(&self.holdings.interest.names)).flatten();
        known.unwrap_or_else(|| {
            let held = self.holdings.resources_after(taken);
            Version::of_set(held.iter().map(|(name, resource)| (&**name, resource.version())))
        })
    }

    fn send(&mut self, version: Version, resources: Vec<Arc<Resource>>, form: Form) -> Response {
        self.last_nonce += 1;
        self.last_version = Some(version);
        let response = Response::sotw(self.ty, version, resources, form, self.last_nonce);
        self.in_flight = Some(InFlight { version, contents: Arc::clone(&response.contents), form });
        response
    }
}

impl Subscription for SotwSubscription {
    type Request = SotwRequest;

    fn new(ty: ResourceType, memory: TypeMemory) -> Self {
        Self {
            ty,
            started: false,
            named_before: false,
            greet: false,
            holdings: Holdings::default(),
            resend: BTreeSet::new(),
            refusals: Refusals::recall(memory.trials),
            claim: memory.whole,
            outdated: (memory.whole == Claim::None).then_some(0),
            refused_lists: Vec::new(),
            refused_at: None,
            standing: false,
            in_flight: None,
            last_nonce: 0,
            last_version: None,
            settled: Settled::default(),
        }
    }

    fn on_request(&mut self, request: SotwRequest, view: &View) -> Outcome {
        let view = view.of(self.ty);
        if !self.started {
            self.set_names(&request.names, view);
            self.started = true;
            let wanted = self.wanted(view);
            let version = Self::version_of(&wanted);
            if self.claim.holds(version) && Version::parse(&request.version) == Some(version) {
                self.holdings.settle_anew(view);
                self.last_version = Some(version);
                self.resend.clear();
                self.greet = false;
                return Outcome::Resumed(wanted);
            }
            return Outcome::Request;
        }
        // An answer to an older response is dropped whole: the client repeats its list with the newest nonce. Without a
        // nonce it is a list that the client had already sent on its way when our response came.
        if !request.nonce.is_empty() && request.nonce.parse() != Ok(self.last_nonce) {
            return Outcome::Stale;
        }
        self.settled.unset();
        let outcome = if request.nonce.is_empty() { Outcome::Request } else { self.answer(request.error) };
        self.set_names(&request.names, view);
        outcome
    }

    fn respond(&mut self, view: &View, removals: Removals) -> Option<Response> {
        let view = view.of(self.ty);
        if !self.started || self.in_flight.is_some() || self.settled.is_for(view.stamp(), removals) {
            return None;
        }
        let due = if self.ty.is_full_state() {
            self.whole(view, removals).map(|(version, list)| (version, list, Form::Plain))
        } else {
            self.partial(view)
        };
        let Some((version, resources, form)) = due else {
            self.holdings.settle(view);
            self.settled.set(view.stamp(), removals);
            return None;
        };
        self.greet = false;
        for resource in &resources {
            self.resend.remove(resource.name());
        }
        Some(self.send(version, resources, form))
    }

    fn heartbeat(&mut self) -> Option<Response> {
        if !self.is_idle() || self.holdings.with_ttl().is_empty() {
            return None;
        }
        let version = self.last_version?;
        if self.ty.is_full_state() {
            // What a list leaves out is deleted, and a client may not count what is only said to live on. So it is repeated.
            let list = self.holdings.resources().into_values().collect();
            return Some(self.send(version, list, Form::Plain));
        }
        Some(self.send(version, self.holdings.with_ttl(), Form::Heartbeat))
    }

    fn shortest_ttl(&self) -> Option<Duration> {
        self.holdings.with_ttl().iter().filter_map(|resource| resource.ttl()).min()
    }

    fn is_idle(&self) -> bool {
        self.in_flight.is_none()
    }

    fn names(&self) -> usize {
        self.holdings.interest.names.len()
    }

    fn name_bytes(&self) -> usize {
        self.holdings.interest.names.iter().map(|name| name.len()).sum()
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
        let whole = match (&self.in_flight, self.outdated) {
            (_, Some(_)) => Claim::None,
            (Some(flight), None) => Claim::Only(flight.version),
            (None, None) => Claim::Any,
        };
        let in_flight: &[Content] = self.in_flight.as_ref().map_or(&[], |flight| &flight.contents);
        TypeMemory { doubts: BTreeMap::new(), whole, trials: self.refusals.trials(in_flight) }
    }

    fn refresh(&mut self, names: &[Arc<str>]) {
        let known = names.iter().filter(|name| self.holdings.entry(name).is_something());
        self.resend.extend(known.cloned());
        self.settled.unset();
    }

    fn retry_rejected(&mut self) {
        if self.refusals.retry() | !self.refused_lists.is_empty() {
            self.refused_lists.clear();
            self.greet = true;
            self.settled.unset();
        }
    }
}
