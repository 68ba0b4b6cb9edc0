//! A root rotation as it is kept.

use time::OffsetDateTime;

use super::super::Serial;

/// Where a root rotation is. What each step means, and which may follow which, is `rollout`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RotationStep {
    /// The new root exists, and nobody knows it.
    Prepared,
    /// Both roots are in the bundle; the old one signs.
    Distributing,
    /// Both roots are in the bundle; the new one signs.
    Activating,
    /// The new root is alone in the bundle, and waits until all have that.
    Retiring,
    /// The new root is all there is.
    Done,
    /// Given up after certificates were signed under the new root: the old one signs again, and both are in the bundle.
    Reverting,
    /// Given up: the old root is alone in the bundle, and waits until all have that.
    Withdrawing,
    /// Given up, and all is as it was.
    Aborted,
}

impl RotationStep {
    /// Every step.
    pub const ALL: [Self; 8] = [
        Self::Prepared,
        Self::Distributing,
        Self::Activating,
        Self::Retiring,
        Self::Done,
        Self::Reverting,
        Self::Withdrawing,
        Self::Aborted,
    ];

    /// Its name, as it is kept and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Distributing => "distributing",
            Self::Activating => "activating",
            Self::Retiring => "retiring",
            Self::Done => "done",
            Self::Reverting => "reverting",
            Self::Withdrawing => "withdrawing",
            Self::Aborted => "aborted",
        }
    }

    /// The step of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.name() == name)
    }

    /// Whether nothing follows.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Done | Self::Aborted)
    }
}

/// A root rotation that is under way, or the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotationRecord {
    /// The root that it began with.
    pub old: Serial,
    /// The root that takes its place.
    pub new: Serial,
    /// Where it is.
    pub step: RotationStep,
    /// An operator has asked it to stay where it is.
    pub paused: bool,
    /// An operator has asked it not to wait for what cannot be seen: proxies that are away, and certificates that may still be used.
    pub force: bool,
    /// When it began.
    pub started_at: OffsetDateTime,
    /// When it came to this step.
    pub step_at: OffsetDateTime,
}
