//! Changes that are dangerous in one step, made in steps that each wait until every proxy has acknowledged the one before.
//!
//! A [`RootRotation`] is pure: what is known of the proxies and the time come in, the next step or who is waited for comes out. It is
//! kept by [`trust`](crate::trust), together with what it changes, before anybody is shown a change; so it goes on after a crash where
//! it was.
//!
//! | step | in the bundle | signs | goes on when |
//! |---|---|---|---|
//! | prepared | old | old | at once |
//! | distributing | old, new | old | every proxy trusts both roots |
//! | activating | old, new | new | every proxy shows a certificate below the new root, to its peers and to us, and nothing below the old one is valid |
//! | retiring | new | new | every proxy trusts the new root only |
//! | reverting (aborted while activating) | old, new | old | as activating, the other way round |
//! | withdrawing (aborted) | old | old | every proxy trusts the old root only |
//!
//! At every moment two proxies that have what they were sent verify each other: nobody shows a certificate below a root that somebody
//! does not trust.
//!
//! A [`ModeRollout`] is of the same kind for the ports that a policy gives another mTLS mode.

mod gate;
mod modes;
mod root;
mod step;
#[cfg(test)]
mod tests;

pub use gate::{Held, ProxyView, Situation, Stuck};
pub use modes::{BadModeRecord, ModeProgress, ModeRecord, ModeRollout, Part, Participant, Port};
pub use root::{Progress, Refused, RootRotation};
pub use step::{Activating, Distributing, Pair, Prepared, Retiring, Reverting, Step, Withdrawing};
