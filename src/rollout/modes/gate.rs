//! What a step of a mode change waits for, and who is late.

use time::OffsetDateTime;

use super::super::Stuck;
use crate::mesh::Step;

/// What a proxy has to do with the ports of one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// Nothing.
    #[default]
    None,
    /// It has acknowledged what it needs.
    Done,
    /// It has not, and why.
    Late(String),
}

impl Part {
    /// The worse of two: a workload may have several proxies, and each counts.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Late(why), _) | (_, Self::Late(why)) => Self::Late(why),
            (Self::None, other) => other,
            (Self::Done, _) => Self::Done,
        }
    }
}

/// What is known of one proxy that is connected, or was within the time that is waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Participant {
    /// `namespace/name` of its workload.
    pub name: String,
    /// `None`: it is connected. Else when it was last.
    pub away_since: Option<OffsetDateTime>,
    /// Its own ports that are accepting: whether they take both.
    pub accepts: Part,
    /// Its ways to ports that are switching: whether it goes them as the policy says.
    pub switched: Part,
    /// Its own ports that are closing: whether they take what the policy says alone.
    pub closed: Part,
}

/// The listeners of every port that is accepting take both.
#[derive(Debug)]
pub struct EveryServerAccepts(());

/// Nobody goes to a port that is switching in the old way.
#[derive(Debug)]
pub struct EveryClientSwitched(());

/// The listeners of every port that is closing are as the policy says.
#[derive(Debug)]
pub struct EveryServerClosed(());

/// Proof that a step is over, of one kind for each.
pub(super) enum Over {
    Accepting(EveryServerAccepts),
    Switching(EveryClientSwitched),
    Closing(EveryServerClosed),
}

/// Whether a step is over, or who is late.
pub(super) fn over(step: Step, participants: &[Participant]) -> Result<Over, Vec<Stuck>> {
    let late = |it: &Participant| {
        let part = match step {
            Step::Accepting => &it.accepts,
            Step::Switching => &it.switched,
            Step::Closing => &it.closed,
        };
        let Part::Late(why) = part else { return None };
        let reason = match it.away_since {
            Some(at) => format!("it is not connected, and was last at {at}; {why}"),
            None => why.clone(),
        };
        Some(Stuck { proxy: Some(it.name.clone()), reason })
    };
    let stuck: Vec<Stuck> = participants.iter().filter_map(late).collect();
    match (stuck.is_empty(), step) {
        (false, _) => Err(stuck),
        (true, Step::Accepting) => Ok(Over::Accepting(EveryServerAccepts(()))),
        (true, Step::Switching) => Ok(Over::Switching(EveryClientSwitched(()))),
        (true, Step::Closing) => Ok(Over::Closing(EveryServerClosed(()))),
    }
}
