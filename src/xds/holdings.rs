//! What a client has.
//!
//! Nearly every client holds exactly what its view has of the names it asked for. So what it holds is a pointer to the view
//! that it was last in step with, and the few names under which it has something else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::interest::Interest;
use super::view::{Lookup, TypeView};
use super::wire::Content;
use super::{Resource, Version};

/// What a client has under a name.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// Nothing, and it has been told nothing.
    Nothing,
    /// It has been told that there is none.
    Absent,
    /// This resource.
    Has(Arc<Resource>),
    /// It says that it has this version from a stream before; `None` if that is none of ours, or of a response that it refused.
    Brought(Option<Version>),
}

impl Entry {
    pub(super) fn version(&self) -> Option<Version> {
        match self {
            Self::Has(resource) => Some(resource.version()),
            Self::Brought(version) => *version,
            Self::Nothing | Self::Absent => None,
        }
    }

    fn ttl(&self) -> Option<Duration> {
        match self {
            Self::Has(resource) => resource.ttl(),
            Self::Nothing | Self::Absent | Self::Brought(_) => None,
        }
    }

    /// Whether there is something that can be taken away.
    pub(super) fn is_something(&self) -> bool {
        matches!(self, Self::Has(_) | Self::Brought(_))
    }

    /// Whether a client that has this is where one that has `other` is.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nothing | Self::Absent, Self::Nothing) | (Self::Absent, Self::Absent) => true,
            (left, right) => left.version().is_some() && left.version() == right.version(),
        }
    }
}

/// What one client asked for in one type, and what it has of it by its own word. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Holdings {
    pub(super) interest: Interest,
    base: TypeView,
    differs: BTreeMap<Arc<str>, Entry>,
}

impl Holdings {
    /// The resource that the client has under this name.
    pub fn get(&self, name: &str) -> Option<Arc<Resource>> {
        match self.entry(name) {
            Entry::Has(resource) => Some(resource),
            Entry::Nothing | Entry::Absent | Entry::Brought(_) => None,
        }
    }

    /// Everything that the client has, by name.
    pub fn resources(&self) -> BTreeMap<Arc<str>, Arc<Resource>> {
        let base = || self.base.resources().map(|resource| resource.name());
        let named: Vec<&Arc<str>> =
            if self.interest.wildcard { base().collect() } else { self.interest.names.iter().collect() };
        let all = named.into_iter().chain(self.differs.keys());
        all.filter_map(|name| Some((Arc::clone(name), self.get(name)?))).collect()
    }

    /// What the client has that lives for a time only.
    pub(super) fn with_ttl(&self) -> Vec<Arc<Resource>> {
        let some = self.base.has_ttl() || self.differs.values().any(|entry| entry.ttl().is_some());
        let all = if some { self.resources() } else { BTreeMap::new() };
        all.into_values().filter(|resource| resource.ttl().is_some()).collect()
    }

    /// How many names are kept for this client alone.
    #[cfg(test)]
    pub(super) fn own_size(&self) -> usize {
        let shared =
            self.interest.names.is_empty() || self.base.name_sets().any(|it| Arc::ptr_eq(it, &self.interest.names));
        self.differs.len() + if shared { 0 } else { self.interest.names.len() }
    }

    pub(super) fn stamp(&self) -> Option<Version> {
        self.base.stamp()
    }

    /// Everything that the client has once it has taken these, by name.
    pub(super) fn resources_after(&self, taken: &[Arc<Resource>]) -> BTreeMap<Arc<str>, Arc<Resource>> {
        let mut held = self.resources();
        held.extend(taken.iter().map(|resource| (Arc::clone(resource.name()), Arc::clone(resource))));
        held
    }

    /// Whether the client asked for this name.
    pub fn covers(&self, name: &str) -> bool {
        self.interest.covers(name)
    }

    pub(super) fn entry(&self, name: &str) -> Entry {
        match self.differs.get(name) {
            Some(entry) => entry.clone(),
            None => self.implied(&self.base, name),
        }
    }

    /// What a client that is in step with `view` has.
    fn implied(&self, view: &TypeView, name: &str) -> Entry {
        if !self.interest.covers(name) {
            return Entry::Nothing;
        }
        match view.lookup(name) {
            Lookup::Present(resource) => Entry::Has(Arc::clone(resource)),
            Lookup::Absent if self.interest.names.contains(name) => Entry::Absent,
            Lookup::Pending | Lookup::Absent => Entry::Nothing,
        }
    }

    /// Takes a name into the interest. What was not covered before, the client does not have.
    pub(super) fn subscribe(&mut self, name: Arc<str>) {
        let entry = self.entry(&name);
        if let Entry::Nothing = entry {
            self.differs.insert(Arc::clone(&name), entry);
        }
        self.interest.insert(name);
    }

    /// Takes a name out of the interest. `true` if it was there.
    pub(super) fn unsubscribe(&mut self, name: &str) -> bool {
        let removed = self.interest.remove(name);
        if !self.interest.wildcard {
            self.differs.remove(name);
        }
        removed
    }

    pub(super) fn set_wildcard(&mut self, wildcard: bool) {
        if wildcard == self.interest.wildcard {
            return;
        }
        // The base speaks of what is covered, and that is another set from now on. So it is written out once.
        let names = self.interest.names.iter();
        self.differs = names.map(|name| (Arc::clone(name), self.entry(name))).collect();
        self.base = TypeView::default();
        self.interest.wildcard = wildcard;
    }

    pub(super) fn set(&mut self, name: Arc<str>, entry: Entry) {
        self.differs.insert(name, entry);
    }

    /// The client may have anything under this name.
    pub(super) fn doubt(&mut self, name: &Arc<str>) {
        if self.interest.covers(name) {
            self.differs.insert(Arc::clone(name), Entry::Brought(None));
        }
    }

    /// The names of which nobody knows what the client has.
    pub(super) fn doubts(&self) -> impl Iterator<Item = &Arc<str>> {
        let unknown = |entry: &Entry| matches!(entry, Entry::Brought(None));
        self.differs.iter().filter(move |(_, entry)| unknown(entry)).map(|(name, _)| name)
    }

    /// The client took these.
    pub(super) fn apply(&mut self, contents: &[Content]) {
        for (name, resource) in contents {
            if !self.interest.covers(name) {
                continue;
            }
            let entry = match resource {
                Some(resource) => Entry::Has(Arc::clone(resource)),
                None if self.interest.names.contains(name) => Entry::Absent,
                None => Entry::Nothing,
            };
            self.differs.insert(Arc::clone(name), entry);
        }
    }

    /// The client took these as everything there is.
    pub(super) fn replace(&mut self, contents: &[Content]) {
        self.base = TypeView::default();
        self.differs.clear();
        self.apply(contents);
    }

    /// The covered names under which the client may have something else than `view` says.
    pub(super) fn candidates(&self, view: &TypeView, asked: &BTreeSet<Arc<str>>) -> Vec<Arc<str>> {
        let mut names = self.base.differences(view);
        names.extend(self.differs.keys().chain(asked).cloned());
        names.retain(|name| self.interest.covers(name));
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The client is in step with `view`, but for what it has otherwise.
    pub(super) fn settle(&mut self, view: &TypeView) {
        let names = self.candidates(view, &BTreeSet::new());
        let differs = names.into_iter().filter_map(|name| {
            let entry = self.entry(&name);
            (!entry.is_same(&self.implied(view, &name))).then_some((name, entry))
        });
        self.differs = differs.collect();
        self.base = view.clone();
        self.interest.share(view);
    }

    /// The client has everything of `view` that it asked for.
    pub(super) fn settle_anew(&mut self, view: &TypeView) {
        self.differs.clear();
        self.base = view.clone();
        self.interest.share(view);
    }

    /// Names under which the client has something that the view does not know, which a client of this variant is never told.
    pub(super) fn forget_absent(&mut self, view: &TypeView) {
        self.differs.retain(|name, entry| !(entry.is_something() && matches!(view.lookup(name), Lookup::Absent)));
    }
}
