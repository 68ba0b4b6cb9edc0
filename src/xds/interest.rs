//! What a client asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::view::TypeView;

/// The name that asks for everything.
pub(super) const WILDCARD: &str = "*";

/// The names one client subscribed to in one type, and whether it also wants everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Interest {
    pub(super) wildcard: bool,
    /// Copied when written to: where it is what a layer has, it is that layer's own set.
    pub(super) names: Arc<BTreeSet<Arc<str>>>,
}

impl Interest {
    pub(super) fn covers(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    pub(super) fn insert(&mut self, name: Arc<str>) -> bool {
        !self.names.contains(&name) && Arc::make_mut(&mut self.names).insert(name)
    }

    pub(super) fn remove(&mut self, name: &str) -> bool {
        self.names.contains(name) && Arc::make_mut(&mut self.names).remove(name)
    }

    /// Gives up the own set of names for a layer's that is the same.
    pub(super) fn share(&mut self, view: &TypeView) {
        if let Some(names) = view.name_sets().find(|names| names.len() == self.names.len())
            && !Arc::ptr_eq(names, &self.names)
            && **names == *self.names
        {
            self.names = Arc::clone(names);
        }
    }
}
