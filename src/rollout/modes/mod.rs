//! Ports that change their mode, in steps that no order of arrival can break.
//!
//! A [`ModeRollout`] knows what every port serves and which are on their way. It is pure: a policy, or what is known of the proxies, comes in,
//! and what is to be kept and then shown comes out. It is kept as [`ModeRecord`] before anybody is shown anything of it, so a
//! crash resumes it.
//!
//! | step | its listener takes | its clients do | goes on when |
//! |---|---|---|---|
//! | accepting | both | what it served before | every proxy that serves it has acknowledged its listener |
//! | switching | both | what the policy says | every proxy that reaches it has acknowledged how |
//! | closing | what the policy says | what the policy says | every proxy that serves it has acknowledged its listener |
//!
//! At every moment whatever a client may do, by what it has or what is on its way to it, is taken by whatever a listener may be. Each port
//! has its own step; those of one step go on together, so that a change costs three rounds and not one for each port.

mod gate;
mod port;
mod record;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use time::OffsetDateTime;

use super::Stuck;
use crate::mesh::{Modes, Step, Transit, WorkloadKey};
use gate::{Over, over};

pub use gate::{Part, Participant};
pub use port::Port;
pub use record::{BadModeRecord, ModeRecord};

/// What every port serves, and which are on their way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModeRollout {
    /// Shared by those that are alike.
    ports: Arc<BTreeMap<WorkloadKey, BTreeMap<u16, Port>>>,
    /// Workloads that have left the policy: when, and what their ports served then.
    left: BTreeMap<WorkloadKey, Left>,
    started_at: Option<OffsetDateTime>,
    step_at: Option<OffsetDateTime>,
}

/// A workload that is not in the policy any more. Its proxies are not told, and go on with what they have.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Left {
    at: OffsetDateTime,
    ports: BTreeMap<u16, Port>,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModeProgress {
    /// Some ports go on. This has to be kept before anybody sees anything of it.
    Next(ModeRollout),
    /// These are waited for.
    Waiting(Vec<Stuck>),
    /// No port is on its way.
    Settled,
}

impl ModeRollout {
    /// Nothing was served before: whatever the policy says is served at once.
    pub fn first(modes: &Modes) -> Self {
        let nothing = Self { ports: Arc::default(), left: BTreeMap::new(), started_at: None, step_at: None };
        nothing.retarget(modes, true, OffsetDateTime::UNIX_EPOCH, OffsetDateTime::UNIX_EPOCH)
    }

    /// The policy says this from now on. Ports that were not served before are not on their way; nor are those whose policy has opted
    /// out, nor any if `staged` is false. Where no service leads to a port any more, what it served is remembered for as long as its
    /// workload is there: it may be back in a moment, and proxies that run by now have not forgotten it. A workload that is not there
    /// any more is remembered unless it left before `forgotten`.
    #[must_use]
    pub fn retarget(&self, modes: &Modes, staged: bool, forgotten: OffsetDateTime, now: OffsetDateTime) -> Self {
        let mut next = BTreeMap::new();
        for (workload, written) in modes {
            let before = self.served(workload);
            let port = |(number, written): (&u16, &crate::mesh::Written)| {
                let known = before.and_then(|ports| ports.get(number)).filter(|_| staged && written.staged);
                (*number, known.map_or(Port::Settled(written.mode), |port| port.retarget(written.mode)))
            };
            let gone = before.into_iter().flatten().filter(|(number, _)| !written.contains_key(*number));
            let gone = gone.map(|(number, port)| (*number, port.halt()));
            let ports: BTreeMap<u16, Port> = written.iter().map(port).chain(gone).collect();
            if !ports.is_empty() {
                next.insert(workload.clone(), ports);
            }
        }
        let leaves = self.ports.iter().map(|(workload, ports)| {
            let ports = ports.iter().map(|(number, port)| (*number, port.halt())).collect();
            (workload, Left { at: now, ports })
        });
        let left = self.left.iter().map(|(workload, left)| (workload, left.clone())).chain(leaves);
        let left = left.filter(|(workload, left)| !modes.contains_key(*workload) && left.at >= forgotten);
        Self { left: left.map(|(workload, left)| (workload.clone(), left)).collect(), ..self.with(next, now) }
    }

    /// What the ports of a workload serve, or did when it left.
    fn served(&self, workload: &WorkloadKey) -> Option<&BTreeMap<u16, Port>> {
        self.ports.get(workload).or_else(|| Some(&self.left.get(workload)?.ports))
    }

    /// The next step of those ports for which nobody is waited for.
    pub fn advance(&self, participants: &[Participant], now: OffsetDateTime) -> ModeProgress {
        if !self.is_under_way() {
            return ModeProgress::Settled;
        }
        let (mut next, mut late) = ((*self.ports).clone(), Vec::new());
        // The last step first: no port takes two at a time.
        for step in Step::ALL.into_iter().rev().filter(|step| self.count(*step) > 0) {
            match over(step, participants) {
                Ok(over) => each(&mut next, |port| match &over {
                    Over::Accepting(proof) => port.switch(proof),
                    Over::Switching(proof) => port.close(proof),
                    Over::Closing(proof) => port.settle(proof),
                }),
                Err(stuck) => late.extend(stuck),
            }
        }
        if next == *self.ports { ModeProgress::Waiting(late) } else { ModeProgress::Next(self.with(next, now)) }
    }

    /// The next step of the ports that are furthest behind, whoever is late. `None`: no port is on its way.
    pub fn force(&self, now: OffsetDateTime) -> Option<Self> {
        let behind = self.step()?;
        let mut next = (*self.ports).clone();
        each(&mut next, |port| if port.step() == Some(behind) { port.force() } else { port });
        Some(self.with(next, now))
    }

    /// Everyone who is waited for.
    pub fn waits_for(&self, participants: &[Participant]) -> Vec<Stuck> {
        let steps = Step::ALL.into_iter().filter(|step| self.count(*step) > 0);
        steps.filter_map(|step| over(step, participants).err()).flatten().collect()
    }

    /// Whether any port is on its way.
    pub fn is_under_way(&self) -> bool {
        self.step().is_some()
    }

    /// The step of the ports that are furthest behind.
    pub fn step(&self) -> Option<Step> {
        self.in_transit().filter_map(|(.., port)| port.step()).min()
    }

    /// How many ports are at this step.
    pub fn count(&self, step: Step) -> usize {
        self.in_transit().filter(|(.., port)| port.step() == Some(step)).count()
    }

    /// The ports that are on their way.
    pub fn in_transit(&self) -> impl Iterator<Item = (&WorkloadKey, u16, Port)> {
        let all = self.ports.iter().flat_map(|(workload, ports)| ports.iter().map(move |it| (workload, *it.0, *it.1)));
        all.filter(|(.., port)| port.step().is_some())
    }

    /// What the model is told of them.
    pub fn transit(&self) -> Transit {
        self.in_transit().filter_map(|(key, number, port)| Some((key.clone(), number, port.moving()?))).collect()
    }

    /// Whether `next` has another word on a port that both know. Then it has to be kept before anybody is shown anything of it; what is
    /// merely new or gone may be kept afterwards.
    pub fn differs_in_known(&self, next: &Self) -> bool {
        !Arc::ptr_eq(&self.ports, &next.ports)
            && next.ports.iter().any(|(workload, ports)| {
                let before = self.served(workload);
                let differs = |number, port| before.and_then(|it| it.get(number)).is_some_and(|before| before != port);
                ports.iter().any(|(number, port)| differs(number, port))
            })
    }

    /// When the first of the ports that are on their way set out, and when one last came to another step.
    pub fn times(&self) -> Option<(OffsetDateTime, OffsetDateTime)> {
        self.started_at.zip(self.step_at)
    }

    fn with(&self, ports: BTreeMap<WorkloadKey, BTreeMap<u16, Port>>, now: OffsetDateTime) -> Self {
        let mut next = Self { ports: Arc::new(ports), left: self.left.clone(), started_at: None, step_at: None };
        if next.is_under_way() {
            let same = next.transit() == self.transit();
            next.started_at = self.started_at.or(Some(now));
            next.step_at = self.step_at.filter(|_| same).or(Some(now));
        }
        next
    }
}

fn each(ports: &mut BTreeMap<WorkloadKey, BTreeMap<u16, Port>>, change: impl Fn(Port) -> Port) {
    ports.values_mut().flat_map(BTreeMap::values_mut).for_each(|port| *port = change(*port));
}
