//! Which policies hold for each workload.

use std::collections::HashMap;
use std::sync::Arc;

use super::build::Builder;
use super::index::oldest_first;
use super::linkerd::Kinds;
use super::population::Population;
use super::sidecar::warn_of_tls_without_effect;
use super::workload::{Governance, Workload};
use super::{Object, Settings, Sidecar, Topic, Transit, Warning, decide};
use crate::policy::{AuthorizationPolicy, Objects, PeerAuthentication, PolicySet};

/// Every workload, with the policies that hold for it.
#[derive(Debug)]
pub(super) struct Governed {
    /// What it was made from.
    from: (Arc<Population>, Objects<PeerAuthentication>, Objects<Sidecar>, Objects<AuthorizationPolicy>, Kinds),
    pub(super) transit: Transit,
    /// In the population's order.
    pub(super) workloads: Vec<Arc<Workload>>,
    pub(super) warnings: Vec<Warning>,
}

impl Governed {
    /// That of `set`: the one before, if it was made from the very same, and else those of its workloads for which nothing has changed.
    pub(super) fn after(
        before: Option<&Arc<Self>>,
        population: &Arc<Population>,
        set: &PolicySet,
        settings: &Settings,
        transit: Transit,
    ) -> Arc<Self> {
        let before = before.filter(|before| Arc::ptr_eq(&before.from.0, population));
        let same = |it: &&Arc<Self>| {
            let (_, authentication, sidecars, authorization, linkerd) = &it.from;
            authentication.are(&set.peer_authentications)
                && sidecars.are(&set.sidecars)
                && authorization.are(&set.authorization_policies)
                && linkerd.are(set)
                && it.transit == transit
        };
        if let Some(before) = before.filter(same) {
            return Arc::clone(before);
        }
        let mut builder = Builder { set, settings, warnings: Vec::new() };
        let moving = |key| Governance { moving: transit.of(key), ..Governance::default() };
        let mut governance: Vec<_> = population.all.iter().map(|it| moving(&it.key)).collect();
        builder.authenticate(population, &mut governance);
        builder.assign_sidecars(population, &mut governance);
        builder.authorize(population, &mut governance);
        builder.serve(population, &mut governance);
        let governed = population.all.iter().zip(governance).enumerate();
        let workloads: Vec<Arc<Workload>> = governed
            .map(|(position, (registered, governance))| {
                let kept = before.map(|before| &before.workloads[position]);
                let kept = kept.filter(|kept| kept.governance.is(&governance)).cloned();
                kept.unwrap_or_else(|| Arc::new(Workload { registered: Arc::clone(registered), governance }))
            })
            .collect();
        builder.warn_of_permissive_default(&workloads);
        warn_of_tls_without_effect(&workloads, &mut builder.warnings);
        let policies = (set.peer_authentications.clone(), set.sidecars.clone(), set.authorization_policies.clone());
        let from = (Arc::clone(population), policies.0, policies.1, policies.2, Kinds::of(set));
        Arc::new(Self { from, transit, workloads, warnings: builder.warnings })
    }
}

impl Builder<'_> {
    /// Gives each workload the winning PeerAuthentication of each scope.
    fn authenticate(&mut self, population: &Population, governance: &mut [Governance]) {
        let Population { all, index, .. } = population;
        let mut policies: Vec<_> = self.set.peer_authentications.to_vec();
        oldest_first(&mut policies);
        let mut of_namespace: HashMap<String, Arc<Object<PeerAuthentication>>> = HashMap::new();
        for policy in policies {
            let namespace = policy.meta.namespace.clone();
            let selector = policy.spec.selector.clone().filter(|selector| !selector.0.is_empty());
            match selector {
                Some(_) if namespace == self.settings.root_namespace => self.warnings.push(Warning::new(
                    Topic::Ignored,
                    &policy.at,
                    format!(
                        "PeerAuthentication {} has a selector in the root namespace {namespace}, and is ignored: \
                         put it into the workloads' namespace, or drop the selector to govern the whole mesh",
                        policy.meta.name
                    ),
                )),
                Some(selector) => {
                    let selected: Vec<usize> = index.select(all, &namespace, &selector).collect();
                    if selected.is_empty() {
                        let message = format!(
                            "PeerAuthentication {namespace}/{} selects no workload, so it protects nothing",
                            policy.meta.name
                        );
                        self.warnings.push(Warning::new(Topic::SelectsNothing, &policy.at, message));
                    }
                    let mut winners: Vec<Arc<Object<PeerAuthentication>>> = Vec::new();
                    for position in selected {
                        let slot = &mut governance[position].authentication.workload;
                        match slot {
                            None => *slot = Some(policy.clone()),
                            Some(winner) if winners.iter().any(|known| Arc::ptr_eq(known, winner)) => {}
                            Some(winner) => winners.push(winner.clone()),
                        }
                    }
                    self.warnings.extend(winners.iter().map(|winner| loses(&policy, winner, "the same workloads")));
                }
                None => match of_namespace.get(&namespace) {
                    Some(winner) => self.warnings.push(loses(&policy, winner, "the whole namespace")),
                    None => drop(of_namespace.insert(namespace, policy)),
                },
            }
        }
        let mesh_wide = of_namespace.remove(&self.settings.root_namespace);
        for (workload, governance) in all.iter().zip(governance) {
            governance.authentication.mesh = mesh_wide.clone();
            governance.authentication.namespace = of_namespace.get(&workload.key.namespace).cloned();
        }
    }

    fn assign_sidecars(&mut self, population: &Population, governance: &mut [Governance]) {
        let Population { all, index, .. } = population;
        let mut sidecars: Vec<Arc<Object<Sidecar>>> = self.set.sidecars.to_vec();
        oldest_first(&mut sidecars);
        let mut of_namespace: HashMap<&str, &Arc<Object<Sidecar>>> = HashMap::new();
        for sidecar in &sidecars {
            match sidecar.spec.workload_selector.as_ref().filter(|selector| !selector.0.is_empty()) {
                Some(selector) => {
                    let selected: Vec<usize> = index.select(all, &sidecar.meta.namespace, selector).collect();
                    for position in selected {
                        governance[position].sidecar.get_or_insert_with(|| sidecar.clone());
                    }
                }
                None => drop(of_namespace.entry(&sidecar.meta.namespace).or_insert(sidecar)),
            }
        }
        let root = of_namespace.get(self.settings.root_namespace.as_str());
        for (workload, governance) in all.iter().zip(governance).filter(|(_, it)| it.sidecar.is_none()) {
            governance.sidecar = of_namespace.get(workload.key.namespace.as_str()).or(root).map(|&s| s.clone());
        }
    }

    /// Istio's default accepts plaintext silently. Here it says so, once.
    fn warn_of_permissive_default(&mut self, workloads: &[Arc<Workload>]) {
        let mut unprotected = workloads.iter().filter(|workload| workload.meshed && decide::is_unspoken(workload));
        let Some(first) = unprotected.next() else { return };
        let message = match unprotected.count() {
            0 => format!("no PeerAuthentication governs {}: it is PERMISSIVE and accepts plaintext", first.key),
            more => format!(
                "no PeerAuthentication governs {} and {more} more workloads: they are PERMISSIVE and accept plaintext",
                first.key
            ),
        };
        self.warnings.push(Warning::new(Topic::Unprotected, &first.at, message));
    }
}

/// Of two PeerAuthentications in one scope Istio takes the older, and says so nowhere. Files carry no creation time; then only the names
/// decide, which their author may not know.
fn loses(policy: &Object<PeerAuthentication>, winner: &Object<PeerAuthentication>, scope: &str) -> Warning {
    let why = match (policy.meta.creation_timestamp, winner.meta.creation_timestamp) {
        (Some(younger), Some(older)) if older < younger => "it is older",
        (Some(_), Some(_)) => "it is as old, and its name comes first",
        (None, Some(_)) => "it has a creationTimestamp and this one has none",
        (None, _) => "neither has a creationTimestamp, and its name comes first",
        (Some(_), None) => "its name comes first",
    };
    let Object { meta, at, .. } = policy;
    let message = format!(
        "PeerAuthentication {}/{} has no effect on what {} ({}) selects too ({scope}): that one counts, since {why}",
        meta.namespace, meta.name, winner.meta.name, winner.at
    );
    Warning::new(Topic::Shadowed, at, message)
}
