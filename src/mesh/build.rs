//! From a policy set to the model.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::gateway::{GatewayIndex, warn_of_missing_destinations};
use super::index::{LabelIndex, age_key, oldest_first};
use super::rules::RuleIndex;
use super::service::{Discovery, Endpoint, EndpointAddress, Ports, Service};
use super::slices::Slices;
use super::workload::{TLS_MODE_LABEL, Workload, WorkloadKey};
use super::{Mesh, Object, Settings, Sidecar, Topic, Transit, Warning, decide, spiffe_id};
use crate::policy::{
    LabelSelector, PeerAuthentication, PolicySet, Resolution, Service as K8sService, ServiceEntry, WorkloadEntry,
};

impl Mesh {
    /// Indexes `set`. What is written but cannot work as written is left out and comes back as a warning; whether a set is
    /// acceptable at all was the parser's question.
    pub fn build(set: &PolicySet, settings: &Settings) -> (Self, Vec<Warning>) {
        Self::build_in_transit(set, settings, Transit::default())
    }

    /// The same, with ports that are on their way to the mode that the set has for them.
    pub fn build_in_transit(set: &PolicySet, settings: &Settings, transit: Transit) -> (Self, Vec<Warning>) {
        let mut warnings = Vec::new();
        let settings = &settings.of_set(set, &mut warnings);
        let mut builder = Builder { set, settings, warnings };
        let mut workloads = builder.workloads();
        workloads.iter_mut().for_each(|workload| workload.moving = transit.of(&workload.key));
        let index = LabelIndex::new(workloads.iter().enumerate());
        builder.authenticate(&mut workloads, &index);
        builder.assign_sidecars(&mut workloads, &index);
        builder.authorize(&mut workloads, &index);
        builder.govern(&mut workloads);
        builder.misplaced_annotations();
        let workloads: Vec<Arc<Workload>> = workloads.into_iter().map(Arc::new).collect();
        builder.warn_of_permissive_default(&workloads);

        let mut services = builder.services(&workloads, &index);
        builder.drop_duplicate_hosts(&mut services);
        let mut endpoints_of: HashMap<WorkloadKey, Vec<(usize, usize)>> = HashMap::new();
        for (position, service) in services.iter().enumerate() {
            for (index, endpoint) in service.endpoints.iter().enumerate() {
                let Some(workload) = &endpoint.workload else { continue };
                match endpoints_of.get_mut(&workload.key) {
                    Some(endpoints) => endpoints.push((position, index)),
                    None => drop(endpoints_of.insert(workload.key.clone(), vec![(position, index)])),
                }
            }
        }
        let gateways = GatewayIndex::new(set, &workloads, &mut builder.warnings);
        warn_of_missing_destinations(set, &services, settings, &mut builder.warnings);
        let mesh = Self {
            settings: settings.clone(),
            workloads: workloads.into_iter().map(|workload| (workload.key.clone(), workload)).collect(),
            services,
            endpoints_of,
            rules: RuleIndex::new(&set.destination_rules, settings),
            transit,
            gateways,
        };
        (mesh, builder.warnings)
    }
}

pub(super) struct Builder<'a> {
    pub(super) set: &'a PolicySet,
    pub(super) settings: &'a Settings,
    pub(super) warnings: Vec<Warning>,
}

impl Builder<'_> {
    /// Gives each workload the winning PeerAuthentication of each scope.
    fn authenticate(&mut self, workloads: &mut [Workload], index: &LabelIndex) {
        let mut policies: Vec<_> = self.set.peer_authentications.iter().cloned().map(Arc::new).collect();
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
                    let selected: Vec<usize> = index.select(workloads, &namespace, &selector).collect();
                    if selected.is_empty() {
                        let message = format!(
                            "PeerAuthentication {namespace}/{} selects no workload, so it protects nothing",
                            policy.meta.name
                        );
                        self.warnings.push(Warning::new(Topic::SelectsNothing, &policy.at, message));
                    }
                    let mut winners: Vec<Arc<Object<PeerAuthentication>>> = Vec::new();
                    for position in selected {
                        let slot = &mut workloads[position].authentication.workload;
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
        for workload in workloads {
            workload.authentication.mesh = mesh_wide.clone();
            workload.authentication.namespace = of_namespace.get(&workload.key.namespace).cloned();
        }
    }

    fn assign_sidecars(&mut self, workloads: &mut [Workload], index: &LabelIndex) {
        let mut sidecars: Vec<Arc<Object<Sidecar>>> = self.set.sidecars.iter().cloned().map(Arc::new).collect();
        oldest_first(&mut sidecars);
        let mut of_namespace: HashMap<&str, &Arc<Object<Sidecar>>> = HashMap::new();
        for sidecar in &sidecars {
            match sidecar.spec.workload_selector.as_ref().filter(|selector| !selector.0.is_empty()) {
                Some(selector) => {
                    let selected: Vec<usize> = index.select(workloads, &sidecar.meta.namespace, selector).collect();
                    for position in selected {
                        workloads[position].sidecar.get_or_insert_with(|| sidecar.clone());
                    }
                }
                None => drop(of_namespace.entry(&sidecar.meta.namespace).or_insert(sidecar)),
            }
        }
        let root = of_namespace.get(self.settings.root_namespace.as_str());
        for workload in workloads.iter_mut().filter(|workload| workload.sidecar.is_none()) {
            workload.sidecar = of_namespace.get(workload.key.namespace.as_str()).or(root).map(|&s| s.clone());
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

    fn services(&mut self, workloads: &[Arc<Workload>], index: &LabelIndex) -> Vec<Arc<Service>> {
        let mut aged = Vec::new();
        let slices = Slices::new(self.set, workloads, &mut self.warnings);
        for object in &self.set.services {
            let service = self.v1_service(object, &slices, workloads, index);
            aged.push((
                age_key(&object.meta),
                Arc::new(service.with_protocols_of_linkerd(object.meta.linkerd.opaque_ports.as_ref())),
            ));
        }
        for object in &self.set.service_entries {
            for host in &object.spec.hosts {
                let host = host.value.trim_end_matches('.').to_ascii_lowercase();
                let service = self.entry_service(object, host, workloads, index);
                aged.push((age_key(&object.meta), Arc::new(service.with_protocols_of_linkerd(None))));
            }
        }
        aged.sort_by(|a, b| a.1.host.cmp(&b.1.host).then_with(|| a.0.cmp(&b.0)));
        aged.into_iter().map(|(_, service)| service).collect()
    }

    fn v1_service(
        &mut self,
        object: &Object<K8sService>,
        slices: &Slices<'_>,
        workloads: &[Arc<Workload>],
        index: &LabelIndex,
    ) -> Service {
        let spec = &object.spec;
        let namespace = &object.meta.namespace;
        // A Service without a selector selects nothing, where an empty selector would select everything.
        let selector = Some(&spec.selector).filter(|selector| !selector.0.is_empty());
        let mut endpoints = self.selected(object, selector, Discovery::Endpoints, workloads, index);
        if let Some(sliced) = slices.of(namespace, &object.meta.name) {
            // As in Istio: what the cluster says of its Pods, and WorkloadEntries besides.
            endpoints.retain(|endpoint| matches!(endpoint.ports, Ports::Entry(_)));
            endpoints.extend(sliced);
            endpoints.sort_by(|a, b| a.address.cmp(&b.address));
        }
        for endpoint in endpoints.iter_mut().filter(|_| spec.publish_not_ready_addresses) {
            endpoint.ready = true;
        }
        let mut discovery = Discovery::Endpoints;
        if let Some(name) = &spec.external_name {
            discovery = Discovery::Dns;
            endpoints = vec![Endpoint::at(address(name))];
        }
        Service {
            host: format!("{}.{namespace}.svc.{}", object.meta.name, self.settings.cluster_domain).to_ascii_lowercase(),
            namespace: namespace.clone(),
            name: object.meta.name.clone(),
            addresses: spec.cluster_ips.clone(),
            ports: sorted_ports(&spec.ports),
            external: spec.external_name.is_some(),
            has_short_names: true,
            discovery,
            client_chooses: spec.headless && spec.external_name.is_none(),
            endpoints,
            subject_alt_names: Vec::new(),
            export_to: exported_by_annotation(&object.meta.annotations),
            skipped_outbound: object.meta.linkerd.skip_outbound_ports.clone(),
            at: object.at.clone(),
        }
    }

    fn entry_service(
        &mut self,
        object: &Object<ServiceEntry>,
        host: String,
        workloads: &[Arc<Workload>],
        index: &LabelIndex,
    ) -> Service {
        let spec = &object.spec;
        let written = !spec.endpoints.is_empty() || spec.workload_selector.is_some();
        // Without interception there is no original destination, so `resolution: NONE` can only mean the host's own address.
        let discovery = match spec.resolution {
            Resolution::Static => Discovery::Endpoints,
            Resolution::Dns => Discovery::Dns,
            Resolution::None if written => Discovery::Endpoints,
            Resolution::None => Discovery::Dns,
        };
        let mut endpoints = self.selected(object, spec.workload_selector.as_ref(), discovery, workloads, index);
        for entry in &spec.endpoints {
            endpoints.extend(self.inline_endpoint(object, entry, discovery));
        }
        if discovery == Discovery::Dns && !written {
            if host.contains('*') {
                let message = format!(
                    "`{host}` cannot be resolved: a wildcard host needs `endpoints` or a `workloadSelector`, \
                     unless clients' connections are intercepted"
                );
                self.warnings.push(Warning::new(Topic::Unreachable, &object.at, message));
            } else {
                endpoints.push(Endpoint::at(address(&host)));
            }
        }
        endpoints.sort_by(|a, b| a.address.cmp(&b.address));
        Service {
            host,
            namespace: object.meta.namespace.clone(),
            name: object.meta.name.clone(),
            addresses: spec.addresses.clone(),
            ports: sorted_ports(&spec.ports),
            external: !spec.mesh_internal,
            has_short_names: false,
            discovery,
            client_chooses: spec.resolution == Resolution::None && !written,
            endpoints,
            subject_alt_names: spec.subject_alt_names.clone(),
            export_to: spec.export_to.clone(),
            skipped_outbound: None,
            at: object.at.clone(),
        }
    }

    fn selected<S>(
        &mut self,
        object: &Object<S>,
        selector: Option<&LabelSelector>,
        discovery: Discovery,
        workloads: &[Arc<Workload>],
        index: &LabelIndex,
    ) -> Vec<Endpoint> {
        let Some(selector) = selector else { return Vec::new() };
        let mut endpoints = Vec::new();
        for position in index.select(workloads, &object.meta.namespace, selector) {
            let workload = &workloads[position];
            if workload.address.is_none() && discovery == Discovery::Endpoints {
                let message = format!(
                    "{} cannot be an endpoint of {}: its address `{}` is a name, and only a ServiceEntry with `resolution: DNS` resolves names",
                    workload.key, object.meta.name, workload.address_text
                );
                self.warnings.push(Warning::new(Topic::Unreachable, &workload.at, message));
                continue;
            }
            endpoints.push(Endpoint {
                address: address(&workload.address_text),
                labels: workload.labels.clone(),
                identities: workload.identities.clone(),
                meshed: workload.meshed,
                ports: workload.ports.clone(),
                locality: workload.locality.clone(),
                weight: workload.weight,
                ready: workload.ready,
                workload: Some(workload.clone()),
            });
        }
        endpoints.sort_by(|a, b| a.address.cmp(&b.address));
        endpoints
    }

    fn inline_endpoint(
        &mut self,
        object: &Object<ServiceEntry>,
        entry: &WorkloadEntry,
        discovery: Discovery,
    ) -> Option<Endpoint> {
        let address = address(&entry.address.value);
        if discovery == Discovery::Endpoints && matches!(address, EndpointAddress::Dns(_)) {
            let message = format!(
                "endpoint `{}` is not an IP address, and is left out: `resolution: DNS` resolves names",
                entry.address.value
            );
            self.warnings.push(Warning::new(Topic::Unreachable, &entry.address.at, message));
            return None;
        }
        let meshed = entry.labels.get(TLS_MODE_LABEL).is_some_and(|mode| mode == "istio");
        let identities = if meshed {
            self.identities(&object.meta.namespace, entry.service_account.as_deref().unwrap_or("default"))
        } else {
            Arc::default()
        };
        Some(Endpoint {
            address,
            labels: Arc::new(entry.labels.clone()),
            identities,
            meshed,
            ports: Ports::Entry(entry.ports.clone()),
            locality: entry.locality.clone(),
            weight: entry.weight,
            ready: true,
            workload: None,
        })
    }

    pub(super) fn identities(&self, namespace: &str, service_account: &str) -> Arc<[String]> {
        self.settings.trust_domains().map(|td| spiffe_id(td, namespace, service_account)).collect()
    }

    /// Of two definitions of a host in one namespace the older counts. `services` is sorted by host, then age.
    fn drop_duplicate_hosts(&mut self, services: &mut Vec<Arc<Service>>) {
        let mut first: HashMap<(String, String), String> = HashMap::new();
        let warnings = &mut self.warnings;
        services.retain(|service| {
            let key = (service.host.clone(), service.namespace.clone());
            match first.get(&key) {
                None => {
                    first.insert(key, service.at.to_string());
                    true
                }
                Some(older) => {
                    let message = format!("host {} is already defined at {older}, which counts", service.host);
                    warnings.push(Warning::new(Topic::Shadowed, &service.at, message));
                    false
                }
            }
        });
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

impl Endpoint {
    /// A bare address, of which nothing else is known.
    fn at(address: EndpointAddress) -> Self {
        Self {
            address,
            labels: Arc::default(),
            identities: Arc::default(),
            meshed: false,
            ports: Ports::Entry(BTreeMap::new()),
            locality: None,
            weight: None,
            ready: true,
            workload: None,
        }
    }
}

fn address(text: &str) -> EndpointAddress {
    match text.parse::<IpAddr>() {
        Ok(ip) => EndpointAddress::Ip(ip),
        Err(_) => EndpointAddress::Dns(text.to_owned()),
    }
}

fn sorted_ports(ports: &[crate::policy::ServicePort]) -> Vec<crate::policy::ServicePort> {
    let mut ports = ports.to_vec();
    ports.sort_by_key(|port| port.port.value);
    ports.dedup_by_key(|port| port.port.value);
    ports
}

fn exported_by_annotation(annotations: &BTreeMap<String, String>) -> Vec<String> {
    let value = annotations.get("networking.istio.io/exportTo").map_or("", String::as_str);
    value.split(',').map(str::trim).filter(|to| !to.is_empty()).map(str::to_owned).collect()
}
