//! The policy that is served, and the resources it means for each class of proxies.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use time::OffsetDateTime;

use super::granted;
use crate::envoy::{self, EncodedResource};
use crate::mesh::{Mesh, Outlook, Step, Workload, WorkloadKey};
use crate::plan::{self, ClassKey, Flavour, Node};
use crate::policy::PolicySet;
use crate::xds::{Layer, Resource, ResourceType};
use crate::{analysis, mesh, policy};

mod class;
mod own;
mod secrets;

pub(super) use class::Class;
pub(super) use own::Own;
pub(super) use secrets::{Described, Granted};

use class::{Leads, calls};
use secrets::Reader;

/// One policy set, indexed, with one encoding for each class of proxies that is connected. Replaced by the next, never edited.
pub(super) struct Model {
    pub(super) mesh: Mesh,
    pub(super) set: Arc<PolicySet>,
    pub(super) generation: u64,
    /// What the parser warned of, and then the model's making.
    pub(super) warnings: (Vec<policy::Warning>, Vec<mesh::Warning>),
    settings: plan::Settings,
    /// How long a proxy keeps a cluster or listener of which it hears nothing.
    resource_ttl: Option<Duration>,
    /// Whether any Secret grants anything by itself.
    grants: bool,
    encoded: Encoded,
    /// Of the set before. What is the same in both keeps its place in memory, and its bytes are not sent again.
    before: Encoded,
}

/// What was made of a set so far: for each class that is connected, and for each that may read something by itself.
#[derive(Clone, Default)]
struct Encoded {
    classes: DashMap<ClassKey, Class>,
    granted: DashMap<Reader, Granted>,
}

impl Model {
    pub(super) fn new(
        mesh: Mesh,
        set: Arc<PolicySet>,
        generation: u64,
        warnings: (Vec<policy::Warning>, Vec<mesh::Warning>),
        settings: plan::Settings,
        before: Option<&Model>,
    ) -> Self {
        let grants = granted::is_any(&set);
        let before = before.map(|model| model.encoded.clone()).unwrap_or_default();
        let encoded = Encoded::default();
        Self { mesh, set, generation, warnings, settings, resource_ttl: None, grants, encoded, before }
    }

    /// Clusters and listeners of proxies live for this long only, unless they are heard of. What else there is lives as long as these.
    pub(super) fn with_resource_ttl(self, ttl: Option<Duration>) -> Self {
        Self { resource_ttl: ttl, ..self }
    }

    /// The same set, with its ports at other steps of their way. `mesh` is made from the same set. Classes whose clients do nothing else than
    /// before are not made anew.
    pub(super) fn at_other_steps(&self, mesh: Mesh) -> Self {
        let holds = |mesh: &Mesh, key: &WorkloadKey, port| {
            mesh.transit().get(key, port).is_some_and(|moving| moving.step == Step::Accepting)
        };
        let was_held = self.mesh.transit().iter().filter(|(_, _, moving)| moving.step == Step::Accepting);
        let let_go = was_held.filter(|(key, port, _)| !holds(&mesh, key, *port));
        let let_go: BTreeSet<(WorkloadKey, u16)> = let_go.map(|(key, port, _)| (key.clone(), port)).collect();
        let touched = |class: &Class| class.calls.iter().any(|call| !call.ports.is_disjoint(&let_go));
        let encoded = Encoded { classes: DashMap::new(), granted: self.encoded.granted.clone() };
        for entry in self.encoded.classes.iter().filter(|entry| !touched(entry.value())) {
            encoded.classes.insert(entry.key().clone(), entry.value().clone());
        }
        let (set, warnings, before) = (Arc::clone(&self.set), self.warnings.clone(), self.encoded.clone());
        let Self { generation, settings, resource_ttl, grants, .. } = *self;
        Self { mesh, set, generation, warnings, settings, resource_ttl, grants, encoded, before }
    }

    /// What an analysis looks at.
    pub(super) fn subject(&self) -> analysis::Subject<'_> {
        analysis::Subject { set: &self.set, mesh: &self.mesh, parsed: &self.warnings.0, built: &self.warnings.1 }
    }

    /// The last second of each certificate of operators' Secrets that somebody is served.
    pub(super) fn secret_ends(&self) -> Vec<OffsetDateTime> {
        let mut ends = Vec::new();
        for class in &self.encoded.classes {
            ends.extend(class.described.values().flat_map(|it| &it.certificates).map(|it| it.not_after));
        }
        ends
    }

    /// What every proxy of the workload's class shares.
    pub(super) fn class(&self, workload: &Workload, flavour: Flavour, now: OffsetDateTime) -> Class {
        self.class_of(&plan::class_of(&self.mesh, workload, flavour), workload, flavour, now)
    }

    /// The same, where the class is known.
    pub(super) fn class_of(&self, key: &ClassKey, workload: &Workload, flavour: Flavour, now: OffsetDateTime) -> Class {
        if let Some(class) = self.encoded.classes.get(key) {
            return class.clone();
        }
        let before = self.before.classes.get(key).map(|class| class.clone());
        let before = before.as_ref();
        let outlook = Arc::new(self.mesh.outlook(workload));
        let class = match (flavour, before.filter(|before| before.outlook.is(&outlook))) {
            // Whoever else is touched by the change, this class is not; its secrets are another matter.
            (_, Some(same)) => Class { outlook, ..same.clone() },
            (Flavour::Envoy(node), None) => self.proxy_class(workload, node, before, outlook),
            (Flavour::Grpc, None) => self.grpc_class(workload, before, outlook),
        };
        let class = self.with_secrets(class, before, now);
        // Two proxies of one class may come at once; the first one's encoding is everybody's.
        self.encoded.classes.entry(key.clone()).or_insert(class).clone()
    }

    fn grpc_class(&self, workload: &Workload, before: Option<&Class>, outlook: Arc<Outlook>) -> Class {
        let plan = plan::grpc_plan(&self.mesh, workload);
        let encoded = envoy::grpc_resources(&plan).into_iter().filter_map(resource);
        let configuration = layer(encoded, before.map(|class| &class.configuration));
        let calls = calls(&configuration, || {
            plan.targets.iter().map(|target| Leads {
                ports: target.clusters.iter().flat_map(|it| &it.cluster.in_transit).cloned().collect(),
                clusters: target.clusters.iter().map(|it| it.cluster.name.as_str()).collect(),
                listeners: target.names.iter().map(String::as_str).collect(),
                tls: false,
            })
        });
        Class::new(configuration, calls, outlook, BTreeSet::new())
    }

    fn proxy_class(&self, workload: &Workload, node: Node, before: Option<&Class>, outlook: Arc<Outlook>) -> Class {
        let plan = plan::class_plan(&self.mesh, workload, node, &self.settings);
        let encoded = envoy::class_resources(&plan).into_iter().filter_map(|it| self.of_proxy(it));
        let configuration = layer(encoded, before.map(|class| &class.configuration));
        let calls = calls(&configuration, || {
            plan.clusters.iter().map(|cluster| Leads {
                ports: cluster.in_transit.clone(),
                clusters: vec![&cluster.name],
                listeners: Vec::new(),
                tls: cluster.tls != plan::ClusterTls::Plaintext,
            })
        });
        Class::new(configuration, calls, outlook, plan.secrets)
    }

    fn of_proxy(&self, encoded: EncodedResource) -> Option<(ResourceType, Arc<Resource>)> {
        let ty = ResourceType::from_url(encoded.type_url)?;
        let resource = Resource::new(ty, encoded.name, &encoded.value);
        let resource = match self.resource_ttl.filter(|_| ty.is_full_state()) {
            Some(ttl) => resource.with_ttl(ttl),
            None => resource,
        };
        Some((ty, Arc::new(resource)))
    }
}

/// A layer of these resources: the one before if that has the same.
fn layer(resources: impl Iterator<Item = (ResourceType, Arc<Resource>)>, before: Option<&Arc<Layer>>) -> Arc<Layer> {
    let layer = Layer::new(resources, before.map(|before| &**before));
    match before {
        Some(before) if before.version() == layer.version() => Arc::clone(before),
        _ => Arc::new(layer),
    }
}

fn resource(encoded: EncodedResource) -> Option<(ResourceType, Arc<Resource>)> {
    let ty = ResourceType::from_url(encoded.type_url)?;
    Some((ty, Arc::new(Resource::new(ty, encoded.name, &encoded.value))))
}
