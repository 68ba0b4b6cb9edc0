//! What is offered: every service, with the endpoints behind it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::build::Builder;
use super::governed::Governed;
use super::index::age_key;
use super::population::Population;
use super::service::{Discovery, Endpoint, EndpointAddress, Ports, Service};
use super::slices::Slices;
use super::workload::{TLS_MODE_LABEL, Workload};
use super::{Object, Settings, Topic, Warning, linkerd};
use crate::policy::{
    EndpointSlice, LabelSelector, Located, Metadata, Objects, PolicySet, Resolution, Service as K8sService,
    ServiceEntry, WorkloadEntry,
};

/// Every service.
#[derive(Debug)]
pub(super) struct Offers {
    from: From,
    /// What was made of each object, by its place in memory, which it has for as long as it is held here: one service for each host.
    made: HashMap<usize, Vec<Made>>,
    /// Ordered by host, then age; the first of a host wins where two are visible.
    pub(super) services: Vec<Arc<Service>>,
    pub(super) warnings: Vec<Warning>,
}

/// What the services were made from.
#[derive(Debug)]
struct From {
    population: Arc<Population>,
    governed: Arc<Governed>,
    services: Objects<K8sService>,
    entries: Objects<ServiceEntry>,
    slices: Objects<EndpointSlice>,
    endpoints: Objects<Vec<EndpointSlice>>,
}

#[derive(Clone, Debug)]
struct Made {
    service: Arc<Service>,
    warnings: Vec<Warning>,
}

impl Offers {
    /// Those of `set`: those before, if they were made from the very same, and else each service for which nothing has changed.
    pub(super) fn after(
        before: Option<&Arc<Self>>,
        population: &Arc<Population>,
        governed: &Arc<Governed>,
        set: &PolicySet,
        settings: &Settings,
    ) -> Arc<Self> {
        // Who is selected, and which slice speaks of whom, can only be the same among the same workloads and slices.
        let before = before.filter(|before| {
            let from = &before.from;
            Arc::ptr_eq(&from.population, population)
                && from.slices.are(&set.endpoint_slices)
                && from.endpoints.are(&set.endpoints)
        });
        let same = |it: &&Arc<Self>| {
            let from = &it.from;
            Arc::ptr_eq(&from.governed, governed)
                && from.services.are(&set.services)
                && from.entries.are(&set.service_entries)
        };
        if let Some(before) = before.filter(same) {
            return Arc::clone(before);
        }
        let mut offering = Offering {
            population,
            governed,
            before,
            made: HashMap::with_capacity(set.services.len() + set.service_entries.len()),
            builder: Builder { set, settings, warnings: Vec::new() },
        };
        let services = offering.services();
        let from = From {
            population: Arc::clone(population),
            governed: Arc::clone(governed),
            services: set.services.clone(),
            entries: set.service_entries.clone(),
            slices: set.endpoint_slices.clone(),
            endpoints: set.endpoints.clone(),
        };
        Arc::new(Self { from, made: offering.made, services, warnings: offering.builder.warnings })
    }
}

/// Services on their way into the model.
struct Offering<'a> {
    population: &'a Population,
    governed: &'a Governed,
    before: Option<&'a Arc<Offers>>,
    made: HashMap<usize, Vec<Made>>,
    builder: Builder<'a>,
}

impl Offering<'_> {
    fn services(&mut self) -> Vec<Arc<Service>> {
        let set = self.builder.set;
        let mut aged = Vec::new();
        let slices = Slices::new(set, self.population, &self.governed.workloads, &mut self.builder.warnings);
        for object in &set.services {
            self.offer(object, &mut aged, |it| vec![it.v1_service(object, &slices)]);
        }
        for object in &set.service_entries {
            let host = |host: &Located<String>| host.value.trim_end_matches('.').to_ascii_lowercase();
            self.offer(object, &mut aged, |it| {
                object.spec.hosts.iter().map(|written| it.entry_service(object, host(written))).collect()
            });
        }
        aged.sort_by(|a, b| a.1.host.cmp(&b.1.host).then_with(|| age_key(a.0).cmp(&age_key(b.0))));
        self.without_duplicates(aged.into_iter().map(|(_, service)| service))
    }

    /// What an object offers: what it did before, where that is the same still.
    fn offer<'o, S>(
        &mut self,
        object: &'o Arc<Object<S>>,
        aged: &mut Vec<(&'o Metadata, Arc<Service>)>,
        make: impl FnOnce(&mut Self) -> Vec<(Service, Vec<Warning>)>,
    ) {
        let place = Arc::as_ptr(object).addr();
        let is_same = |made: &&Vec<Made>| {
            let endpoints = || made.iter().flat_map(|it| &it.service.endpoints);
            endpoints().filter_map(|endpoint| endpoint.workload.as_ref()).all(|it| self.is_current(it))
        };
        let kept = self.before.and_then(|before| before.made.get(&place)).filter(is_same).cloned();
        let made = kept.unwrap_or_else(|| {
            let made = make(self).into_iter();
            made.map(|(service, warnings)| Made { service: Arc::new(service), warnings }).collect()
        });
        for Made { service, warnings } in &made {
            self.builder.warnings.extend_from_slice(warnings);
            aged.push((&object.meta, Arc::clone(service)));
        }
        self.made.insert(place, made);
    }

    /// Whether the policies of a workload are still the same.
    fn is_current(&self, workload: &Arc<Workload>) -> bool {
        let position = self.population.by_key.get(&workload.key);
        position.is_some_and(|&position| Arc::ptr_eq(&self.governed.workloads[position], workload))
    }

    fn v1_service(&self, object: &Object<K8sService>, slices: &Slices<'_>) -> (Service, Vec<Warning>) {
        let mut warnings = Vec::new();
        let spec = &object.spec;
        let namespace = &object.meta.namespace;
        // A Service without a selector selects nothing, where an empty selector would select everything.
        let selector = Some(&spec.selector).filter(|selector| !selector.0.is_empty());
        let addresses = |first, other| spec.addresses_of(first, other);
        let mut endpoints = self.selected(object, selector, Discovery::Endpoints, addresses, &mut warnings);
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
        let domain = &self.builder.settings.cluster_domain;
        let service = Service {
            host: format!("{}.{namespace}.svc.{domain}", object.meta.name).to_ascii_lowercase(),
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
        };
        warnings.extend(linkerd::misplaced(object));
        (service.with_protocols_of_linkerd(object.meta.linkerd.opaque_ports.as_ref()), warnings)
    }

    fn entry_service(&self, object: &Object<ServiceEntry>, host: String) -> (Service, Vec<Warning>) {
        let mut warnings = Vec::new();
        let spec = &object.spec;
        let written = !spec.endpoints.is_empty() || spec.workload_selector.is_some();
        // Without interception there is no original destination, so `resolution: NONE` can only mean the host's own address.
        let discovery = match spec.resolution {
            Resolution::Static => Discovery::Endpoints,
            Resolution::Dns => Discovery::Dns,
            Resolution::None if written => Discovery::Endpoints,
            Resolution::None => Discovery::Dns,
        };
        let selector = spec.workload_selector.as_ref();
        let mut endpoints = self.selected(object, selector, discovery, |first, other| (first, other), &mut warnings);
        for entry in &spec.endpoints {
            endpoints.extend(self.inline_endpoint(object, entry, discovery, &mut warnings));
        }
        if discovery == Discovery::Dns && !written {
            if host.contains('*') {
                let message = format!(
                    "`{host}` cannot be resolved: a wildcard host needs `endpoints` or a `workloadSelector`, \
                     unless clients' connections are intercepted"
                );
                warnings.push(Warning::new(Topic::Unreachable, &object.at, message));
            } else {
                endpoints.push(Endpoint::at(address(&host)));
            }
        }
        endpoints.sort_by(|a, b| a.address.cmp(&b.address));
        let service = Service {
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
        };
        (service.with_protocols_of_linkerd(None), warnings)
    }

    fn selected<S>(
        &self,
        object: &Object<S>,
        selector: Option<&LabelSelector>,
        discovery: Discovery,
        addresses: impl Fn(IpAddr, Option<IpAddr>) -> (IpAddr, Option<IpAddr>),
        warnings: &mut Vec<Warning>,
    ) -> Vec<Endpoint> {
        let Some(selector) = selector else { return Vec::new() };
        let mut endpoints = Vec::new();
        let Population { all, index, .. } = self.population;
        for position in index.select(all, &object.meta.namespace, selector) {
            let workload = &self.governed.workloads[position];
            if workload.address.is_none() && discovery == Discovery::Endpoints {
                let message = format!(
                    "{} cannot be an endpoint of {}: its address `{}` is a name, and only a ServiceEntry with `resolution: DNS` resolves names",
                    workload.key, object.meta.name, workload.address_text
                );
                warnings.push(Warning::new(Topic::Unreachable, &workload.at, message));
                continue;
            }
            let (address, other_address) = match workload.address {
                Some(first) => {
                    let (first, other) = addresses(first, workload.other_address);
                    (EndpointAddress::Ip(first), other)
                }
                None => (address(&workload.address_text), None),
            };
            endpoints.push(Endpoint {
                address,
                other_address,
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
        &self,
        object: &Object<ServiceEntry>,
        entry: &WorkloadEntry,
        discovery: Discovery,
        warnings: &mut Vec<Warning>,
    ) -> Option<Endpoint> {
        let address = address(&entry.address.value);
        if discovery == Discovery::Endpoints && matches!(address, EndpointAddress::Dns(_)) {
            let message = format!(
                "endpoint `{}` is not an IP address, and is left out: `resolution: DNS` resolves names",
                entry.address.value
            );
            warnings.push(Warning::new(Topic::Unreachable, &entry.address.at, message));
            return None;
        }
        let meshed = entry.labels.get(TLS_MODE_LABEL).is_some_and(|mode| mode == "istio");
        let identities = if meshed {
            self.builder.identities(&object.meta.namespace, entry.service_account.as_deref().unwrap_or("default"))
        } else {
            Arc::default()
        };
        Some(Endpoint {
            address,
            other_address: None,
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

    /// Of two definitions of a host in one namespace the older counts. They come by host, then age.
    fn without_duplicates(&mut self, services: impl Iterator<Item = Arc<Service>>) -> Vec<Arc<Service>> {
        let mut kept: Vec<Arc<Service>> = Vec::new();
        for service in services {
            let mut of_host = kept.iter().rev().take_while(|it| it.host == service.host);
            match of_host.find(|it| it.namespace == service.namespace) {
                None => kept.push(service),
                Some(older) => {
                    let message = format!("host {} is already defined at {}, which counts", service.host, older.at);
                    self.builder.warnings.push(Warning::new(Topic::Shadowed, &service.at, message));
                }
            }
        }
        kept
    }
}

impl Endpoint {
    /// A bare address, of which nothing else is known.
    fn at(address: EndpointAddress) -> Self {
        Self {
            address,
            other_address: None,
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
