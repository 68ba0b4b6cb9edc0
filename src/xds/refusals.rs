//! What a client refused, and what is under suspicion since.
//!
//! A client refuses a response as a whole. Of a response with several resources nobody knows which was the bad one, so it is
//! divided until the bad one stands alone. Clusters, listeners, endpoints and routes are divided into halves: Envoy judges them
//! anew each time. A secret it does not: it takes the bytes it has just refused without effect. So secrets come one by one, each in
//! other bytes that mean the same.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::memory::{Trial, Trials};
use super::wire::{Content, Form};
use super::{Resource, ResourceType, Version};

/// How many refused versions of a resource are remembered.
const REFUSED: usize = 8;

/// What travels in one response.
pub(super) struct Parcel {
    pub(super) resources: Vec<Arc<Resource>>,
    pub(super) removed: Vec<Arc<str>>,
    pub(super) form: Form,
}

impl Parcel {
    pub(super) fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.removed.is_empty()
    }
}

#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// The versions that were refused since one was taken, or the name was asked for: the newest, if there are many.
    refused: HashMap<Arc<str>, VecDeque<Version>>,
    /// Suspect in this version, `None` for its removal.
    suspects: HashMap<Arc<str>, Option<Version>>,
    groups: VecDeque<Vec<Arc<str>>>,
    /// The secrets among them, with the bytes that the client knows.
    trials: Trials,
}

impl Refusals {
    /// Of a client that refused these on a stream before. Each is tried once more, alone and in bytes that it does not know.
    pub(super) fn recall(trials: Trials) -> Self {
        let newest = trials.iter().filter_map(|(name, trials)| Some((Arc::clone(name), Some(trials.last()?.version))));
        let suspects = newest.collect();
        let groups = trials.keys().map(|name| vec![Arc::clone(name)]).collect();
        Self { refused: HashMap::new(), suspects, groups, trials }
    }

    /// What the client has refused, and would have refused if it has not taken what is on its way.
    pub(super) fn trials(&self, in_flight: &[Content]) -> Trials {
        let mut trials = self.trials.clone();
        for (name, resource) in in_flight {
            if let Some(resource) = resource.as_ref().filter(|it| it.ty() == ResourceType::Secret) {
                failed(&mut trials, name, resource.version());
            }
        }
        trials
    }

    /// Whether the client has refused this, and there is no other way to say it.
    pub(super) fn is_refused(&self, resource: &Resource) -> bool {
        let tried = self.trial(resource);
        self.refused.get(resource.name()).is_some_and(|versions| versions.contains(&resource.version()))
            || (tried.is_some_and(|trial| trial.is_refused) && !resource.can_be_restated())
    }

    fn trial(&self, resource: &Resource) -> Option<&Trial> {
        self.trials.get(resource.name())?.iter().find(|trial| trial.version == resource.version())
    }

    fn is_empty(&self) -> bool {
        self.refused.is_empty() && self.suspects.is_empty()
    }

    /// Whether something was refused under this name.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.refused.contains_key(name) || self.suspects.contains_key(name)
    }

    /// The client refused a response with these, of which it still wants those that are covered.
    pub(super) fn refuse(&mut self, ty: ResourceType, contents: &[Content], covers: impl Fn(&str) -> bool) {
        let covered: Vec<_> = contents.iter().filter(|(name, _)| covers(name)).collect();
        if ty == ResourceType::Secret {
            for (name, resource) in &covered {
                if let Some(resource) = resource {
                    failed(&mut self.trials, name, resource.version()).is_refused = true;
                }
            }
        }
        if let [(name, resource)] = contents {
            self.suspects.remove(name);
            if let Some(resource) = resource.as_ref().filter(|_| covers(name)) {
                let versions = self.refused.entry(Arc::clone(name)).or_default();
                versions.push_back(resource.version());
                if versions.len() > REFUSED {
                    versions.pop_front();
                }
            }
            return;
        }
        // Names that a client let go and took up again may stand in a group from before.
        let anew: HashSet<&str> = covered.iter().map(|(name, _)| &**name).collect();
        self.groups.iter_mut().for_each(|group| group.retain(|name| !anew.contains(&**name)));
        let size = if ty == ResourceType::Secret { 1 } else { covered.len().div_ceil(2).max(1) };
        for part in covered.chunks(size) {
            self.groups.push_back(part.iter().map(|(name, _)| Arc::clone(name)).collect());
        }
        let version = |resource: &Option<Arc<Resource>>| resource.as_ref().map(|it| it.version());
        self.suspects.extend(covered.iter().map(|(name, resource)| (Arc::clone(name), version(resource))));
    }

    /// The client took these.
    pub(super) fn clear(&mut self, contents: &[Content]) {
        for (name, _) in contents {
            self.forget(name);
        }
    }

    pub(super) fn forget(&mut self, name: &str) {
        if !self.is_empty() {
            self.refused.remove(name);
            self.suspects.remove(name);
            self.trials.remove(name);
        }
    }

    pub(super) fn retain(&mut self, covers: impl Fn(&str) -> bool) {
        self.refused.retain(|name, _| covers(name));
        self.suspects.retain(|name, _| covers(name));
        self.trials.retain(|name, _| covers(name));
    }

    /// What was refused may be offered again. `false` if nothing was.
    pub(super) fn retry(&mut self) -> bool {
        let any = !self.refused.is_empty();
        self.refused.clear();
        any
    }

    /// What of all that is due travels next: what is not under suspicion first, and of the suspects one group.
    pub(super) fn select(&mut self, due: Vec<Arc<Resource>>, gone: Vec<Arc<str>>) -> Parcel {
        let suspects = &self.suspects;
        let is_suspect =
            |it: &Arc<Resource>| suspects.get(it.name()) == Some(&Some(it.version())) || self.trial(it).is_some();
        let (mut held_back, resources): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|it| is_suspect(it) || it.travels_alone());
        let (gone_held_back, removed): (Vec<_>, Vec<_>) =
            gone.into_iter().partition(|name| suspects.get(name) == Some(&None));
        if !resources.is_empty() || !removed.is_empty() {
            return Parcel { resources, removed, form: Form::Plain };
        }
        if let Some(index) = held_back.iter().position(|it| !is_suspect(it)) {
            return Parcel { resources: vec![held_back.swap_remove(index)], removed, form: Form::Plain };
        }
        let mut due: HashMap<Arc<str>, Option<Arc<Resource>>> =
            held_back.into_iter().map(|resource| (Arc::clone(resource.name()), Some(resource))).collect();
        due.extend(gone_held_back.into_iter().map(|name| (name, None)));
        while let Some(group) = self.groups.pop_front() {
            let due = group.into_iter().filter_map(|name| due.remove_entry(&name));
            let parcel = self.parcel(due);
            if !parcel.is_empty() {
                return parcel;
            }
        }
        // A suspect that was not due when the turn of its group came.
        self.parcel(due.into_iter().take(1))
    }

    fn parcel(&self, contents: impl Iterator<Item = (Arc<str>, Option<Arc<Resource>>)>) -> Parcel {
        let mut parcel = Parcel { resources: Vec::new(), removed: Vec::new(), form: Form::Plain };
        for (name, resource) in contents {
            match resource {
                Some(resource) => parcel.resources.push(resource),
                None => parcel.removed.push(name),
            }
        }
        if let [resource] = &*parcel.resources
            && let Some(trial) = self.trial(resource)
        {
            parcel.form = Form::Restated(trial.times);
        }
        parcel
    }
}

/// Counts a trial of this version.
fn failed<'t>(trials: &'t mut Trials, name: &Arc<str>, version: Version) -> &'t mut Trial {
    let of_name = trials.entry(Arc::clone(name)).or_default();
    let known = of_name.iter().position(|trial| trial.version == version).map(|at| of_name.remove(at));
    if of_name.len() >= REFUSED {
        of_name.remove(0);
    }
    of_name.push(known.unwrap_or(Trial { version, times: 0, is_refused: false }));
    let newest = of_name.len() - 1;
    let trial = &mut of_name[newest];
    trial.times += 1;
    trial
}
