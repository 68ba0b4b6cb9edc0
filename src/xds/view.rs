//! What one client may see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use super::{Resource, ResourceType, Version};

/// An immutable set of resources that many views share: those of a class of proxies, those of one proxy, one secret.
#[derive(Debug)]
pub struct Layer {
    types: [Arc<Part>; ResourceType::ALL.len()],
}

/// One type's part of a layer. What a client holds points to it, so it lives on its own.
#[derive(Debug)]
struct Part {
    resources: BTreeMap<Arc<str>, Arc<Resource>>,
    names: Arc<BTreeSet<Arc<str>>>,
    pending: BTreeSet<Arc<str>>,
    /// Of the resources.
    version: Version,
    /// Of the resources and of what is pending.
    stamp: Version,
    has_ttl: bool,
    /// What is not as it was in the part before, by that one's stamp: every client that had the part before goes this way.
    since: Option<(Version, Vec<Arc<str>>)>,
}

/// The part of a type of which a layer has nothing: most parts of most layers.
static NOTHING: LazyLock<Arc<Part>> = LazyLock::new(|| Arc::new(Part::new(BTreeMap::new(), BTreeSet::new(), None)));

impl Default for Layer {
    fn default() -> Self {
        Self { types: std::array::from_fn(|_| Arc::clone(&NOTHING)) }
    }
}

impl Part {
    fn new(
        resources: BTreeMap<Arc<str>, Arc<Resource>>,
        pending: BTreeSet<Arc<str>>,
        previous: Option<&Arc<Part>>,
    ) -> Self {
        let members = || resources.values().map(|resource| (&**resource.name(), resource.version()));
        let absent = Version::of(b"pending");
        let (version, stamp) = (
            Version::of_set(members()),
            Version::of_set(members().chain(pending.iter().map(|name| (&**name, absent)))),
        );
        let same = previous.map(|part| &part.names).filter(|names| names.iter().eq(resources.keys()));
        let names = same.cloned().unwrap_or_else(|| Arc::new(resources.keys().cloned().collect()));
        let has_ttl = resources.values().any(|resource| resource.ttl().is_some());
        let mut part = Self { resources, names, pending, version, stamp, has_ttl, since: None };
        part.since = previous.filter(|before| before.stamp != stamp).map(|before| {
            let mut names = Vec::new();
            before.compare(&part, &mut names);
            (before.stamp, names)
        });
        part
    }
}

impl Layer {
    /// A layer of these resources. Where `previous` has the same content, its allocations are kept, so that a change costs
    /// memory for what changed only.
    pub fn new(resources: impl IntoIterator<Item = (ResourceType, Arc<Resource>)>, previous: Option<&Layer>) -> Self {
        let mut types: [BTreeMap<_, _>; ResourceType::ALL.len()] = std::array::from_fn(|_| BTreeMap::new());
        for (ty, resource) in resources {
            let kept = previous
                .and_then(|layer| layer.types[ty.index()].resources.get(resource.name()))
                .filter(|old| old.version() == resource.version());
            let resource = kept.cloned().unwrap_or(resource);
            types[ty.index()].insert(Arc::clone(resource.name()), resource);
        }
        let mut index = 0;
        let types = types.map(|resources| {
            let before = previous.map(|layer| &layer.types[index]);
            index += 1;
            if resources.is_empty() {
                return Arc::clone(&NOTHING);
            }
            let part = Part::new(resources, BTreeSet::new(), before);
            before.filter(|before| before.stamp == part.stamp).cloned().unwrap_or_else(|| Arc::new(part))
        });
        Self { types }
    }

    /// A layer that has nothing yet, but will have `names`: clients that ask for them wait instead of being told that they
    /// do not exist.
    pub fn pending(ty: ResourceType, names: impl IntoIterator<Item = Arc<str>>) -> Self {
        let mut layer = Self::default();
        layer.types[ty.index()] = Arc::new(Part::new(BTreeMap::new(), names.into_iter().collect(), None));
        layer
    }

    /// The resources of one type, by name.
    pub fn resources(&self, ty: ResourceType) -> impl Iterator<Item = &Arc<Resource>> {
        self.types[ty.index()].resources.values()
    }

    /// The version of everything the layer has: equal for equal content.
    pub fn version(&self) -> Version {
        Version::of_set(ResourceType::ALL.iter().map(|ty| (ty.short(), self.types[ty.index()].stamp)))
    }
}

/// What one client may see: layers laid over each other. Where two have a resource of one name, the earlier layer's counts.
#[derive(Clone, Debug, Default)]
pub struct View {
    types: [TypeView; ResourceType::ALL.len()],
}

impl View {
    /// The view through these layers.
    pub fn new(layers: &[Arc<Layer>]) -> Self {
        Self::default().through(layers)
    }

    /// The view through these layers, instead of those before. A type in which they are alike costs a pointer.
    pub fn through(&self, layers: &[Arc<Layer>]) -> Self {
        let types = std::array::from_fn(|index| {
            let parts = layers.iter().map(|layer| &layer.types[index]).filter(|part| !Arc::ptr_eq(part, &NOTHING));
            let before = &self.types[index];
            if before.stamp.is_some() && parts.clone().map(Arc::as_ptr).eq(before.parts.iter().map(Arc::as_ptr)) {
                return before.clone();
            }
            let parts: Vec<_> = parts.cloned().collect();
            let stamp = match parts.as_slice() {
                [only] => only.stamp,
                several => Version::of_set(several.iter().map(|part| ("", part.stamp))),
            };
            TypeView { parts: parts.into(), stamp: Some(stamp) }
        });
        Self { types }
    }

    /// What is seen of one type.
    pub fn of(&self, ty: ResourceType) -> &TypeView {
        &self.types[ty.index()]
    }

    /// The resource of this type and name, if the client may see it and it exists.
    pub fn get(&self, ty: ResourceType, name: &str) -> Option<&Arc<Resource>> {
        self.of(ty).get(name)
    }

    /// Whether the client can never have this name, as things stand.
    pub(super) fn is_absent(&self, ty: ResourceType, name: &str) -> bool {
        name != super::interest::WILDCARD && matches!(self.of(ty).lookup(name), Lookup::Absent)
    }

    /// Every resource of a type, in the order of layers, each layer's by name.
    pub fn resources(&self, ty: ResourceType) -> impl Iterator<Item = &Arc<Resource>> {
        self.of(ty).resources()
    }
}

/// One type of a view. Cloning it copies a pointer, so that what clients hold in common is in memory once.
#[derive(Clone, Debug, Default)]
pub struct TypeView {
    parts: Arc<[Arc<Part>]>,
    stamp: Option<Version>,
}

/// What a view says of a name.
pub(super) enum Lookup<'a> {
    Present(&'a Arc<Resource>),
    /// It is being prepared and will come.
    Pending,
    /// This client cannot have it.
    Absent,
}

impl TypeView {
    /// Changes whenever anything of the type does.
    pub(super) fn stamp(&self) -> Option<Version> {
        self.stamp
    }

    pub(super) fn lookup(&self, name: &str) -> Lookup<'_> {
        if let Some(resource) = self.get(name) {
            Lookup::Present(resource)
        } else if self.parts.iter().any(|part| part.pending.contains(name)) {
            Lookup::Pending
        } else {
            Lookup::Absent
        }
    }

    /// The resource of this name, if the client may see it and it exists.
    pub fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        self.parts.iter().find_map(|part| part.resources.get(name))
    }

    /// Every resource, in the order of layers, each layer's by name.
    pub fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.parts.iter().enumerate().flat_map(move |(depth, part)| {
            let above = &self.parts[..depth];
            let visible = move |name: &str| !above.iter().any(|part| part.resources.contains_key(name));
            part.resources.values().filter(move |resource| visible(resource.name()))
        })
    }

    /// The name as it stands in the view, so that a thousand clients that ask for it keep it once.
    pub(super) fn intern(&self, name: &str) -> Arc<str> {
        self.get(name).map_or_else(|| name.into(), |resource| Arc::clone(resource.name()))
    }

    pub(super) fn name_sets(&self) -> impl Iterator<Item = &Arc<BTreeSet<Arc<str>>>> {
        self.parts.iter().map(|part| &part.names).filter(|names| !names.is_empty())
    }

    /// The version of all resources of these very names, known beforehand if they are all that one layer has, and the only
    /// layer that has any.
    pub(super) fn version_of_names(&self, names: &Arc<BTreeSet<Arc<str>>>) -> Option<Version> {
        let mut parts = self.parts.iter().filter(|part| !part.resources.is_empty());
        match (parts.next(), parts.next()) {
            (Some(part), None) if Arc::ptr_eq(&part.names, names) => Some(part.version),
            _ => None,
        }
    }

    pub(super) fn has_ttl(&self) -> bool {
        self.parts.iter().any(|part| part.has_ttl)
    }

    /// Every name of which the two may say different things. Costs nothing for the layers that they share.
    pub fn differences(&self, other: &TypeView) -> Vec<Arc<str>> {
        let empty = &*NOTHING;
        let mut names = Vec::new();
        for index in 0..self.parts.len().max(other.parts.len()) {
            let (left, right) = (self.parts.get(index).unwrap_or(empty), other.parts.get(index).unwrap_or(empty));
            if !Arc::ptr_eq(left, right) && left.stamp != right.stamp {
                left.differences(right, &mut names);
            }
        }
        names
    }
}

impl Part {
    fn differences(&self, other: &Part, names: &mut Vec<Arc<str>>) {
        let known = |from: &Part, to: &Part| match &to.since {
            Some((stamp, names)) if *stamp == from.stamp => Some(names.clone()),
            _ => None,
        };
        match known(self, other).or_else(|| known(other, self)) {
            Some(known) => names.extend(known),
            None => self.compare(other, names),
        }
    }

    fn compare(&self, other: &Part, names: &mut Vec<Arc<str>>) {
        names.extend(self.pending.symmetric_difference(&other.pending).cloned());
        let (mut left, mut right) = (self.resources.iter().peekable(), other.resources.iter().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (Some((left, _)), Some((right, _))) if Arc::ptr_eq(left, right) => std::cmp::Ordering::Equal,
                (Some((left, _)), Some((right, _))) => left.cmp(right),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => return,
            };
            let from_left = if order.is_le() { left.next() } else { None };
            let from_right = if order.is_ge() { right.next() } else { None };
            let same = matches!((from_left, from_right), (Some((_, left)), Some((_, right)))
                if Arc::ptr_eq(left, right) || left.version() == right.version());
            if let (false, Some((name, _))) = (same, from_left.or(from_right)) {
                names.push(Arc::clone(name));
            }
        }
    }
}
