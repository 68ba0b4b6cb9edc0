//! Ports on their way from one mode to another.
//!
//! A port whose mode changes takes both kinds of clients for a while, and its clients learn of it only when all its servers do. The
//! model is told which ports are on their way, and [`decide`](super::decide) draws the conclusions. When a step is over is not asked here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::decide::InboundMode;
use super::{Mesh, WorkloadKey};

/// How far a port is on its way to the mode that the policy has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// It begins to take what its clients will do, and they do what they did.
    Accepting,
    /// It takes both, and its clients begin to do what the policy says.
    Switching,
    /// It begins to take only what the policy says.
    Closing,
}

impl Step {
    /// Every step, in their order.
    pub const ALL: [Self; 3] = [Self::Accepting, Self::Switching, Self::Closing];

    /// Its name, as it is kept and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepting => "accepting",
            Self::Switching => "switching",
            Self::Closing => "closing",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A port on its way. Where to is what the policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Moving {
    /// What it served before.
    pub from: InboundMode,
    /// How far it is.
    pub step: Step,
}

impl Moving {
    /// What its listener takes, if the policy says `to`.
    pub(super) fn served(self, to: InboundMode) -> InboundMode {
        match self.step {
            Step::Accepting | Step::Switching => self.from.or(to),
            Step::Closing => to,
        }
    }

    /// Whether clients still go by what the port served before.
    pub(super) fn holds_clients(self) -> bool {
        self.step == Step::Accepting
    }
}

/// The ports that are on their way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transit(BTreeMap<WorkloadKey, BTreeMap<u16, Moving>>);

impl Transit {
    /// None of a workload: an empty map.
    pub(super) fn of(&self, workload: &WorkloadKey) -> BTreeMap<u16, Moving> {
        self.0.get(workload).cloned().unwrap_or_default()
    }

    /// One port, if it is on its way.
    pub fn get(&self, workload: &WorkloadKey, port: u16) -> Option<Moving> {
        self.0.get(workload)?.get(&port).copied()
    }

    /// The ports of a workload that are on their way.
    pub fn ports_of(&self, workload: &WorkloadKey) -> impl Iterator<Item = (u16, Moving)> + '_ {
        self.0.get(workload).into_iter().flatten().map(|(port, moving)| (*port, *moving))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&WorkloadKey, u16, Moving)> {
        self.0.iter().flat_map(|(workload, ports)| ports.iter().map(move |(port, moving)| (workload, *port, *moving)))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(WorkloadKey, u16, Moving)> for Transit {
    fn from_iter<I: IntoIterator<Item = (WorkloadKey, u16, Moving)>>(ports: I) -> Self {
        let mut transit = Self::default();
        for (workload, port, moving) in ports {
            transit.0.entry(workload).or_default().insert(port, moving);
        }
        transit
    }
}

/// What a policy set says of each workload's port that a service leads to; nothing of a workload to which none does.
pub type Modes = BTreeMap<WorkloadKey, BTreeMap<u16, Written>>;

/// What a policy says of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// What it is to take.
    pub mode: InboundMode,
    /// Whether a change to it is to go in steps: the workload has a proxy, and the deciding policy has not opted out.
    pub staged: bool,
}

impl Mesh {
    /// What the policy says of every port that clients of the mesh can reach, whether or not it is served so already. The same place in
    /// memory as in the model before, where it is the same.
    pub fn modes(&self) -> &Arc<Modes> {
        &self.reach.modes
    }

    /// The ports that are on their way.
    pub fn transit(&self) -> &Transit {
        &self.governed.transit
    }
}
