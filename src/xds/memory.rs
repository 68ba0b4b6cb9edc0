//! What is known of a client when its stream has ended, for its next.
//!
//! A client that comes back says which versions it has. It cannot say that it has taken a part of a response that it refused, that
//! the version it names covers what it has let go since, or that it has refused certain bytes: Envoy takes the same bytes without
//! effect when they come again. The stream before knows.
//!
//! Where there is no memory of it, as in another process, the client is believed. So is one that dropped a name and asked for it
//! again in requests that never arrived, in the state-of-the-world variant, whose lists do not say so. An aggregated stream that
//! carries all of a client's configuration has no such requests: the client drops a name and asks for it when it is told to, one
//! after the other, and the second is not told before the first has arrived.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ResourceType, Version};

/// What one client's last stream leaves to its next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    types: [TypeMemory; ResourceType::ALL.len()],
}

/// The same for one type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeMemory {
    /// Names under which the client may have something else than it says.
    pub(super) doubts: BTreeMap<Arc<str>, Claim>,
    /// How far the version of a whole type is to be believed.
    pub(super) whole: Claim,
    /// What was sent in vain, by name.
    pub(super) trials: Trials,
}

/// By name: the newest versions that were sent in vain, the last one last.
pub(super) type Trials = BTreeMap<Arc<str>, Vec<Trial>>;

/// How far a client is believed that says which version it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Claim {
    #[default]
    Any,
    /// This version, which it has taken whole if it names it.
    Only(Version),
    None,
}

impl Claim {
    pub(super) fn holds(self, version: Version) -> bool {
        match self {
            Self::Any => true,
            Self::Only(only) => only == version,
            Self::None => false,
        }
    }
}

/// A version that was sent so many times in vain, each time in other bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trial {
    pub(super) version: Version,
    pub(super) times: u32,
    /// The client has said that it refuses it. Of what was on its way when a stream ended nobody knows.
    pub(super) is_refused: bool,
}

impl Memory {
    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.types.iter().all(|it| *it == TypeMemory::default())
    }

    /// How many names it holds.
    pub fn names(&self) -> usize {
        self.types.iter().map(|it| it.doubts.len() + it.trials.values().map(Vec::len).sum::<usize>()).sum()
    }

    pub(super) fn set(&mut self, ty: ResourceType, memory: TypeMemory) {
        self.types[ty.index()] = memory;
    }

    pub(super) fn take(&mut self, ty: ResourceType) -> TypeMemory {
        std::mem::take(&mut self.types[ty.index()])
    }
}
