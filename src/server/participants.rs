//! What every proxy has to do with a mode change, as the fleet's books and the memory of those who left have it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::str::FromStr;
use std::sync::Arc;

use time::OffsetDateTime;

use super::model::{Model, Own};
use super::need::Need;
use super::proxies::Proxies;
use crate::fleet::{Books, Description};
use crate::mesh::{Step, Workload, WorkloadKey};
use crate::rollout::{Part, Participant};
use crate::xds::Version;

/// By workload: which needs its proxies have fulfilled. Who leaves still has what it had then.
#[derive(Default)]
pub(super) struct Fulfilled(HashMap<String, [Option<Fulfilment>; 3]>);

#[derive(Clone, Copy)]
struct Fulfilment {
    stamp: Version,
    /// Streams that began later have not been asked.
    at: OffsetDateTime,
}

/// What a workload's proxies have to acknowledge: that their ports accept both, that they have switched, that their ports are closed.
struct Needs([Arc<Need>; 3]);

impl Needs {
    fn stamps(&self) -> [Option<Version>; 3] {
        std::array::from_fn(|index| Some(&self.0[index]).filter(|need| !need.is_empty()).map(|need| need.stamp()))
    }
}

impl Fulfilled {
    /// Another model is served: whatever is needed in another version now, or not any more, may be replaced on the proxies.
    pub(super) fn forget_what_changed(&mut self, model: &Model, now: OffsetDateTime) {
        let mut asking = Asking::new(model, HashMap::new(), now);
        self.0.retain(|name, fulfilled| {
            let Some(workload) = workload(model, name) else { return false };
            let stamps = asking.needs(workload).stamps();
            for (fulfilment, stamp) in fulfilled.iter_mut().zip(stamps) {
                *fulfilment = fulfilment.filter(|it| Some(it.stamp) == stamp);
            }
            fulfilled.iter().any(Option::is_some)
        });
    }

    fn has(&self, name: &str, index: usize, stamp: Version, since: Option<OffsetDateTime>) -> bool {
        let fulfilment = self.0.get(name).and_then(|it| it[index]);
        fulfilment.is_some_and(|it| it.stamp == stamp && since.is_none_or(|since| since <= it.at))
    }

    fn set(&mut self, name: &str, index: usize, stamp: Option<Version>, now: OffsetDateTime) {
        match stamp {
            None => {
                if let Some(of_workload) = self.0.get_mut(name) {
                    of_workload[index] = None;
                }
            }
            Some(stamp) => {
                let place = &mut self.0.entry(name.to_owned()).or_default()[index];
                *place = Some(Fulfilment { stamp, at: now });
            }
        }
    }
}

/// Every proxy that is connected, or was at `since` or later and is in the policy, by name.
pub(super) fn look(
    proxies: &Proxies,
    model: &Model,
    fulfilled: &mut Fulfilled,
    since: OffsetDateTime,
    now: OffsetDateTime,
) -> Vec<Participant> {
    let served = proxies.served();
    let bundle = proxies.bundle().1;
    let mut asking = Asking::new(model, proxies.own(model.mesh.transit()), now);
    let streams = proxies.fleet.ask(|who, books| {
        let workload = workload(model, &who.workload)?;
        let versions = [served.get(&who.workload).map(|(version, _)| *version), Some(bundle)];
        let needs = asking.needs(workload);
        let parts = std::array::from_fn(|index| part(index, &needs, who, books, versions, fulfilled, now));
        Some((who.workload.clone(), parts, needs.stamps()))
    });
    let mut all: BTreeMap<String, (Option<OffsetDateTime>, [Part; 3])> = BTreeMap::new();
    let mut stamps: HashMap<String, [Option<Version>; 3]> = HashMap::new();
    for (name, parts, of_workload) in streams.into_iter().flatten() {
        stamps.insert(name.clone(), of_workload);
        let (_, known) = all.entry(name).or_default();
        for (known, part) in known.iter_mut().zip::<[Part; 3]>(parts) {
            *known = std::mem::take(known).and(part);
        }
    }
    for (name, (_, parts)) in &all {
        for (index, part) in parts.iter().enumerate() {
            let done = stamps.get(name).and_then(|it| it[index]).filter(|_| *part == Part::Done);
            fulfilled.set(name, index, done, now);
        }
    }
    for (name, at) in proxies.trust.seen_since(since) {
        let Some(workload) = workload(model, &name).filter(|_| !all.contains_key(&name)) else { continue };
        let Needs(needs) = asking.needs(workload);
        let part = |index: usize| match needs[index].unknown() {
            Part::Late(_) if fulfilled.has(&name, index, needs[index].stamp(), None) => Part::Done,
            part => part,
        };
        all.insert(name.clone(), (Some(at), std::array::from_fn(part)));
    }
    let all = all.into_iter();
    all.map(|(name, (away_since, [accepts, switched, closed]))| Participant {
        name,
        away_since,
        accepts,
        switched,
        closed,
    })
    .collect()
}

fn part(
    index: usize,
    Needs(needs): &Needs,
    who: &Description,
    books: Books<'_>,
    versions: [Option<Version>; 2],
    fulfilled: &Fulfilled,
    now: OffsetDateTime,
) -> Part {
    let need = &needs[index];
    match fulfilled.has(&who.workload, index, need.stamp(), Some(who.connected_since)) && !need.is_empty() {
        true => Part::Done,
        false => need.part(who, books, versions, now),
    }
}

fn workload<'m>(model: &'m Model, name: &str) -> Option<&'m Arc<Workload>> {
    model.mesh.workload(&WorkloadKey::from_str(name).ok()?)
}

/// One look's memory of what was found out already.
struct Asking<'m> {
    model: &'m Model,
    /// What is the connected proxies' own.
    own: HashMap<WorkloadKey, Own>,
    /// By class.
    switching: HashMap<usize, Arc<Need>>,
    nothing: Arc<Need>,
    now: OffsetDateTime,
}

impl<'m> Asking<'m> {
    fn new(model: &'m Model, own: HashMap<WorkloadKey, Own>, now: OffsetDateTime) -> Self {
        let nothing = Arc::new(Need::new(std::iter::empty(), false));
        Self { model, own, switching: HashMap::new(), nothing, now }
    }

    fn needs(&mut self, workload: &Workload) -> Needs {
        let model = self.model;
        let class = model.class(workload, self.now);
        let switching =
            self.switching.entry(class.calls_id()).or_insert_with(|| Arc::new(class.switching(&model.mesh)));
        let switching = Arc::clone(switching);
        Needs([self.listeners(workload, Step::Accepting), switching, self.listeners(workload, Step::Closing)])
    }

    fn listeners(&mut self, workload: &Workload, step: Step) -> Arc<Need> {
        let of_step = self.model.mesh.transit().ports_of(&workload.key).filter(|(_, moving)| moving.step == step);
        let ports: BTreeSet<u16> = of_step.map(|(port, _)| port).collect();
        if ports.is_empty() {
            return Arc::clone(&self.nothing);
        }
        let model = self.model;
        let own = self.own.entry(workload.key.clone()).or_insert_with(|| model.own(workload, None));
        Arc::new(own.listeners(&ports))
    }
}
