//! The policy that is served, and the resources it means for each class of proxies.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use dashmap::DashMap;
use time::OffsetDateTime;
use tracing::warn;

use super::granted;
use super::need::Need;
use crate::envoy::{self, EncodedResource};
use crate::mesh::{Basis, Mesh, Outlook, Step, Workload, WorkloadKey};
use crate::plan::{self, ClassKey, Flavour, Node, SecretName};
use crate::policy::{Object, PolicySet, Secret, secret_named};
use crate::secrets::Validity;
use crate::xds::{Layer, Resource, ResourceType};
use crate::{analysis, mesh, policy, secrets};

/// Where Debian, Ubuntu, Alpine and the images of Envoy have the trust store. A proxy whose machine has it elsewhere needs
/// `caCertificates` with the path.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What is one proxy's own, and the plan that it was made from.
#[derive(Clone)]
pub(super) struct Own {
    basis: Basis,
    plan: Arc<plan::ProxyPlan>,
    pub(super) layer: Arc<Layer>,
}

impl Own {
    /// The listeners of these ports, as they are served.
    pub(super) fn listeners(&self, ports: &BTreeSet<u16>) -> Need {
        let of_ports = |inbound: &'_ &plan::InboundListener| ports.contains(&inbound.bind.port());
        let named: Vec<_> = self.plan.inbound.iter().filter(of_ports).collect();
        // Under interception one listener has a chain for each port.
        let captured = self.plan.intercepted.iter().flat_map(|it| &it.ports).filter(of_ports);
        let captured: Vec<_> = captured.collect();
        let is_of = |name: &str| {
            named.iter().any(|it| it.name == name) || (!captured.is_empty() && name == envoy::VIRTUAL_INBOUND)
        };
        let tls = named.iter().chain(&captured).any(|it| it.mode != plan::InboundMode::Disable);
        let listeners = self.layer.resources(ResourceType::Listener).filter(|it| is_of(it.name()));
        Need::new(listeners.map(Arc::as_ref), tls)
    }
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
    /// The clusters that lead to ports on their way to another mode.
    calls: Arc<[Call]>,
    /// What the configuration was made from.
    outlook: Arc<Outlook>,
    /// The secrets that it refers to.
    refers_to: Arc<BTreeSet<SecretName>>,
}

/// A namespace, a service account in it, and the Secrets that Gateways name for its workload.
type Reader = (String, String, BTreeSet<String>);

/// What an identity may read, whatever is planned for it.
#[derive(Clone, Default)]
pub(super) struct Granted {
    pub(super) secrets: Arc<Layer>,
    /// The same for people, by name.
    pub(super) described: Arc<HashMap<String, Described>>,
}

/// What is granted to most.
static NOTHING: LazyLock<Granted> = LazyLock::new(Granted::default);

/// A way to ports that are on their way to another mode.
struct Call {
    ports: BTreeSet<(WorkloadKey, u16)>,
    /// What makes it one way or the other.
    resources: Vec<Arc<Resource>>,
    tls: bool,
}

impl Class {
    fn new(
        configuration: Arc<Layer>,
        calls: Arc<[Call]>,
        outlook: Arc<Outlook>,
        secrets: BTreeSet<SecretName>,
    ) -> Self {
        let (refers_to, described) = (Arc::new(secrets), Arc::default());
        Self { configuration, secrets: Arc::default(), described, calls, outlook, refers_to }
    }

    /// The ways to ports at the step in which clients change, as they are served.
    pub(super) fn switching(&self, mesh: &Mesh) -> Need {
        let is_switching = |(key, port): &(WorkloadKey, u16)| {
            mesh.transit().get(key, *port).is_some_and(|it| it.step == Step::Switching)
        };
        let calls = || self.calls.iter().filter(|call| call.ports.iter().any(is_switching));
        let resources = calls().flat_map(|call| &call.resources);
        Need::new(resources.map(Arc::as_ref), calls().any(|call| call.tls))
    }

    /// Tells the calls of one class from those of another, for as long as both are there.
    pub(super) fn calls_id(&self) -> usize {
        self.calls.as_ptr().addr()
    }
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
    /// How long a proxy keeps a cluster or listener of which it hears nothing.
    resource_ttl: Option<Duration>,
    classes: DashMap<ClassKey, Class>,
    /// Whether any Secret grants anything by itself.
    grants: bool,
    granted: DashMap<Reader, Granted>,
    granted_before: DashMap<Reader, Granted>,
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
        let grants = granted::is_any(&set);
        let granted_before = before.map(|model| model.granted.clone()).unwrap_or_default();
        let granted = DashMap::new();
        let before = before.map(|model| model.classes.clone()).unwrap_or_default();
        Self {
            mesh,
            set,
            generation,
            warnings,
            settings,
            resource_ttl: None,
            classes: DashMap::new(),
            grants,
            granted,
            granted_before,
            before,
        }
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
        let classes = DashMap::new();
        for entry in self.classes.iter().filter(|entry| !touched(entry.value())) {
            classes.insert(entry.key().clone(), entry.value().clone());
        }
        let (set, warnings) = (Arc::clone(&self.set), self.warnings.clone());
        let (generation, settings, before) = (self.generation, self.settings, self.classes.clone());
        let (grants, granted, granted_before) = (self.grants, self.granted.clone(), DashMap::new());
        let resource_ttl = self.resource_ttl;
        Self {
            mesh,
            set,
            generation,
            warnings,
            settings,
            resource_ttl,
            classes,
            grants,
            granted,
            granted_before,
            before,
        }
    }

    /// What an analysis looks at.
    pub(super) fn subject(&self) -> analysis::Subject<'_> {
        analysis::Subject { set: &self.set, mesh: &self.mesh, parsed: &self.warnings.0, built: &self.warnings.1 }
    }

    /// The last second of each certificate of operators' Secrets that somebody is served.
    pub(super) fn secret_ends(&self) -> Vec<OffsetDateTime> {
        let mut ends = Vec::new();
        for class in &self.classes {
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
        if let Some(class) = self.classes.get(key) {
            return class.clone();
        }
        let before = self.before.get(key).map(|class| class.clone());
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
        self.classes.entry(key.clone()).or_insert(class).clone()
    }

    /// The Secrets that the workload may read whatever is planned for it: those whose own annotations name its service account, and those
    /// that its Gateways name.
    pub(super) fn granted(&self, workload: &Workload, now: OffsetDateTime) -> Granted {
        let named = granted::named_by_gateways(&self.mesh, &self.set, workload);
        if !self.grants && named.is_empty() {
            return NOTHING.clone();
        }
        let place = (workload.key.namespace.clone(), workload.service_account.clone(), named);
        if let Some(found) = self.granted.get(&place) {
            return found.clone();
        }
        let (namespace, service_account, named) = &place;
        let mut readable = granted::granted(&self.set, namespace, service_account);
        readable.extend(named.iter().filter_map(|name| granted::named(&self.set, namespace, name)));
        let mut described = HashMap::new();
        let mut resources = Vec::new();
        for it in readable {
            let read = |secret: &Object<Secret>| {
                let offered = secrets::credential(&it.name, &secret.spec.data, now);
                offered.inspect_err(|error| warn!(at = %secret.at, %error, "a Secret cannot be served")).ok()
            };
            let Some(mut offered) = read(it.secret) else { continue };
            if let Some(roots) = it.roots {
                (offered.ca, offered.roots) = read(roots).map(|it| (it.ca, it.roots)).unwrap_or_default();
            }
            let certificates = offered.leaf.into_iter().collect();
            let parts = [
                (format!("kubernetes://{}", it.name), offered.certificate, Described { is_roots: false, certificates }),
                (
                    format!("kubernetes://{}-cacert", it.name),
                    offered.ca,
                    Described { is_roots: true, certificates: offered.roots },
                ),
            ];
            for (name, value, of_name) in parts {
                let Some(value) = value else { continue };
                resources.push((ResourceType::Secret, credential_resource(&name, &value)));
                described.insert(name, of_name);
            }
        }
        let before = self.granted_before.get(&place).map(|before| Arc::clone(&before.secrets));
        let secrets = layer(resources.into_iter(), before.as_ref());
        let made = Granted { secrets, described: Arc::new(described) };
        self.granted.entry(place).or_insert(made).clone()
    }

    /// gRPC takes no secret over xDS.
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

    fn with_secrets(&self, class: Class, before: Option<&Class>, now: OffsetDateTime) -> Class {
        let mut described = HashMap::new();
        let secrets = class.refers_to.iter().filter_map(|name| {
            let (resource, of_name) = self.secret(name, now)?;
            described.insert(name.to_string(), of_name);
            Some((ResourceType::Secret, resource))
        });
        let secrets = layer(secrets, before.map(|class| &class.secrets));
        Class { secrets, described: Arc::new(described), ..class }
    }

    /// What is one proxy's own: its inbound listeners, which bind its address, and the clusters behind them.
    pub(super) fn own(&self, basis: Basis, node: Node, before: Option<Own>) -> Own {
        // Most policy changes are about other things.
        if let Some(before) = before.as_ref().filter(|before| !node.is_gateway && before.basis.serves_alike(&basis)) {
            return Own { basis, ..before.clone() };
        }
        let plan = plan::proxy_plan(&self.mesh, basis.workload(), node);
        if let Some(before) = before.as_ref().filter(|before| *before.plan == plan) {
            // To plan is a fraction of what it takes to encode.
            return Own { basis, ..before.clone() };
        }
        let encoded = envoy::proxy_resources(&plan).into_iter().filter_map(|it| self.of_proxy(it));
        let layer = Arc::new(Layer::new(encoded, before.as_ref().map(|before| &*before.layer)));
        Own { basis, plan: Arc::new(plan), layer }
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

    /// The secrets that policy names, as far as they can be served: the class's namespace is part of the name, so no class
    /// sees another namespace's.
    fn secret(&self, name: &SecretName, now: OffsetDateTime) -> Option<(Arc<Resource>, Described)> {
        let of_file = |is_roots| Described { is_roots, certificates: Vec::new() };
        let (value, described) = match name {
            SecretName::Workload | SecretName::Root | SecretName::AllRoots | SecretName::DomainRoots(_) => return None,
            SecretName::FileRoot(path) => (secrets::file_root(path), of_file(true)),
            SecretName::SystemRoots => (secrets::system_roots(SYSTEM_ROOTS), of_file(true)),
            SecretName::FileCert { certificate, key } => (secrets::file_certificate(certificate, key), of_file(false)),
            SecretName::Credential { namespace, name, ca } => self.credential(namespace, name, *ca, now)?,
        };
        Some((credential_resource(&name.to_string(), &value), described))
    }

    fn credential(
        &self,
        namespace: &str,
        name: &str,
        ca: bool,
        now: OffsetDateTime,
    ) -> Option<(bytes::Bytes, Described)> {
        let (of, secret) = secret_named(name, namespace);
        if of != namespace {
            // Those of other namespaces are granted to workloads, and not to a class.
            return None;
        }
        let find = |name: &str| {
            self.set.secrets.iter().find(|object| object.meta.namespace == namespace && object.meta.name == name)
        };
        // As in Istio, roots may have a Secret of their own, which then counts.
        let of_roots = if ca { find(&format!("{secret}-cacert")) } else { None };
        let Some(object) = of_roots.or_else(|| find(secret)) else {
            warn!(
                secret = %format!("{namespace}/{secret}"),
                "the credentialName of a DestinationRule or of a Gateway names a Secret that is not there"
            );
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

/// What leads to ports that may be on their way, by name.
struct Leads<'a> {
    ports: BTreeSet<(WorkloadKey, u16)>,
    clusters: Vec<&'a str>,
    listeners: Vec<&'a str>,
    tls: bool,
}

fn calls<'a, I: Iterator<Item = Leads<'a>>>(layer: &Layer, leads: impl Fn() -> I) -> Arc<[Call]> {
    let moving = || leads().filter(|it| !it.ports.is_empty());
    if moving().next().is_none() {
        return Arc::default();
    }
    let of = |ty| layer.resources(ty).map(|it| (&**it.name(), it)).collect::<BTreeMap<_, _>>();
    let [clusters, endpoints, listeners] =
        [ResourceType::Cluster, ResourceType::Endpoint, ResourceType::Listener].map(of);
    let call = |it: Leads<'a>| {
        // Endpoints may be in the cluster itself.
        let of_clusters = it.clusters.iter().flat_map(|name| [clusters.get(name), endpoints.get(name)]);
        let all = of_clusters.chain(it.listeners.iter().map(|name| listeners.get(name))).flatten();
        Call { ports: it.ports, resources: all.map(|it| Arc::clone(it)).collect(), tls: it.tls }
    };
    moving().map(call).collect()
}

/// A layer of these resources: the one before if that has the same.
fn layer(resources: impl Iterator<Item = (ResourceType, Arc<Resource>)>, before: Option<&Arc<Layer>>) -> Arc<Layer> {
    let layer = Layer::new(resources, before.map(|before| &**before));
    match before {
        Some(before) if before.version() == layer.version() => Arc::clone(before),
        _ => Arc::new(layer),
    }
}

/// It depends on files elsewhere, or on an operator, so it is more likely to be bad than what is made here.
fn credential_resource(name: &str, value: &[u8]) -> Arc<Resource> {
    Arc::new(Resource::new(ResourceType::Secret, name, value).restated_by(secrets::restate).alone())
}

fn resource(encoded: EncodedResource) -> Option<(ResourceType, Arc<Resource>)> {
    let ty = ResourceType::from_url(encoded.type_url)?;
    Some((ty, Arc::new(Resource::new(ty, encoded.name, &encoded.value))))
}
