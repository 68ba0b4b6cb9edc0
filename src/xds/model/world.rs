//! What there is, and what was refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::{Layer, Resource, ResourceType, View};

/// What stands under a name. A value is one byte of content, and the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bytes {
    Present(u8),
    Pending,
}

/// Whether the client refuses this content.
pub(super) fn is_bad(content: u8) -> bool {
    content % 4 == 3
}

/// The name in a value.
pub(super) fn name(value: &[u8]) -> String {
    String::from_utf8_lossy(&value[1..]).trim_end().to_owned()
}

fn restate(value: &[u8]) -> Option<Vec<u8>> {
    Some([value, b"\n"].concat())
}

/// What the server has, and what it shows.
#[derive(Default)]
pub(super) struct World {
    state: BTreeMap<(ResourceType, String), Bytes>,
    /// What is no longer there but may stand in a list until those who name it have let go.
    ever: BTreeSet<(ResourceType, String, u8)>,
    layer: Arc<Layer>,
    pub(super) view: View,
}

impl World {
    pub(super) fn set(&mut self, ty: ResourceType, name: String, content: u8) {
        self.ever.insert((ty, name.clone(), content));
        self.state.insert((ty, name), Bytes::Present(content));
        self.show();
    }

    pub(super) fn prepare(&mut self, ty: ResourceType, name: String) {
        self.state.insert((ty, name), Bytes::Pending);
        self.show();
    }

    pub(super) fn remove(&mut self, ty: ResourceType, name: &str) {
        self.state.remove(&(ty, name.to_owned()));
        self.show();
    }

    /// As another process would: the same content, nothing in common in memory.
    pub(super) fn start_anew(&mut self) {
        self.layer = Arc::default();
        self.show();
    }

    fn show(&mut self) {
        let present = self.state.iter().filter_map(|((ty, name), bytes)| match bytes {
            Bytes::Present(content) => {
                let resource = Resource::new(*ty, name.as_str(), &[&[*content][..], name.as_bytes()].concat());
                let resource = if *ty == ResourceType::Secret { resource.restated_by(restate) } else { resource };
                // Half of the secrets travel alone.
                let alone = *ty == ResourceType::Secret && name.bytes().last().is_some_and(|digit| digit % 2 == 0);
                Some((*ty, Arc::new(if alone { resource.alone() } else { resource })))
            }
            Bytes::Pending => None,
        });
        self.layer = Arc::new(Layer::new(present, Some(&self.layer)));
        let mut layers = vec![Arc::clone(&self.layer)];
        for ty in super::TYPES {
            let pending = self.state.iter().filter(|((of, _), bytes)| *of == ty && **bytes == Bytes::Pending);
            layers.push(Arc::new(Layer::pending(ty, pending.map(|((_, name), _)| name.as_str().into()))));
        }
        self.view = View::new(&layers);
    }

    pub(super) fn content(&self, ty: ResourceType, name: &str) -> Option<Bytes> {
        self.state.get(&(ty, name.to_owned())).copied()
    }

    pub(super) fn names(&self, ty: ResourceType) -> impl Iterator<Item = (&str, u8)> {
        self.state.iter().filter_map(move |((of, name), bytes)| match bytes {
            Bytes::Present(content) if *of == ty => Some((name.as_str(), *content)),
            _ => None,
        })
    }

    /// Nobody is shown what is not there; a list may go on holding what was.
    pub(super) fn assert_allowed(&self, ty: ResourceType, name: &str, value: &[u8]) {
        let content = value[0];
        let there = self.content(ty, name) == Some(Bytes::Present(content));
        let was = !matches!(self.content(ty, name), Some(Bytes::Present(_)))
            && ty.is_full_state()
            && self.ever.contains(&(ty, name.to_owned(), content));
        assert!(there || was, "{ty} {name} = {content} was sent and is not there");
    }
}

/// A client that has stored these bytes already takes them without effect.
pub(super) fn assert_not_refused(name: &str, value: &[u8]) {
    assert!(!is_bad(value[0]), "the secret {name} was refused and came again");
}

/// Names, each with the bytes it was sent with.
type Contents = Vec<(String, Vec<u8>)>;

/// What was refused in company.
#[derive(Default)]
pub(super) struct Refused {
    /// What was refused in a response with several is to be divided, so it may not come again in the same company.
    together: BTreeSet<(ResourceType, Contents)>,
    newest: BTreeMap<ResourceType, Contents>,
    /// The types of which a response is judged while there is something else already.
    overtaken: BTreeSet<ResourceType>,
}

impl Refused {
    pub(super) fn add(&mut self, ty: ResourceType, contents: Contents) {
        if self.overtaken.contains(&ty) {
            // The server looks at what is there now with this refusal as the newest.
            self.together.retain(|(of, _)| *of != ty);
        }
        self.newest.insert(ty, contents.clone());
        self.together.insert((ty, contents));
    }

    /// A client that asks anew has dropped what it knew.
    pub(super) fn asked(&mut self, ty: ResourceType, names: &[String]) {
        if !names.is_empty() {
            self.together.retain(|(of, _)| *of != ty);
        }
    }

    /// A client that has taken other content judges what it refused before anew.
    pub(super) fn taken(&mut self, ty: ResourceType, contents: &[(String, Vec<u8>)]) {
        for (name, _) in contents {
            self.together.retain(|(of, all)| *of != ty || all.iter().all(|(other, _)| other != name));
        }
    }

    /// A list that was refused is another offer when others have been refused since, of which the client took what was good.
    pub(super) fn lists_changed(&mut self) {
        let newest = &self.newest;
        self.together.retain(|(ty, list)| !ty.is_full_state() || newest.get(ty) == Some(list));
        self.overtaken.extend(super::TYPES.into_iter().filter(|ty| ty.is_full_state()));
    }

    /// Clusters and listeners are offered again when a secret has been replaced.
    pub(super) fn secrets_changed(&mut self) {
        self.together.retain(|(ty, _)| !ty.is_full_state());
    }

    /// A response is on its way. What was refused may not come again in the same company.
    pub(super) fn sent(&mut self, ty: ResourceType, contents: &[(String, Vec<u8>)]) {
        self.overtaken.remove(&ty);
        assert!(!self.together.contains(&(ty, contents.to_vec())), "{ty} {contents:?} was refused and came again");
    }
}
