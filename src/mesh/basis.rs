//! What one workload's own configuration is made from, so that whoever has made it before knows when to do so again.

use std::sync::Arc;

use super::gateway::GatewayIndex;
use super::reach::Ways;
use super::rules::RuleIndex;
use super::{Mesh, Settings, Workload, WorkloadKey};

/// Everything in a model on which it depends what a workload serves, and which class of clients it is of.
#[derive(Clone, Debug)]
pub struct Basis {
    settings: Arc<Settings>,
    workload: Arc<Workload>,
    ways: Ways,
    rules: Arc<RuleIndex>,
    gateways: Arc<GatewayIndex>,
    /// Whom rules for namespaces and service accounts mean besides.
    registered: Arc<[(WorkloadKey, Arc<[String]>)]>,
}

impl Basis {
    /// Whether the workload serves the same in both models: it, its policies, and the services that lead to it are the very same. A
    /// gateway serves what it reaches, which is not looked at here.
    pub fn serves_alike(&self, other: &Self) -> bool {
        self.is_of(&other.workload)
            && Arc::ptr_eq(&self.settings, &other.settings)
            && Arc::ptr_eq(&self.ways, &other.ways)
            && Arc::ptr_eq(&self.registered, &other.registered)
    }

    /// Whether the workload is of a class of the same name in both models: what policies say of clients and gateways is the very same too.
    pub fn calls_alike(&self, other: &Self) -> bool {
        self.is_of(&other.workload)
            && Arc::ptr_eq(&self.settings, &other.settings)
            && Arc::ptr_eq(&self.rules, &other.rules)
            && Arc::ptr_eq(&self.gateways, &other.gateways)
    }

    /// Whether it is this workload's, in a model in which nothing about it has changed.
    pub fn is_of(&self, workload: &Arc<Workload>) -> bool {
        Arc::ptr_eq(&self.workload, workload)
    }

    /// The workload.
    pub fn workload(&self) -> &Arc<Workload> {
        &self.workload
    }
}

impl Mesh {
    /// What the workload of this name is served by.
    pub fn basis(&self, key: &WorkloadKey) -> Option<Basis> {
        let &position = self.population.by_key.get(key)?;
        Some(Basis {
            settings: Arc::clone(&self.settings),
            workload: Arc::clone(&self.governed.workloads[position]),
            ways: Arc::clone(&self.reach.ways[position]),
            rules: Arc::clone(&self.rules),
            gateways: Arc::clone(&self.gateways),
            registered: Arc::clone(&self.population.registered),
        })
    }
}
