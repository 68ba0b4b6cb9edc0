//! Identities that SPIRE's kinds give: which workload has which SPIFFE ID, DNS names and lifetime.
//!
//! A workload that nobody registers has Istio's identity, of its namespace and service account. One that is registered has that identity
//! instead, and only it: everything else asks the workload. Entries go before templates, older objects before younger, and a fallback is for
//! those that nothing else selects. A `unix` selector registers processes of the server's own machine.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::build::Builder;
use super::index::age_key;
use super::service::Ports;
use super::workload::{Registered, WorkloadKey};
use super::{Object, Origin, Topic, Warning, linkerd};
use crate::identity::SpiffeId;
use crate::policy::linkerd::Annotations;
use crate::policy::{ClusterSpiffeId, ClusterStaticEntry, Selector, TemplateData, is_leaf_name};

/// The namespace of processes that no other object of the policy speaks of.
const NAMESPACE: &str = "spire";

/// Processes of this machine that have an identity by their user and group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The user id; `None` for whatever user.
    pub uid: Option<u32>,
    /// The group id; `None` for whatever group.
    pub gid: Option<u32>,
    /// `spiffe://…`
    pub spiffe_id: String,
}

/// What a workload is registered as.
struct Registration {
    id: SpiffeId,
    dns_names: Vec<String>,
    ttl: Option<Duration>,
    nodes: Vec<String>,
    by: String,
    at: Origin,
}

impl Builder<'_> {
    /// Gives the workloads that are registered their identities, adds those that are processes alone, and returns these.
    pub(super) fn register(&mut self, workloads: &mut Vec<Registered>) -> Vec<Process> {
        let set = self.set;
        if set.static_entries.is_empty() && set.cluster_spiffe_ids.is_empty() {
            return Vec::new();
        }
        let mut entries: Vec<&Arc<Object<ClusterStaticEntry>>> = set.static_entries.iter().collect();
        entries.sort_by_key(|object| age_key(&object.meta));
        entries.retain(|object| !object.spec.is_node_alias && self.is_ours(object));
        let mut registered: Vec<Option<Registration>> = workloads.iter().map(|_| None).collect();
        for object in &entries {
            self.register_entry(object, workloads, &mut registered);
        }
        self.register_templates(workloads, &mut registered);
        for (workload, registration) in workloads.iter_mut().zip(&registered) {
            let Some(it) = registration else { continue };
            workload.identities =
                self.settings.trust_domains().map(|td| format!("spiffe://{td}{}", it.id.path())).collect();
            workload.spiffe_id = it.id.to_string();
            // Beside Linkerd's, where that is wanted.
            let given = self.without_others_names(it, workload);
            let names = workload.dns_names.iter().chain(given).cloned();
            workload.dns_names = names.collect::<BTreeSet<_>>().into_iter().collect();
            workload.leaf_ttl = it.ttl;
            workload.nodes = it.nodes.as_slice().into();
        }
        self.warn_of_shared_identities(workloads, &registered);
        self.processes(&entries, workloads)
    }

    /// A Linkerd name in a certificate means an account to whoever lets it in by that name. So nobody carries another's, which a template
    /// could make of what the owner of a workload writes on it.
    fn without_others_names<'r>(&mut self, given: &'r Registration, workload: &Registered) -> Vec<&'r String> {
        let own = linkerd::dns_name(self.settings, &workload.key.namespace, &workload.service_account);
        let (kept, others): (Vec<_>, Vec<_>) =
            given.dns_names.iter().partition(|name| !linkerd::is_name(name) || Some(*name) == own.as_ref());
        for name in others {
            let message = format!(
                "{} gives {} the DNS name {name}, by which Linkerd's policy knows another account, and is left out",
                given.by, workload.key
            );
            self.warnings.push(Warning::new(Topic::InvalidIdentity, &given.at, message));
        }
        kept
    }

    /// Only identities of our own trust domain are issued here.
    fn is_ours(&mut self, object: &Object<ClusterStaticEntry>) -> bool {
        let id = &object.spec.spiffe_id;
        let ours =
            id.value.parse::<SpiffeId>().is_ok_and(|it| it.trust_domain().as_str() == self.settings.trust_domain);
        if !ours {
            let message = format!(
                "ClusterStaticEntry {} is of another trust domain than {}, and gives nobody its identity",
                object.meta.name, self.settings.trust_domain
            );
            self.warnings.push(Warning::new(Topic::ForeignIdentity, &id.at, message));
        }
        ours
    }

    fn register_entry(
        &mut self,
        object: &Object<ClusterStaticEntry>,
        workloads: &[Registered],
        registered: &mut [Option<Registration>],
    ) {
        let (spec, name) = (&object.spec, format!("ClusterStaticEntry {}", object.meta.name));
        let Ok(id) = spec.spiffe_id.value.parse::<SpiffeId>() else { return };
        if spec.selectors.iter().all(|it| matches!(it.value, Selector::Uid(_) | Selector::Gid(_))) {
            return;
        }
        let mut any = false;
        for (workload, slot) in workloads.iter().zip(registered) {
            if spec.selectors.iter().all(|selector| fits(&selector.value, workload)) {
                any = true;
                let (dns_names, ttl) = (spec.dns_names.clone(), spec.ttl);
                let nodes = vec![spec.parent_id.clone()];
                let new =
                    Registration { id: id.clone(), dns_names, ttl, nodes, by: name.clone(), at: object.at.clone() };
                self.put(slot, new, workload);
            }
        }
        if !any {
            let message = format!("the selectors of {name} fit no workload, so nobody has its identity");
            self.warnings.push(Warning::new(Topic::RegistersNobody, &object.at, message));
        }
    }

    /// The first registration of a workload counts: it has one certificate.
    fn put(&mut self, slot: &mut Option<Registration>, new: Registration, workload: &Registered) {
        match slot {
            None => *slot = Some(new),
            // The same identity on another node.
            Some(first) if first.id == new.id => first.nodes.extend(new.nodes),
            Some(first) => {
                let message = format!(
                    "{} would give {} a second identity, and has no effect on it: {} ({}) counts",
                    new.by, workload.key, first.by, first.at
                );
                self.warnings.push(Warning::new(Topic::Shadowed, &new.at, message));
            }
        }
    }

    fn register_templates(&mut self, workloads: &[Registered], registered: &mut [Option<Registration>]) {
        let set = self.set;
        let mut objects: Vec<&Arc<Object<ClusterSpiffeId>>> = set.cluster_spiffe_ids.iter().collect();
        objects.sort_by_key(|object| (object.spec.fallback, age_key(&object.meta)));
        if objects.is_empty() {
            return;
        }
        let entries = set.workload_entries.iter().map(|object| &object.meta);
        let metas = entries.chain(set.pods.iter().map(|object| &object.meta));
        let annotations: HashMap<(&str, &str), &BTreeMap<String, String>> =
            metas.map(|meta| ((meta.namespace.as_str(), meta.name.as_str()), &meta.annotations)).collect();
        let namespaces: HashMap<&str, &BTreeMap<String, String>> =
            set.namespaces.iter().map(|object| (object.meta.name.as_str(), &object.meta.labels)).collect();
        for object in objects {
            let mut selected = 0;
            for (workload, slot) in workloads.iter().zip(registered.iter_mut()) {
                if !object.spec.pods.hold_for(&workload.labels) || !in_namespace(&object.spec, workload, &namespaces) {
                    continue;
                }
                selected += 1;
                if object.spec.fallback && slot.is_some() {
                    continue;
                }
                let key = (workload.key.namespace.as_str(), workload.key.name.as_str());
                let none = BTreeMap::new();
                let annotations = annotations.get(&key).copied().unwrap_or(&none);
                if let Some(new) = self.rendered(object, workload, annotations) {
                    self.put(slot, new, workload);
                }
            }
            if selected == 0 {
                let message = format!("ClusterSPIFFEID {} selects no workload", object.meta.name);
                self.warnings.push(Warning::new(Topic::RegistersNobody, &object.at, message));
            }
        }
    }

    /// `None`: the template makes nothing of this workload that could stand in a certificate; it keeps the identity that it has.
    fn rendered(
        &mut self,
        object: &Object<ClusterSpiffeId>,
        workload: &Registered,
        annotations: &BTreeMap<String, String>,
    ) -> Option<Registration> {
        let data = TemplateData {
            trust_domain: &self.settings.trust_domain,
            cluster_name: &self.settings.cluster,
            cluster_domain: &self.settings.cluster_domain,
            name: &workload.key.name,
            namespace: &workload.key.namespace,
            labels: &workload.labels,
            annotations,
            service_account: &workload.service_account,
        };
        let (spec, name) = (&object.spec, format!("ClusterSPIFFEID {}", object.meta.name));
        let text = spec.template.value.render(&data);
        let id = match text.parse::<SpiffeId>() {
            Ok(id) if id.trust_domain().as_str() == self.settings.trust_domain => id,
            Ok(_) => {
                let message = format!(
                    "{name} gives {} the identity {text}, which is not of our trust domain {}",
                    workload.key, self.settings.trust_domain
                );
                self.warnings.push(Warning::new(Topic::ForeignIdentity, &spec.template.at, message));
                return None;
            }
            Err(error) => {
                let message = format!("{name} makes {text:?} of {}, which is not a SPIFFE ID: {error}", workload.key);
                self.warnings.push(Warning::new(Topic::InvalidIdentity, &spec.template.at, message));
                return None;
            }
        };
        let mut dns_names = Vec::new();
        for template in &spec.dns_names {
            let dns = template.value.render(&data);
            if is_leaf_name(&dns) {
                dns_names.push(dns);
            } else {
                let message =
                    format!("{name} makes {dns:?} of {}, which is not a DNS name, and is left out", workload.key);
                self.warnings.push(Warning::new(Topic::InvalidIdentity, &template.at, message));
            }
        }
        Some(Registration { id, dns_names, ttl: spec.ttl, nodes: Vec::new(), by: name, at: object.at.clone() })
    }

    /// Two workloads of different service accounts that are one to everybody else. Whoever wrote one object for both knows.
    fn warn_of_shared_identities(&mut self, workloads: &[Registered], registered: &[Option<Registration>]) {
        let mut first: HashMap<&str, (&Registered, Option<&Registration>)> = HashMap::new();
        let mut told = Vec::new();
        for (workload, registration) in workloads.iter().zip(registered) {
            let registration = registration.as_ref();
            let Some((other, by)) = first.get(workload.spiffe_id.as_str()) else {
                first.insert(&workload.spiffe_id, (workload, registration));
                continue;
            };
            let account = |it: &Registered| (it.key.namespace.clone(), it.service_account.clone());
            let one_object = registration.map(|it| &it.at) == by.map(|it| &it.at);
            let Some(it) = registration.or(*by).filter(|_| account(workload) != account(other)) else { continue };
            let is_static = one_object && it.by.starts_with("ClusterStaticEntry");
            if !is_static && !told.contains(&it.at) {
                told.push(it.at.clone());
                let message = format!(
                    "{} and {} are of different service accounts, and have one identity by {}: {}",
                    other.key, workload.key, it.by, workload.spiffe_id
                );
                self.warnings.push(Warning::new(Topic::SharedIdentity, &it.at, message));
            }
        }
    }

    /// Processes of this machine. One whose identity no workload has is a workload of its own, without an address: it may have secrets.
    fn processes(
        &mut self,
        entries: &[&Arc<Object<ClusterStaticEntry>>],
        workloads: &mut Vec<Registered>,
    ) -> Vec<Process> {
        let mut processes = Vec::new();
        for object in entries {
            let spec = &object.spec;
            let mut process = Process { uid: None, gid: None, spiffe_id: spec.spiffe_id.value.clone() };
            let mut is_process = true;
            for selector in &spec.selectors {
                match selector.value {
                    Selector::Uid(uid) => is_process &= *process.uid.get_or_insert(uid) == uid,
                    Selector::Gid(gid) => is_process &= *process.gid.get_or_insert(gid) == gid,
                    _ => is_process = false,
                }
            }
            if !is_process {
                continue;
            }
            processes.push(process);
            if workloads.iter().any(|workload| workload.spiffe_id == spec.spiffe_id.value) {
                continue;
            }
            let key = WorkloadKey::new(NAMESPACE, &object.meta.name);
            if workloads.iter().any(|workload| workload.key == key) {
                let message = format!("a second workload {key} (ClusterStaticEntry): give it another name");
                self.warnings.push(Warning::new(Topic::Shadowed, &object.at, message));
                continue;
            }
            workloads.push(self.process(object, key));
        }
        processes
    }

    fn process(&self, object: &Object<ClusterStaticEntry>, key: WorkloadKey) -> Registered {
        let spec = &object.spec;
        let path = spec.spiffe_id.value.parse::<SpiffeId>().map(|id| id.path().to_owned()).unwrap_or_default();
        Registered {
            key,
            address: None,
            other_address: None,
            address_text: "a process of this machine".to_owned(),
            labels: Arc::default(),
            service_account: object.meta.name.clone(),
            spiffe_id: spec.spiffe_id.value.clone(),
            identities: self.settings.trust_domains().map(|td| format!("spiffe://{td}{path}")).collect(),
            dns_names: spec.dns_names.iter().filter(|name| !linkerd::is_name(name)).cloned().collect(),
            leaf_ttl: spec.ttl,
            nodes: [spec.parent_id.clone()].into(),
            meshed: false,
            ports: Ports::Entry(BTreeMap::new()),
            locality: None,
            weight: None,
            ready: true,
            at: object.at.clone(),
            annotations: Annotations::default(),
        }
    }
}

fn fits(selector: &Selector, workload: &Registered) -> bool {
    match selector {
        Selector::Namespace(namespace) => workload.key.namespace == *namespace,
        Selector::ServiceAccount(account) => workload.service_account == *account,
        Selector::PodName(name) => workload.key.name == *name,
        Selector::PodLabel(key, value) => workload.labels.get(key) == Some(value),
        Selector::Uid(_) | Selector::Gid(_) | Selector::Other(_) => false,
    }
}

/// A namespace has the label of its name, whether or not it is written (Kubernetes, well-known labels).
fn in_namespace(
    spec: &ClusterSpiffeId,
    workload: &Registered,
    namespaces: &HashMap<&str, &BTreeMap<String, String>>,
) -> bool {
    const NAME: &str = "kubernetes.io/metadata.name";
    let namespace = workload.key.namespace.as_str();
    let mut labels = namespaces.get(namespace).map(|labels| (*labels).clone()).unwrap_or_default();
    labels.insert(NAME.to_owned(), namespace.to_owned());
    spec.namespaces.hold_for(&labels)
}
