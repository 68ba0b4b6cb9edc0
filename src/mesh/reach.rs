//! Which services lead to each workload, and what the policy says of the ports to which they do.

use std::sync::Arc;

use super::governed::Governed;
use super::population::Population;
use super::{Modes, Service, WorkloadKey, decide};

/// The services that lead to a workload, ordered by host, each with the index of its endpoint there.
pub(super) type Ways = Arc<[(Arc<Service>, usize)]>;

/// The ways to every workload.
#[derive(Debug)]
pub(super) struct Reach {
    governed: Arc<Governed>,
    /// The services that lead to any workload, in their order.
    serving: Vec<Arc<Service>>,
    /// In the population's order.
    pub(super) ways: Vec<Ways>,
    pub(super) modes: Arc<Modes>,
}

impl Reach {
    /// That of `services`: the one before, if it is of the very same that lead to any workload.
    pub(super) fn after(
        before: Option<&Arc<Self>>,
        population: &Arc<Population>,
        governed: &Arc<Governed>,
        services: &[Arc<Service>],
    ) -> Arc<Self> {
        let leads = |service: &&Arc<Service>| service.endpoints.iter().any(|endpoint| endpoint.workload.is_some());
        let serving: Vec<_> = services.iter().filter(leads).cloned().collect();
        let same = |it: &&Arc<Self>| {
            let pairs = || it.serving.iter().zip(&serving);
            Arc::ptr_eq(&it.governed, governed)
                && it.serving.len() == serving.len()
                && pairs().all(|(one, other)| Arc::ptr_eq(one, other))
        };
        if let Some(before) = before.filter(same) {
            return Arc::clone(before);
        }
        let mut found: Vec<Vec<(Arc<Service>, usize)>> = vec![Vec::new(); population.all.len()];
        for service in &serving {
            for (index, endpoint) in service.endpoints.iter().enumerate() {
                let key = endpoint.workload.as_ref().map(|workload| &workload.key);
                if let Some(&position) = key.and_then(|key| population.by_key.get(key)) {
                    found[position].push((Arc::clone(service), index));
                }
            }
        }
        let kept = |position: usize, found: &[(Arc<Service>, usize)]| {
            let ways = before?.ways.get(position)?;
            let mut pairs = ways.iter().zip(found);
            let same = ways.len() == found.len() && pairs.all(|((a, i), (b, j))| Arc::ptr_eq(a, b) && i == j);
            same.then(|| Arc::clone(ways))
        };
        let ways: Vec<Ways> = found
            .into_iter()
            .enumerate()
            .map(|(position, found)| kept(position, &found).unwrap_or_else(|| found.into()))
            .collect();
        let modes = modes(population, governed, &ways);
        let kept = before.map(|before| &before.modes).filter(|before| ***before == modes).cloned();
        let modes = kept.unwrap_or_else(|| Arc::new(modes));
        Arc::new(Self { governed: Arc::clone(governed), serving, ways, modes })
    }
}

fn modes(population: &Population, governed: &Governed, ways: &[Ways]) -> Modes {
    let of_workload = |(key, &position): (&WorkloadKey, &usize)| {
        let workload = &governed.workloads[position];
        let numbers = ways[position]
            .iter()
            .flat_map(|(service, index)| service.ports.iter().filter_map(|port| service.endpoints[*index].port(port)));
        (key.clone(), numbers.map(|number| (number, decide::written(workload, number))).collect())
    };
    population.by_key.iter().map(of_workload).collect()
}
