//! The policy that is served, and the resources it means for each class of proxies.

use std::collections::HashMap;
use std::sync::Arc;

use dashmap::DashMap;
use time::OffsetDateTime;
use tracing::warn;

use crate::envoy::{self, EncodedResource};
use crate::mesh::{Mesh, Workload};
use crate::plan::{self, ClassKey, Flavour, Node, SecretName};
use crate::policy::PolicySet;
use crate::secrets::Validity;
use crate::xds::{Layer, Resource, ResourceType};
use crate::{analysis, mesh, policy, secrets};

/// Where Debian, Ubuntu, Alpine and the images of Envoy have the trust store. A proxy whose machine has it elsewhere needs
/// `caCertificates` with the path.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What is one proxy's own, and the plan that it was made from.
#[derive(Clone)]
pub(super) struct Own {
    plan: Arc<plan::ProxyPlan>,
    pub(super) layer: Arc<Layer>,
}

/// What every proxy of a class shares. Secrets are a layer of their own: a stream without an identity is shown only the other.
#[derive(Clone)]
pub(super) struct Class {
    /// Clusters, endpoints, routes, outbound listeners.
    pub(super) configuration: Arc<Layer>,
    /// The secrets that policy names.
    pub(super) secrets: Arc<Layer>,
    /// The same for people, by name.
    pub(super) described: Arc<HashMap<String, Described>>,
}

/// What people are told of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    /// Roots, and not a certificate with its key.
    pub(super) is_roots: bool,
    /// A certificate or roots. None: they are in a file of the proxy's own machine.
    pub(super) certificates: Vec<Validity>,
}

/// One policy set, indexed, with one encoding for each class of proxies that is connected. Replaced by the next, never edited.
pub(super) struct Model {
    pub(super) mesh: Mesh,
    pub(super) set: Arc<PolicySet>,
    pub(super) generation: u64,
    /// What the parser warned of, and then the model's making.
    pub(super) warnings: (Vec<policy::Warning>, Vec<mesh::Warning>),
    settings: plan::Settings,
    classes: DashMap<ClassKey, Class>,
    /// The classes of the set before. What is the same in both keeps its place in memory, and its bytes are not sent again.
    before: DashMap<ClassKey, Class>,
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
        let before = before.map(|model| model.classes.clone()).unwrap_or_default();
        Self { mesh, set, generation, warnings, settings, classes: DashMap::new(), before }
    }

    /// What an analysis looks at.
    pub(super) fn subject(&self) -> analysis::Subject<'_> {
        analysis::Subject { set: &self.set, mesh: &self.mesh, parsed: &self.warnings.0, built: &self.warnings.1 }
    }

    /// What every proxy of the workload's class shares.
    pub(super) fn class(&self, workload: &Workload, flavour: Flavour, now: OffsetDateTime) -> Class {
        let key = plan::class_of(&self.mesh, workload, flavour);
        if let Some(class) = self.classes.get(&key) {
            return class.clone();
        }
        let before = self.before.get(&key).map(|class| class.clone());
        let before = before.as_ref();
        let class = match flavour {
            Flavour::Envoy(node) => self.proxy_class(workload, node, before, now),
            Flavour::Grpc => self.grpc_class(workload, before),
        };
        // Two proxies of one class may come at once; the first one's encoding is everybody's.
        self.classes.entry(key).or_insert(class).clone()
    }

    /// gRPC takes no secret over xDS.
    fn grpc_class(&self, workload: &Workload, before: Option<&Class>) -> Class {
        let encoded = envoy::grpc_resources(&plan::grpc_plan(&self.mesh, workload)).into_iter().filter_map(resource);
        Class {
            configuration: layer(encoded, before.map(|class| &class.configuration)),
            secrets: Arc::default(),
            described: Arc::default(),
        }
    }

    fn proxy_class(&self, workload: &Workload, node: Node, before: Option<&Class>, now: OffsetDateTime) -> Class {
        let plan = plan::class_plan(&self.mesh, workload, node, &self.settings);
        let encoded = envoy::class_resources(&plan).into_iter().filter_map(resource);
        let mut described = HashMap::new();
        let secrets = plan.secrets.iter().filter_map(|name| {
            let (resource, of_name) = self.secret(name, now)?;
            described.insert(name.to_string(), of_name);
            Some((ResourceType::Secret, resource))
        });
        Class {
            configuration: layer(encoded, before.map(|class| &class.configuration)),
            secrets: layer(secrets, before.map(|class| &class.secrets)),
            described: Arc::new(described),
        }
    }

    /// What is one proxy's own: its inbound listeners, which bind its address, and the clusters behind them.
    pub(super) fn own(&self, workload: &Workload, node: Node, before: Option<Own>) -> Own {
        let plan = plan::proxy_plan(&self.mesh, workload, node);
        if let Some(before) = before.as_ref().filter(|before| *before.plan == plan) {
            // Most policy changes are about other things, and to plan is a fraction of what it takes to encode.
            return before.clone();
        }
        let encoded = envoy::proxy_resources(&plan).into_iter().filter_map(resource);
        let layer = Arc::new(Layer::new(encoded, before.as_ref().map(|before| &*before.layer)));
        Own { plan: Arc::new(plan), layer }
    }

    /// The secrets that policy names, as far as they can be served: the class's namespace is part of the name, so no class
    /// sees another namespace's.
    fn secret(&self, name: &SecretName, now: OffsetDateTime) -> Option<(Arc<Resource>, Described)> {
        let of_file = |is_roots| Described { is_roots, certificates: Vec::new() };
        let (value, described) = match name {
            SecretName::Workload | SecretName::Root => return None,
            SecretName::FileRoot(path) => (secrets::file_root(path), of_file(true)),
            SecretName::SystemRoots => (secrets::system_roots(SYSTEM_ROOTS), of_file(true)),
            SecretName::FileCert { certificate, key } => (secrets::file_certificate(certificate, key), of_file(false)),
            SecretName::Credential { namespace, name, ca } => self.credential(namespace, name, *ca, now)?,
        };
        // It depends on files elsewhere, or on an operator, so it is more likely to be bad than what is made here.
        let resource =
            Resource::new(ResourceType::Secret, name.to_string(), &value).restated_by(secrets::restate).alone();
        Some((Arc::new(resource), described))
    }

    fn credential(
        &self,
        namespace: &str,
        name: &str,
        ca: bool,
        now: OffsetDateTime,
    ) -> Option<(bytes::Bytes, Described)> {
        let of_policy = |object: &&crate::policy::Object<crate::policy::Secret>| {
            object.meta.namespace == namespace && object.meta.name == name
        };
        let Some(object) = self.set.secrets.iter().find(of_policy) else {
            warn!(secret = %format!("{namespace}/{name}"), "a DestinationRule's credentialName names a Secret that is not there");
            return None;
        };
        match secrets::credential(name, &object.spec.data, now) {
            Ok(credential) if ca => {
                Some((credential.ca?, Described { is_roots: true, certificates: credential.roots }))
            }
            Ok(credential) => {
                let certificates = credential.leaf.into_iter().collect();
                Some((credential.certificate?, Described { is_roots: false, certificates }))
            }
            Err(error) => {
                warn!(at = %object.at, %error, "a Secret cannot be served");
                None
            }
        }
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
