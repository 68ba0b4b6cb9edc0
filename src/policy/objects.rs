//! The objects of one kind.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::kind::Kind;
use super::{Object, Origin, PolicyError};

/// The objects of one kind, ordered by namespace and name. A copy shares them, and a set in which nothing of the kind has changed is such a
/// copy of the one before. So whether anything has is a comparison of pointers, and whatever was made of them can be kept.
pub struct Objects<S>(Arc<Inner<S>>);

struct Inner<S> {
    objects: Vec<Arc<Object<S>>>,
    /// Every file in which one of them stands.
    files: BTreeSet<Arc<str>>,
}

impl<S> Objects<S> {
    /// Whether these are the very objects of `other`, none of them read anew.
    pub fn are(&self, other: &Self) -> bool {
        let same = |(one, other): (&Arc<_>, &Arc<_>)| Arc::ptr_eq(one, other);
        Arc::ptr_eq(&self.0, &other.0) || (self.len() == other.len() && self.iter().zip(other.iter()).all(same))
    }

    /// These and others, each of which takes the place of the one of its name.
    pub fn with(&self, others: Vec<Arc<Object<S>>>) -> Self {
        let names: BTreeSet<(&str, &str)> = others.iter().map(|it| name(it)).collect();
        let mut all: Vec<_> = self.iter().filter(|it| !names.contains(&name(it))).cloned().collect();
        drop(names);
        all.extend(others);
        all.sort_by(|a, b| name(a).cmp(&name(b)));
        all.into_iter().collect()
    }

    /// Those of `before` that stand in `files`, besides these.
    pub(super) fn take_over(&mut self, before: &Self, files: &BTreeSet<Arc<str>>) {
        if self.is_empty() && before.0.files.is_subset(files) {
            *self = before.clone();
            return;
        }
        let stand = |object: &&Arc<Object<S>>| files.contains(&object.at.file);
        self.extend(before.iter().filter(stand).cloned());
    }

    /// Puts them in order. Of two of one name it is always the later one, by place, that is an error.
    pub(super) fn sort(&mut self, kind: Kind, errors: &mut Vec<PolicyError>) {
        // What is shared stands in a good set, and so in order.
        let Some(Inner { objects, .. }) = Arc::get_mut(&mut self.0) else { return };
        objects.sort_by(|a, b| name(a).cmp(&name(b)));
        for namesakes in objects.chunk_by(|a, b| name(a) == name(b)).filter(|objects| objects.len() > 1) {
            let mut places: Vec<&Origin> = namesakes.iter().map(|object| &object.at).collect();
            places.sort();
            let (namespace, name) = name(&namesakes[0]);
            let of_namespace = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
            errors.extend(places[1..].iter().map(|at| {
                let message = format!("{} {of_namespace}{name} is already defined at {}", kind.name(), places[0]);
                PolicyError::new((*at).clone(), "metadata.name", message).with_help("remove one of the two")
            }));
        }
    }
}

fn name<S>(object: &Object<S>) -> (&str, &str) {
    (&object.meta.namespace, &object.meta.name)
}

impl<S> Deref for Objects<S> {
    type Target = [Arc<Object<S>>];

    fn deref(&self) -> &Self::Target {
        &self.0.objects
    }
}

impl<'a, S> IntoIterator for &'a Objects<S> {
    type Item = &'a Arc<Object<S>>;
    type IntoIter = std::slice::Iter<'a, Arc<Object<S>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<S> Extend<Arc<Object<S>>> for Objects<S> {
    fn extend<I: IntoIterator<Item = Arc<Object<S>>>>(&mut self, objects: I) {
        let inner = Arc::make_mut(&mut self.0);
        for object in objects {
            if !inner.files.contains(&object.at.file) {
                inner.files.insert(Arc::clone(&object.at.file));
            }
            inner.objects.push(object);
        }
    }
}

impl<S> FromIterator<Arc<Object<S>>> for Objects<S> {
    fn from_iter<I: IntoIterator<Item = Arc<Object<S>>>>(objects: I) -> Self {
        let mut all = Self::default();
        all.extend(objects);
        all
    }
}

impl<S> Clone for Objects<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Clone for Inner<S> {
    fn clone(&self) -> Self {
        Self { objects: self.objects.clone(), files: self.files.clone() }
    }
}

impl<S> Default for Objects<S> {
    fn default() -> Self {
        Self(Arc::new(Inner { objects: Vec::new(), files: BTreeSet::new() }))
    }
}

impl<S: fmt::Debug> fmt::Debug for Objects<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
