//! The state-of-the-world variant (`DiscoveryRequest`): one type's subscription.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::interest::{Interest, WILDCARD};
use super::wire::Response;
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
    contents: Vec<(Arc<str>, Option<Version>)>,
    before: BTreeMap<Arc<str>, Arc<Resource>>,
}

/// One type's state-of-the-world subscription on one stream.
///
/// The version of a response is that of everything the client then has, also where only what changed is sent: so a client
/// that comes back with it is known to have it all.
pub struct SotwSubscription {
    ty: ResourceType,
    interest: Interest,
    started: bool,
    named_before: bool,
    greet: bool,
    held: BTreeMap<Arc<str>, Arc<Resource>>,
    resend: BTreeSet<Arc<str>>,
    rejected: HashMap<Arc<str>, Version>,
    rejected_set: Option<Version>,
    alone: BTreeSet<Arc<str>>,
    in_flight: Option<InFlight>,
    last_nonce: u64,
    settled: Option<(Option<Version>, Removals)>,
}

impl SotwSubscription {
    fn set_names(&mut self, names: &[String]) {
        let wildcard = names.iter().any(|name| name == WILDCARD)
            || (names.is_empty() && self.ty.is_full_state() && !self.named_before);
        let names: BTreeSet<Arc<str>> =
            names.iter().filter(|name| *name != WILDCARD).map(|name| name.as_str().into()).collect();
        self.named_before |= !names.is_empty();
        if wildcard && !self.interest.wildcard {
            self.greet = true;
        }
        // A state-of-the-world client that asks for a name anew has nothing under it, whatever it had before.
        self.resend.extend(names.difference(&self.interest.names).cloned());
        self.interest = Interest { wildcard, names };
        let interest = &self.interest;
        self.held.retain(|name, _| interest.covers(name));
        self.resend.retain(|name| interest.covers(name));
        self.rejected.retain(|name, _| interest.covers(name));
        self.alone.retain(|name| interest.covers(name));
    }

    /// Everything of the view that the client asked for.
    fn wanted(&self, view: &View) -> BTreeMap<Arc<str>, Arc<Resource>> {
        let entry = |resource: &Arc<Resource>| (Arc::clone(resource.name()), Arc::clone(resource));
        if self.interest.wildcard {
            view.resources(self.ty).map(entry).collect()
        } else {
            self.interest.names.iter().filter_map(|name| view.get(self.ty, name)).map(entry).collect()
        }
    }

    fn version_of(resources: &BTreeMap<Arc<str>, Arc<Resource>>) -> Version {
        Version::of_set(resources.iter().map(|(name, resource)| (&**name, resource.version())))
    }

    fn answer(&mut self, error: Option<String>) -> Outcome {
        let Some(flight) = self.in_flight.take() else {
            // The newest nonce again, after its acknowledgement: a change of the names.
            return Outcome::Request;
        };
        let Some(error) = error else {
            for (name, _) in &flight.contents {
                self.alone.remove(name);
            }
            return Outcome::Acknowledged(flight.contents);
        };
        self.held = flight.before;
        let interest = &self.interest;
        self.held.retain(|name, _| interest.covers(name));
        if self.ty.is_full_state() {
            // Half a list would delete the other half, so the list as a whole waits for its next version.
            self.rejected_set = Some(flight.version);
        } else if let [(name, Some(version))] = flight.contents.as_slice() {
            self.alone.remove(name);
            self.rejected.insert(Arc::clone(name), *version);
        } else {
            let names = flight.contents.iter().map(|(name, _)| name).filter(|name| interest.covers(name));
            self.alone.extend(names.cloned());
        }
        Outcome::Rejected { resources: flight.contents, error }
    }

    fn changed(&self, resource: &Resource) -> bool {
        let current = self.held.get(resource.name()).is_some_and(|held| held.version() == resource.version());
        let refused = self.rejected.get(resource.name()) == Some(&resource.version());
        (!current || self.resend.contains(resource.name())) && !refused
    }

    /// The whole list, if it is another than the client has.
    fn whole(
        &mut self,
        mut wanted: BTreeMap<Arc<str>, Arc<Resource>>,
        removals: Removals,
    ) -> Option<(Version, Vec<Arc<Resource>>)> {
        if removals == Removals::Hold {
            for (name, resource) in &self.held {
                wanted.entry(Arc::clone(name)).or_insert_with(|| Arc::clone(resource));
            }
        }
        let version = Self::version_of(&wanted);
        let asked = self.greet || wanted.keys().any(|name| self.resend.contains(name));
        if (version == Self::version_of(&self.held) && !asked) || self.rejected_set == Some(version) {
            return None;
        }
        let list = wanted.values().cloned().collect();
        self.held = wanted;
        Some((version, list))
    }

    /// What changed, together or, after a refusal, one at a time.
    fn partial(&mut self, wanted: &BTreeMap<Arc<str>, Arc<Resource>>) -> Option<(Version, Vec<Arc<Resource>>)> {
        self.held.retain(|name, _| wanted.contains_key(name));
        let changed = wanted.values().filter(|resource| self.changed(resource)).cloned();
        let (alone, mut list): (Vec<_>, Vec<_>) = changed.partition(|resource| self.alone.contains(resource.name()));
        if list.is_empty() {
            list.extend(alone.into_iter().take(1));
        }
        if list.is_empty() {
            return None;
        }
        for resource in &list {
            self.held.insert(Arc::clone(resource.name()), Arc::clone(resource));
        }
        Some((Self::version_of(&self.held), list))
    }
}

impl Subscription for SotwSubscription {
    type Request = SotwRequest;

    fn new(ty: ResourceType) -> Self {
        Self {
            ty,
            interest: Interest::default(),
            started: false,
            named_before: false,
            greet: false,
            held: BTreeMap::new(),
            resend: BTreeSet::new(),
            rejected: HashMap::new(),
            rejected_set: None,
            alone: BTreeSet::new(),
            in_flight: None,
            last_nonce: 0,
            settled: None,
        }
    }

    fn on_request(&mut self, request: SotwRequest, view: &View) -> Outcome {
        if !self.started {
            self.started = true;
            self.set_names(&request.names);
            let wanted = self.wanted(view);
            if !request.version.is_empty() && Version::parse(&request.version) == Some(Self::version_of(&wanted)) {
                let has = wanted.iter().map(|(name, resource)| (Arc::clone(name), resource.version())).collect();
                self.held = wanted;
                self.resend.clear();
                self.greet = false;
                return Outcome::Resumed(has);
            }
            return Outcome::Request;
        }
        // An answer to an older response is dropped whole: the client repeats its list with the newest nonce. Without a
        // nonce it is a list that the client had already sent on its way when our response came.
        if !request.nonce.is_empty() && request.nonce.parse() != Ok(self.last_nonce) {
            return Outcome::Stale;
        }
        self.settled = None;
        let outcome = if request.nonce.is_empty() { Outcome::Request } else { self.answer(request.error) };
        self.set_names(&request.names);
        outcome
    }

    fn respond(&mut self, view: &View, removals: Removals) -> Option<Response> {
        let stamp = view.stamp(self.ty);
        if !self.started || self.in_flight.is_some() || self.settled == Some((stamp, removals)) {
            return None;
        }
        let wanted = self.wanted(view);
        let before = self.held.clone();
        let due = if self.ty.is_full_state() { self.whole(wanted, removals) } else { self.partial(&wanted) };
        let Some((version, resources)) = due else {
            self.settled = Some((stamp, removals));
            return None;
        };
        self.greet = false;
        self.last_nonce += 1;
        for resource in &resources {
            self.resend.remove(resource.name());
        }
        let response = Response::sotw(self.ty, version, &resources, self.last_nonce);
        let contents = response.contents.clone();
        self.in_flight = Some(InFlight { version, contents, before });
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
        let known = names.iter().filter(|name| self.held.contains_key(*name));
        self.resend.extend(known.cloned());
    }

    fn retry_rejected(&mut self) {
        self.settled = None;
        self.rejected.clear();
        self.rejected_set = None;
    }
}
