//! Who there is: a workload for each WorkloadEntry, with what its WorkloadGroup adds, and for each Pod.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::build::Builder;
use super::index::LabelIndex;
use super::linkerd::dns_name;
use super::registration::Process;
use super::service::Ports;
use super::workload::{Registered, TLS_MODE_LABEL, WorkloadKey};
use super::{Object, Settings, Topic, Warning};
use crate::policy::linkerd::{Annotations, Injection};
use crate::policy::{
    ClusterSpiffeId, ClusterStaticEntry, Located, Namespace, Objects, Pod, PolicySet, WorkloadEntry, WorkloadGroup,
};

/// The annotation by which a WorkloadEntry names its group (istio/api, annotation/annotations.yaml).
const GROUP: &str = "istio.io/autoRegistrationGroup";

type Groups<'a> = HashMap<(&'a str, &'a str), &'a WorkloadGroup>;
type Namespaces<'a> = HashMap<&'a str, &'a Annotations>;

/// Every workload.
#[derive(Debug)]
pub(super) struct Population {
    from: From,
    /// WorkloadEntries first, each kind by name.
    pub(super) all: Vec<Arc<Registered>>,
    /// Where each one is.
    pub(super) by_key: BTreeMap<WorkloadKey, usize>,
    pub(super) index: LabelIndex,
    /// Processes of the server's machine that have an identity.
    pub(super) processes: Vec<Process>,
    pub(super) warnings: Vec<Warning>,
    /// Those whose identity is not made of their namespace and service account. The very same as in the population before, where nothing of
    /// it has changed.
    pub(super) registered: Arc<[(WorkloadKey, Arc<[String]>)]>,
}

/// What the workloads were made from.
#[derive(Debug)]
struct From {
    entries: Objects<WorkloadEntry>,
    groups: Objects<WorkloadGroup>,
    pods: Objects<Pod>,
    namespaces: Objects<Namespace>,
    static_entries: Objects<ClusterStaticEntry>,
    templates: Objects<ClusterSpiffeId>,
}

impl From {
    fn of(set: &PolicySet) -> Self {
        Self {
            entries: set.workload_entries.clone(),
            groups: set.workload_groups.clone(),
            pods: set.pods.clone(),
            namespaces: set.namespaces.clone(),
            static_entries: set.static_entries.clone(),
            templates: set.cluster_spiffe_ids.clone(),
        }
    }

    fn is(&self, set: &PolicySet) -> bool {
        self.entries.are(&set.workload_entries)
            && self.groups.are(&set.workload_groups)
            && self.pods.are(&set.pods)
            && self.namespaces.are(&set.namespaces)
            && self.static_entries.are(&set.static_entries)
            && self.templates.are(&set.cluster_spiffe_ids)
    }
}

impl Population {
    /// That of `set`: the one before, if it was made from the very same.
    pub(super) fn after(before: Option<&Arc<Self>>, set: &PolicySet, settings: &Settings) -> Arc<Self> {
        if let Some(before) = before.filter(|before| before.from.is(set)) {
            return Arc::clone(before);
        }
        let mut builder = Builder { set, settings, warnings: Vec::new() };
        let mut all = builder.workloads();
        let processes = builder.register(&mut all);
        let by_key: BTreeMap<_, _> = all.iter().enumerate().map(|(position, it)| (it.key.clone(), position)).collect();
        let all: Vec<_> = all.into_iter().map(Arc::new).collect();
        let index = LabelIndex::new(&all);
        let ordinary = |it: &Registered| it.spiffe_id == settings.spiffe_id(&it.key.namespace, &it.service_account);
        let named = by_key.iter().map(|(key, &position)| (key, &all[position]));
        let named = named.filter(|(_, workload)| !ordinary(workload));
        let registered: Arc<[_]> =
            named.map(|(key, workload)| (key.clone(), Arc::clone(&workload.identities))).collect();
        let known = before.map(|before| &before.registered).filter(|known| **known == registered);
        let registered = known.cloned().unwrap_or(registered);
        let warnings = builder.warnings;
        Arc::new(Self { from: From::of(set), all, by_key, index, processes, registered, warnings })
    }
}

impl Builder<'_> {
    /// WorkloadEntries first: of two workloads of one name the first counts.
    fn workloads(&mut self) -> Vec<Registered> {
        let set = self.set;
        let groups: Groups<'_> = set
            .workload_groups
            .iter()
            .map(|object| ((object.meta.namespace.as_str(), object.meta.name.as_str()), &object.spec))
            .collect();
        let namespaces: Namespaces<'_> =
            set.namespaces.iter().map(|object| (object.meta.name.as_str(), &object.meta.linkerd)).collect();
        let mut all: Vec<Registered> = Vec::with_capacity(set.workload_entries.len() + set.pods.len());
        let mut by_key = HashMap::new();
        let entries =
            set.workload_entries.iter().map(|object| (self.of_entry(object, &groups, &namespaces), "WorkloadEntry"));
        let entries: Vec<_> = entries.collect();
        let pods = set.pods.iter().filter_map(|object| Some((self.of_pod(object, &namespaces)?, "Pod")));
        for (workload, kind) in entries.into_iter().chain(pods.collect::<Vec<_>>()) {
            if let Some(&first) = by_key.get(&workload.key) {
                let first: &Registered = &all[first];
                let message = format!("a second workload {} ({kind}): the one at {} counts", workload.key, first.at);
                self.warnings.push(Warning::new(Topic::Shadowed, &workload.at, message));
                continue;
            }
            by_key.insert(workload.key.clone(), all.len());
            all.push(workload);
        }
        all
    }

    fn of_entry(
        &mut self,
        object: &Object<WorkloadEntry>,
        groups: &Groups<'_>,
        namespaces: &Namespaces<'_>,
    ) -> Registered {
        let (entry, namespace) = (&object.spec, &object.meta.namespace);
        let none = WorkloadGroup::default();
        let group = match object.meta.annotations.get(GROUP) {
            None => &none,
            Some(name) => groups.get(&(namespace.as_str(), name.as_str())).copied().unwrap_or_else(|| {
                let message = format!(
                    "WorkloadEntry {namespace}/{} names the WorkloadGroup {name:?}, and {namespace} has none of that name",
                    object.meta.name
                );
                self.warnings.push(Warning::new(Topic::SelectsNothing, &object.at, message));
                &none
            }),
        };
        // The entry's own are those of its metadata too.
        let mut labels = entry.labels.clone();
        for (key, value) in &group.labels {
            if !labels.contains_key(key) {
                labels.insert(key.clone(), value.clone());
            }
        }
        let mut ports = group.ports.clone();
        ports.extend(entry.ports.clone());
        let account = entry.service_account.as_ref().or(group.service_account.as_ref());
        let account = account.map_or("default", String::as_str).to_owned();
        let annotations = inherited(&object.meta.linkerd.or(&group.linkerd), namespace, namespaces);
        Registered {
            address: entry.address.value.parse().ok(),
            other_address: None,
            address_text: entry.address.value.clone(),
            spiffe_id: self.settings.spiffe_id(namespace, &account),
            identities: self.identities(namespace, &account),
            dns_names: self.dns_names(&annotations, namespace, &account),
            annotations,
            service_account: account,
            leaf_ttl: None,
            nodes: Arc::default(),
            meshed: labels.get(TLS_MODE_LABEL).is_none_or(|mode| mode != "disabled"),
            labels: Arc::new(labels),
            ports: Ports::Entry(ports),
            locality: entry.locality.clone().or_else(|| group.locality.clone()),
            weight: entry.weight.or(group.weight),
            ready: true,
            at: object.at.clone(),
            key: WorkloadKey::new(namespace, &object.meta.name),
        }
    }

    /// `None`: it has no address, because it does not run yet or any more. A Pod has a proxy where Istio's injector has left its marks, and
    /// never on its machine's network.
    fn of_pod(&self, object: &Object<Pod>, namespaces: &Namespaces<'_>) -> Option<Registered> {
        let (pod, namespace) = (&object.spec, &object.meta.namespace);
        let address = pod.address.as_ref()?.value;
        let annotations = inherited(&object.meta.linkerd, namespace, namespaces);
        let is_disabled = object.meta.labels.get(TLS_MODE_LABEL).is_some_and(|mode| mode == "disabled");
        Some(Registered {
            address: Some(address),
            other_address: pod.other_address,
            address_text: address.to_string(),
            spiffe_id: self.settings.spiffe_id(namespace, &pod.service_account),
            identities: self.identities(namespace, &pod.service_account),
            dns_names: self.dns_names(&annotations, namespace, &pod.service_account),
            annotations,
            service_account: pod.service_account.clone(),
            leaf_ttl: None,
            nodes: Arc::default(),
            meshed: pod.injected && !pod.host_network && !is_disabled,
            labels: Arc::new(object.meta.labels.clone()),
            ports: Ports::Pod(pod.ports.clone()),
            locality: None,
            weight: None,
            ready: pod.ready,
            at: object.at.clone(),
            key: WorkloadKey::new(namespace, &object.meta.name),
        })
    }
    /// Where Linkerd's proxy is wanted, others may look for the name that Linkerd would give.
    fn dns_names(&self, annotations: &Annotations, namespace: &str, account: &str) -> Arc<[String]> {
        let injects = |it: &Located<Injection>| it.value != Injection::Disabled;
        let named = annotations.inject.as_ref().filter(|it| injects(it));
        named.and_then(|_| dns_name(self.settings, namespace, account)).into_iter().collect()
    }
}

/// What a workload says, and what its namespace says where it is silent.
fn inherited(own: &Annotations, namespace: &str, namespaces: &Namespaces<'_>) -> Annotations {
    namespaces.get(namespace).map_or_else(|| own.clone(), |wider| own.or(wider))
}
