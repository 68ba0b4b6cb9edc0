//! Where policy comes from. A source yields whole policy sets and keeps the last good one: what an operator saves by halves or
//! breaks is reported and never served.
//!
//! [`Directory`] reads files and follows their changes. What a consumer sees is a [`State`] in a `watch` channel, so a slow
//! consumer sees the newest state and misses none that lasts.
//!
//! | what happens to the directory | what happens to the state |
//! |---|---|
//! | a file is added, changed, removed, or replaced by a rename or a symlink swap | a new `current` after 20 ms of quiet, 500 ms at most |
//! | a file does not parse, cannot be read, is not UTF-8, is larger than 4 MiB | `rejected` names file, line and field; `current` stays |
//! | a file that had content is cut to 0 bytes | the same: an editor is writing, or a disk is full |
//! | the last file is removed | after a second of it an empty set, with a warning: the mesh falls back to its defaults |
//! | the directory vanishes or cannot be read | `rejected`; `current` stays |
//! | the mistake is repaired | a new `current`, or the same when the text is the same as before; `rejected` is cleared |
//! | files are touched or rewritten with the same content | nothing |

mod directory;
mod listing;
mod spire;
mod watcher;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use time::OffsetDateTime;

use crate::policy::{PolicyError, PolicySet, Warning};

pub use directory::{Directory, Options, read};
pub use spire::spire_server;

/// A set and what the operator should know about it, or everything that is wrong with it.
pub type Verdict = Result<(PolicySet, Vec<Warning>), Vec<PolicyError>>;

/// A good policy set.
#[derive(Debug)]
pub struct Update {
    /// The set.
    pub set: Arc<PolicySet>,
    /// How many files it was read from.
    pub files: usize,
    /// What the operator should know about it.
    pub warnings: Vec<Warning>,
    /// 1 for the first good set of this source, one more for each later one.
    pub generation: u64,
}

/// A policy set that was refused.
#[derive(Debug)]
pub struct Rejected {
    /// Everything wrong with it; never empty.
    pub errors: Vec<PolicyError>,
    /// When it was read.
    pub at: OffsetDateTime,
}

/// What a source has at this moment.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The last good set; `None` until there is one.
    pub current: Option<Arc<Update>>,
    /// The newer set that was refused; `None` when `current` is the newest.
    pub rejected: Option<Arc<Rejected>>,
}
