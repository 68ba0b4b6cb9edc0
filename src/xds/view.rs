//! What one client may see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::interest::WILDCARD;
use super::{Resource, ResourceType, Version};

/// An immutable set of resources that many views share: those of a class of proxies, those of one proxy, one secret.
#[derive(Debug, Default)]
pub struct Layer {
    types: [TypeLayer; ResourceType::ALL.len()],
}

#[derive(Debug)]
struct TypeLayer {
    resources: BTreeMap<Arc<str>, Arc<Resource>>,
    pending: BTreeSet<Arc<str>>,
    version: Version,
}

impl Default for TypeLayer {
    fn default() -> Self {
        Self { resources: BTreeMap::new(), pending: BTreeSet::new(), version: Version::of(&[]) }
    }
}

impl Layer {
    /// A layer of these resources. Where `previous` has the same content under the same name, its allocation is kept, so
    /// that a change costs memory for what changed only.
    pub fn new(resources: impl IntoIterator<Item = (ResourceType, Arc<Resource>)>, previous: Option<&Layer>) -> Self {
        let mut layer = Self::default();
        for (ty, resource) in resources {
            let kept = previous
                .and_then(|layer| layer.types[ty.index()].resources.get(resource.name()))
                .filter(|old| old.version() == resource.version());
            let resource = kept.cloned().unwrap_or(resource);
            layer.types[ty.index()].resources.insert(Arc::clone(resource.name()), resource);
        }
        for ty in &mut layer.types {
            ty.seal();
        }
        layer
    }

    /// A layer that has nothing yet, but will have `names`: clients that ask for them wait instead of being told that they
    /// do not exist.
    pub fn pending(ty: ResourceType, names: impl IntoIterator<Item = Arc<str>>) -> Self {
        let mut layer = Self::default();
        let part = &mut layer.types[ty.index()];
        part.pending = names.into_iter().collect();
        part.seal();
        layer
    }

    /// The resources of one type, by name.
    pub fn resources(&self, ty: ResourceType) -> impl Iterator<Item = &Arc<Resource>> {
        self.types[ty.index()].resources.values()
    }

    /// The version of everything the layer has: equal for equal content.
    pub fn version(&self) -> Version {
        Version::of_set(ResourceType::ALL.iter().map(|ty| (ty.short(), self.types[ty.index()].version)))
    }
}

impl TypeLayer {
    fn seal(&mut self) {
        let absent = Version::of(b"pending");
        let members = self.resources.values().map(|resource| (&**resource.name(), resource.version()));
        self.version = Version::of_set(members.chain(self.pending.iter().map(|name| (&**name, absent))));
    }
}

/// What one client may see: layers laid over each other. Where two have a resource of one name, the earlier layer's counts.
#[derive(Clone, Debug, Default)]
pub struct View {
    layers: Vec<Arc<Layer>>,
    versions: [Option<Version>; ResourceType::ALL.len()],
}

/// What a view says of a name.
pub(super) enum Lookup<'a> {
    Present(&'a Arc<Resource>),
    /// It is being prepared and will come.
    Pending,
    /// This client cannot have it.
    Absent,
}

impl View {
    /// The view through these layers.
    pub fn new(layers: Vec<Arc<Layer>>) -> Self {
        let versions = std::array::from_fn(|index| {
            Some(Version::of_set(layers.iter().map(|layer| ("", layer.types[index].version))))
        });
        Self { layers, versions }
    }

    /// Changes whenever anything of the type does.
    pub(super) fn stamp(&self, ty: ResourceType) -> Option<Version> {
        self.versions[ty.index()]
    }

    pub(super) fn lookup(&self, ty: ResourceType, name: &str) -> Lookup<'_> {
        let parts = || self.layers.iter().map(move |layer| &layer.types[ty.index()]);
        if let Some(resource) = parts().find_map(|part| part.resources.get(name)) {
            Lookup::Present(resource)
        } else if parts().any(|part| part.pending.contains(name)) {
            Lookup::Pending
        } else {
            Lookup::Absent
        }
    }

    /// The resource of this type and name, if the client may see it and it exists.
    pub fn get(&self, ty: ResourceType, name: &str) -> Option<&Arc<Resource>> {
        match self.lookup(ty, name) {
            Lookup::Present(resource) => Some(resource),
            Lookup::Pending | Lookup::Absent => None,
        }
    }

    /// Whether the client can never have this name, as things stand.
    pub(super) fn is_absent(&self, ty: ResourceType, name: &str) -> bool {
        name != WILDCARD && matches!(self.lookup(ty, name), Lookup::Absent)
    }

    /// Every resource of a type, in the order of layers, each layer's by name.
    pub fn resources(&self, ty: ResourceType) -> impl Iterator<Item = &Arc<Resource>> {
        self.layers.iter().enumerate().flat_map(move |(depth, layer)| {
            let above = &self.layers[..depth];
            layer.resources(ty).filter(move |resource| {
                !above.iter().any(|layer| layer.types[ty.index()].resources.contains_key(resource.name()))
            })
        })
    }
}
