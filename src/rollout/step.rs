//! The steps, each a type of its own: the functions that lead from one to the next are all there are, and those that have to wait ask for
//! a proof which only the [`gate`](super::gate) can give.

use std::marker::PhantomData;

use super::gate::{EveryoneShows, EveryoneTrusts};
use crate::trust::{Roots, Serial};

/// The two roots of a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The one that it began with.
    pub old: Serial,
    /// The one that takes its place.
    pub new: Serial,
}

/// A rotation at the step `S`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<S> {
    pair: Pair,
    at: PhantomData<S>,
}

/// The new root exists, and nobody knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prepared {}
/// Both roots are in the bundle, the old one signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distributing {}
/// Both roots are in the bundle, the new one signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Activating {}
/// The new root is alone in the bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retiring {}
/// Both roots are in the bundle, the old one signs again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reverting {}
/// The old root is alone in the bundle again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withdrawing {}
/// Nothing is left to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {}

impl<S> Step<S> {
    /// A step as it was kept: after a crash, the rotation goes on where it was.
    pub(super) fn kept(pair: Pair) -> Self {
        Self { pair, at: PhantomData }
    }

    fn to<T>(self) -> Step<T> {
        Step::kept(self.pair)
    }

    /// The two roots.
    pub fn pair(&self) -> &Pair {
        &self.pair
    }

    fn both(&self, signing: &Serial) -> Roots {
        Roots { signing: signing.clone(), trusted: vec![self.pair.old.clone(), self.pair.new.clone()] }
    }

    fn only(&self, root: &Serial) -> Roots {
        Roots { signing: root.clone(), trusted: vec![root.clone()] }
    }
}

impl Step<Prepared> {
    /// A new rotation.
    pub fn new(pair: Pair) -> Self {
        Self::kept(pair)
    }

    /// What the roots are at this step.
    pub fn roots(&self) -> Roots {
        self.only(&self.pair.old)
    }

    /// Shows the new root to everybody.
    pub fn distribute(self) -> Step<Distributing> {
        self.to()
    }

    /// Gives up. Nobody has seen the new root.
    pub fn abort(self) -> Step<Ended> {
        self.to()
    }
}

impl Step<Distributing> {
    /// What the roots are at this step.
    pub fn roots(&self) -> Roots {
        self.both(&self.pair.old)
    }

    /// Lets the new root sign.
    pub fn activate(self, _: EveryoneTrusts) -> Step<Activating> {
        self.to()
    }

    /// Gives up. Nobody shows a certificate below the new root.
    pub fn abort(self) -> Step<Withdrawing> {
        self.to()
    }
}

impl Step<Activating> {
    /// What the roots are at this step.
    pub fn roots(&self) -> Roots {
        self.both(&self.pair.new)
    }

    /// Takes the old root out of the bundle.
    pub fn retire(self, _: EveryoneShows) -> Step<Retiring> {
        self.to()
    }

    /// Gives up: the old root is to sign again.
    pub fn abort(self) -> Step<Reverting> {
        self.to()
    }
}

impl Step<Retiring> {
    /// What the roots are at this step.
    pub fn roots(&self) -> Roots {
        self.only(&self.pair.new)
    }

    /// The rotation is over.
    pub fn finish(self, _: EveryoneTrusts) -> Step<Ended> {
        self.to()
    }
}

impl Step<Reverting> {
    /// What the roots are at this step.
    pub fn roots(&self) -> Roots {
        self.both(&self.pair.old)
    }

    /// Takes the new root out of the bundle.
    pub fn withdraw(self, _: EveryoneShows) -> Step<Withdrawing> {
        self.to()
    }
}

impl Step<Withdrawing> {
    /// What the roots are at this step.
    pub fn roots(&self) -> Roots {
        self.only(&self.pair.old)
    }

    /// All is as it was.
    pub fn finish(self, _: EveryoneTrusts) -> Step<Ended> {
        self.to()
    }
}
