//! What every proxy has to do with a mode change, as the fleet's books and the memory of those who left have it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::str::FromStr;
use std::sync::Arc;

use time::OffsetDateTime;

use super::flavour::flavour;
use super::model::{Model, Own};
use super::need::Need;
use super::proxies::Proxies;
use crate::mesh::{Step, Workload, WorkloadKey};
use crate::plan::{Flavour, Node};
use crate::rollout::{Part, Participant};
use crate::secrets;
use crate::xds::{ResourceType, Version};

/// A workload's proxies, or its gRPC clients.
type Clients = (String, Flavour);

/// Which needs they have fulfilled. Who leaves still has what it had then.
#[derive(Default)]
pub(super) struct Fulfilled(HashMap<Clients, [Option<Fulfilment>; 3]>);

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
    /// Another model is served: whatever is needed in another version now, or not any more, may be replaced on the proxies. Whether there is
    /// any such.
    pub(super) fn forget_what_changed(&mut self, model: &Model, now: OffsetDateTime) -> bool {
        let (mut asking, mut forgot) = (Asking::new(model, HashMap::new(), now), false);
        self.0.retain(|(name, flavour), fulfilled| {
            let Some(workload) = workload(model, name) else { return false };
            let stamps = asking.needs(workload, *flavour).stamps();
            for (fulfilment, stamp) in fulfilled.iter_mut().zip(stamps) {
                let changed = fulfilment.take_if(|it| Some(it.stamp) != stamp);
                forgot |= changed.is_some();
            }
            true
        });
        forgot
    }

    fn has(&self, clients: &Clients, index: usize, stamp: Version, since: Option<OffsetDateTime>) -> bool {
        let fulfilment = self.0.get(clients).and_then(|it| it[index]);
        fulfilment.is_some_and(|it| it.stamp == stamp && since.is_none_or(|since| since < it.at))
    }

    /// What those who are away have been here as; a proxy, if nobody knows.
    fn flavours(&self, name: &str) -> Vec<Flavour> {
        let known = |flavour: &Flavour| self.0.contains_key(&(name.to_owned(), *flavour));
        let all = Node::all().map(Flavour::Envoy).chain([Flavour::Grpc]);
        let known: Vec<_> = all.filter(known).collect();
        if known.is_empty() { vec![Flavour::Envoy(Node::PLAIN)] } else { known }
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
    // Contexts name our roots alone, or together with those of other trust domains, or those of one of these.
    let (roots, federates) = (proxies.roots(), !model.mesh.settings().further_trust_domains().is_empty());
    let trusted = |node| {
        let all = roots.layer(node).resources(ResourceType::Secret).map(|it| (&**it.name(), it.version()));
        all.filter(|(name, _)| *name == secrets::ROOT || federates)
    };
    let mut asking = Asking::new(model, proxies.own(model.mesh.transit()), now);
    let streams = proxies.fleet.look(|stream| {
        let who = stream.description();
        let (workload, flavour) = (workload(model, &who.workload)?, flavour(&who.node));
        // Contexts that are made here have the certificate under Istio's name.
        let certificate = served.get(&who.workload).and_then(|(names, _)| names.first());
        let certificate = certificate.map(|(_, version)| (secrets::WORKLOAD, *version));
        let node = if let Flavour::Envoy(node) = flavour { node } else { Node::PLAIN };
        let secrets: Vec<_> = certificate.into_iter().chain(trusted(node)).collect();
        let needs = asking.needs(workload, flavour);
        let clients = (who.workload.clone(), flavour);
        let part = |index: usize| {
            let need = &needs.0[index];
            let has = !need.is_empty() && fulfilled.has(&clients, index, need.stamp(), Some(who.connected_since));
            if has { Part::Done } else { need.part(stream, &secrets, now) }
        };
        let parts: [Part; 3] = std::array::from_fn(part);
        Some((clients, parts, needs.stamps()))
    });
    let mut connected: BTreeMap<Clients, ([Part; 3], [Option<Version>; 3])> = BTreeMap::new();
    for (clients, parts, stamps) in streams {
        let (known, known_stamps) = connected.entry(clients).or_default();
        *known = together(std::mem::take(known), parts);
        *known_stamps = stamps;
    }
    let mut all: BTreeMap<String, (Option<OffsetDateTime>, [Part; 3])> = BTreeMap::new();
    for (clients, (parts, stamps)) in connected {
        let done = |index: usize| stamps[index].filter(|_| parts[index] == Part::Done);
        let of_clients = std::array::from_fn(|index| done(index).map(|stamp| Fulfilment { stamp, at: now }));
        let (_, known) = all.entry(clients.0.clone()).or_default();
        *known = together(std::mem::take(known), parts);
        fulfilled.0.insert(clients, of_clients);
    }
    for (name, at) in proxies.trust.seen_since(since) {
        let Some(workload) = workload(model, &name).filter(|_| !all.contains_key(&name)) else { continue };
        let mut parts = <[Part; 3]>::default();
        for flavour in fulfilled.flavours(&name) {
            let Needs(needs) = asking.needs(workload, flavour);
            let clients = (name.clone(), flavour);
            let part = |index: usize| match needs[index].unknown() {
                Part::Late(_) if fulfilled.has(&clients, index, needs[index].stamp(), None) => Part::Done,
                part => part,
            };
            parts = together(parts, std::array::from_fn(part));
        }
        all.insert(name, (Some(at), parts));
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

fn together(left: [Part; 3], right: [Part; 3]) -> [Part; 3] {
    let mut right = right.into_iter();
    left.map(|part| part.and(right.next().unwrap_or_default()))
}

fn workload<'m>(model: &'m Model, name: &str) -> Option<&'m Arc<Workload>> {
    model.mesh.workload(&WorkloadKey::from_str(name).ok()?)
}

/// One look's memory of what was found out already.
struct Asking<'m> {
    model: &'m Model,
    /// What is the connected proxies' own.
    own: HashMap<(WorkloadKey, Node), Own>,
    /// By class.
    switching: HashMap<usize, Arc<Need>>,
    nothing: Arc<Need>,
    now: OffsetDateTime,
}

impl<'m> Asking<'m> {
    fn new(model: &'m Model, own: HashMap<(WorkloadKey, Node), Own>, now: OffsetDateTime) -> Self {
        let nothing = Arc::new(Need::new(std::iter::empty(), false));
        Self { model, own, switching: HashMap::new(), nothing, now }
    }

    fn needs(&mut self, workload: &Workload, flavour: Flavour) -> Needs {
        let model = self.model;
        let class = model.class(workload, flavour, self.now);
        let switching =
            self.switching.entry(class.calls_id()).or_insert_with(|| Arc::new(class.switching(&model.mesh)));
        let switching = Arc::clone(switching);
        let mut listeners = |step| match flavour {
            Flavour::Envoy(node) => self.listeners(workload, node, step),
            Flavour::Grpc => Arc::clone(&self.nothing),
        };
        Needs([listeners(Step::Accepting), switching, listeners(Step::Closing)])
    }

    fn listeners(&mut self, workload: &Workload, node: Node, step: Step) -> Arc<Need> {
        let of_step = self.model.mesh.transit().ports_of(&workload.key).filter(|(_, moving)| moving.step == step);
        let ports: BTreeSet<u16> = of_step.map(|(port, _)| port).collect();
        if ports.is_empty() {
            return Arc::clone(&self.nothing);
        }
        let model = self.model;
        let place = (workload.key.clone(), node);
        let own = self.own.remove(&place).or_else(|| Some(model.own(model.mesh.basis(&workload.key)?, node, None)));
        let need = own.as_ref().map_or_else(|| Arc::clone(&self.nothing), |own| Arc::new(own.listeners(&ports)));
        self.own.extend(own.map(|own| (place, own)));
        need
    }
}
