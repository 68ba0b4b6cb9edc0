//! One port: where it is, and the only ways on.

use super::gate::{EveryClientSwitched, EveryServerAccepts, EveryServerClosed};
use crate::mesh::{Moving, Step, decide::InboundMode};

/// A port that a service leads to, or has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// It serves this, and its clients know it.
    Settled(InboundMode),
    /// It is on its way.
    Moving {
        /// What it served before.
        from: InboundMode,
        /// What the policy says.
        to: InboundMode,
        /// How far it is.
        step: Step,
    },
}

impl Port {
    /// How far it is on its way; `None` where it is not.
    pub fn step(self) -> Option<Step> {
        match self {
            Self::Settled(_) => None,
            Self::Moving { step, .. } => Some(step),
        }
    }

    /// What the model is told of it.
    pub fn moving(self) -> Option<Moving> {
        match self {
            Self::Settled(_) => None,
            Self::Moving { from, step, .. } => Some(Moving { from, step }),
        }
    }

    /// The policy says `to` from now on. What is in effect decides from where it goes on.
    pub(super) fn retarget(self, to: InboundMode) -> Self {
        match self {
            Self::Moving { to: same, .. } if same == to => self,
            // Whether its listener takes that alone already, or still both, its clients do what `at` takes.
            Self::Settled(at) | Self::Moving { to: at, step: Step::Closing, .. } => Self::leave(at, to),
            // Its clients have not moved yet.
            Self::Moving { from, step: Step::Accepting, .. } => Self::leave(from, to),
            // Its clients are anywhere, and its listener takes both.
            Self::Moving { step: Step::Switching, .. } => match to {
                InboundMode::Permissive => Self::Settled(to),
                to => Self::Moving { from: InboundMode::Permissive, to, step: Step::Switching },
            },
        }
    }

    /// No service leads to it any more: it is where it has come to, and goes on from there if one does again.
    pub(super) fn halt(self) -> Self {
        match self {
            Self::Settled(_) => self,
            Self::Moving { from, step: Step::Accepting, .. } => Self::Settled(from),
            // Its clients are anywhere.
            Self::Moving { step: Step::Switching, .. } => Self::Settled(InboundMode::Permissive),
            Self::Moving { to, step: Step::Closing, .. } => Self::Settled(to),
        }
    }

    fn leave(from: InboundMode, to: InboundMode) -> Self {
        if from == to { Self::Settled(to) } else { Self::Moving { from, to, step: Step::Accepting } }
    }

    /// From accepting on: the clients do the new.
    pub(super) fn switch(self, _: &EveryServerAccepts) -> Self {
        self.step_from(Step::Accepting)
    }

    /// From switching on: the listeners take the new alone.
    pub(super) fn close(self, _: &EveryClientSwitched) -> Self {
        self.step_from(Step::Switching)
    }

    /// From closing on: it is there.
    pub(super) fn settle(self, _: &EveryServerClosed) -> Self {
        self.step_from(Step::Closing)
    }

    /// The next step, whoever is late.
    pub(super) fn force(self) -> Self {
        self.step().map_or(self, |step| self.step_from(step))
    }

    fn step_from(self, at: Step) -> Self {
        match self {
            Self::Moving { from, to, step } if step == at => match step {
                Step::Accepting => Self::Moving { from, to, step: Step::Switching },
                Step::Switching => Self::Moving { from, to, step: Step::Closing },
                Step::Closing => Self::Settled(to),
            },
            other => other,
        }
    }
}
