//! What a client asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

/// The name that asks for everything.
pub(super) const WILDCARD: &str = "*";

/// The names one client subscribed to in one type, and whether it also wants everything.
#[derive(Debug, Default)]
pub(super) struct Interest {
    pub(super) wildcard: bool,
    pub(super) names: BTreeSet<Arc<str>>,
}

impl Interest {
    pub(super) fn covers(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }
}
