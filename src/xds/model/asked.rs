//! What a client has asked for, as far as the server has read it.

use std::collections::BTreeSet;

/// One type's part of it. Kept by the model in its own way, so that the server's books are held to it.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Asked {
    pub(super) started: bool,
    pub(super) wildcard: bool,
    pub(super) named: bool,
    pub(super) names: BTreeSet<String>,
}

impl Asked {
    pub(super) fn covers(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }
}
