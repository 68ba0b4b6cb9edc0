//! A root rotation, wherever it is.

use time::OffsetDateTime;

use super::gate::{Situation, Stuck, everyone_shows, everyone_trusts};
use super::step::{Activating, Distributing, Ended, Pair, Prepared, Retiring, Reverting, Step, Withdrawing};
use crate::trust::{Roots, RotationRecord, RotationStep};

/// A root rotation that is under way, or the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootRotation {
    at: At,
    paused: bool,
    force: bool,
    started_at: OffsetDateTime,
    step_at: OffsetDateTime,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    Prepared(Step<Prepared>),
    Distributing(Step<Distributing>),
    Activating(Step<Activating>),
    Retiring(Step<Retiring>),
    Reverting(Step<Reverting>),
    Withdrawing(Step<Withdrawing>),
    Done(Step<Ended>),
    Aborted(Step<Ended>),
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// This step is over. The next has to be kept, with its roots, before anybody sees anything of it.
    Next(RootRotation),
    /// These are waited for.
    Waiting(Vec<Stuck>),
    /// An operator has asked it to stay.
    Paused,
    /// It is over.
    Ended,
}

/// Why an operator's wish is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// One at a time.
    #[error("a root rotation is under way already")]
    UnderWay,
    /// There is none.
    #[error("no root rotation is under way")]
    None,
    /// The old root is leaving the bundles of the proxies already.
    #[error(
        "it is too late to abort: the old root is being taken out of the trust bundle. Start another rotation when this one is done"
    )]
    TooLate,
    /// It is being given up already.
    #[error("it is being aborted already")]
    Aborting,
}

impl RootRotation {
    /// A new one; `paused`, it only makes the new root, and waits to be resumed.
    pub fn start(pair: Pair, paused: bool, force: bool, now: OffsetDateTime) -> Self {
        let at = At::Prepared(Step::<Prepared>::new(pair));
        Self { at, paused, force, started_at: now, step_at: now }
    }

    /// One that was kept.
    pub fn from_record(record: &RotationRecord) -> Self {
        let pair = Pair { old: record.old.clone(), new: record.new.clone() };
        let at = match record.step {
            RotationStep::Prepared => At::Prepared(Step::kept(pair)),
            RotationStep::Distributing => At::Distributing(Step::kept(pair)),
            RotationStep::Activating => At::Activating(Step::kept(pair)),
            RotationStep::Retiring => At::Retiring(Step::kept(pair)),
            RotationStep::Reverting => At::Reverting(Step::kept(pair)),
            RotationStep::Withdrawing => At::Withdrawing(Step::kept(pair)),
            RotationStep::Done => At::Done(Step::kept(pair)),
            RotationStep::Aborted => At::Aborted(Step::kept(pair)),
        };
        let RotationRecord { paused, force, started_at, step_at, .. } = *record;
        Self { at, paused, force, started_at, step_at }
    }

    /// As it is kept.
    pub fn record(&self) -> RotationRecord {
        let Pair { old, new } = self.pair().clone();
        let Self { paused, force, started_at, step_at, .. } = *self;
        RotationRecord { old, new, step: self.step(), paused, force, started_at, step_at }
    }

    /// Where it is.
    pub fn step(&self) -> RotationStep {
        match &self.at {
            At::Prepared(_) => RotationStep::Prepared,
            At::Distributing(_) => RotationStep::Distributing,
            At::Activating(_) => RotationStep::Activating,
            At::Retiring(_) => RotationStep::Retiring,
            At::Reverting(_) => RotationStep::Reverting,
            At::Withdrawing(_) => RotationStep::Withdrawing,
            At::Done(_) => RotationStep::Done,
            At::Aborted(_) => RotationStep::Aborted,
        }
    }

    /// The two roots.
    pub fn pair(&self) -> &Pair {
        match &self.at {
            At::Prepared(step) => step.pair(),
            At::Distributing(step) => step.pair(),
            At::Activating(step) => step.pair(),
            At::Retiring(step) => step.pair(),
            At::Reverting(step) => step.pair(),
            At::Withdrawing(step) => step.pair(),
            At::Done(step) | At::Aborted(step) => step.pair(),
        }
    }

    /// What the roots are at this step.
    pub fn roots(&self) -> Roots {
        let only = |root: &crate::trust::Serial| Roots { signing: root.clone(), trusted: vec![root.clone()] };
        match &self.at {
            At::Prepared(step) => step.roots(),
            At::Distributing(step) => step.roots(),
            At::Activating(step) => step.roots(),
            At::Retiring(step) => step.roots(),
            At::Reverting(step) => step.roots(),
            At::Withdrawing(step) => step.roots(),
            At::Done(step) => only(&step.pair().new),
            At::Aborted(step) => only(&step.pair().old),
        }
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.step().is_end()
    }

    /// The next step, or what it has to wait for.
    pub fn advance(&self, situation: &Situation<'_>) -> Progress {
        if !self.is_over() && self.paused {
            return Progress::Paused;
        }
        let (force, trusted) = (self.force, self.roots().trusted);
        let trusts = || everyone_trusts(situation, &trusted, force);
        let next = match self.at.clone() {
            At::Prepared(step) => Ok(At::Distributing(step.distribute())),
            At::Distributing(step) => trusts().map(|proof| At::Activating(step.activate(proof))),
            At::Activating(step) => everyone_shows(situation, &step.pair().new.clone(), situation.old_until, force)
                .map(|proof| At::Retiring(step.retire(proof))),
            At::Retiring(step) => trusts().map(|proof| At::Done(step.finish(proof))),
            At::Reverting(step) => everyone_shows(situation, &step.pair().old.clone(), situation.new_until, force)
                .map(|proof| At::Withdrawing(step.withdraw(proof))),
            At::Withdrawing(step) => trusts().map(|proof| At::Aborted(step.finish(proof))),
            At::Done(_) | At::Aborted(_) => return Progress::Ended,
        };
        match next {
            Ok(at) => Progress::Next(Self { at, step_at: situation.now, ..self.clone() }),
            Err(stuck) => Progress::Waiting(stuck),
        }
    }

    /// Who or what is waited for, paused or not.
    pub fn waits_for(&self, situation: &Situation<'_>) -> Vec<Stuck> {
        match (Self { paused: false, ..self.clone() }).advance(situation) {
            Progress::Waiting(stuck) => stuck,
            Progress::Next(_) | Progress::Paused | Progress::Ended => Vec::new(),
        }
    }

    /// Goes back to how it was. It goes on by itself, also if it was paused; with `force` it does not wait for what cannot be seen.
    pub fn abort(&self, force: bool, now: OffsetDateTime) -> Result<Self, Refused> {
        let at = match self.at.clone() {
            At::Prepared(step) => At::Aborted(step.abort()),
            At::Distributing(step) => At::Withdrawing(step.abort()),
            At::Activating(step) => At::Reverting(step.abort()),
            At::Retiring(_) => return Err(Refused::TooLate),
            At::Reverting(_) | At::Withdrawing(_) => return Err(Refused::Aborting),
            At::Done(_) | At::Aborted(_) => return Err(Refused::None),
        };
        Ok(Self { at, paused: false, force, step_at: now, ..self.clone() })
    }

    /// Stays where it is.
    pub fn pause(&self) -> Result<Self, Refused> {
        self.under_way().map(|it| Self { paused: true, ..it.clone() })
    }

    /// Goes on; with `force` it does not wait for what cannot be seen from now on.
    pub fn resume(&self, force: bool) -> Result<Self, Refused> {
        self.under_way().map(|it| Self { paused: false, force: it.force || force, ..it.clone() })
    }

    fn under_way(&self) -> Result<&Self, Refused> {
        if self.is_over() { Err(Refused::None) } else { Ok(self) }
    }
}
