//! The endpoints that EndpointSlices and Endpoints give a Service.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::population::Population;
use super::service::{Endpoint, EndpointAddress, Ports};
use super::workload::{Workload, WorkloadKey};
use super::{Topic, Warning};
use crate::policy::{EndpointSlice, PolicySet, SliceEndpoint};

/// Every slice by its Service, and every workload by address.
pub(super) struct Slices<'a> {
    of_service: HashMap<(&'a str, &'a str), Vec<&'a EndpointSlice>>,
    population: &'a Population,
    workloads: &'a [Arc<Workload>],
    /// `None`: several have it, as Pods on their machine's network do.
    by_address: HashMap<IpAddr, Option<&'a Arc<Workload>>>,
}

impl<'a> Slices<'a> {
    pub(super) fn new(
        set: &'a PolicySet,
        population: &'a Population,
        workloads: &'a [Arc<Workload>],
        warnings: &mut Vec<Warning>,
    ) -> Self {
        let mut of_service: HashMap<(&str, &str), Vec<&EndpointSlice>> = HashMap::new();
        for object in &set.endpoint_slices {
            if let Some(service) = &object.spec.service {
                of_service.entry((&object.meta.namespace, service)).or_default().push(&object.spec);
            }
        }
        for object in &set.endpoints {
            let service = (object.meta.namespace.as_str(), object.meta.name.as_str());
            // A cluster keeps both, with the same in them.
            of_service.entry(service).or_insert_with(|| object.spec.iter().collect());
        }
        if !of_service.is_empty() {
            let names = set.services.iter().map(|it| (it.meta.namespace.as_str(), it.meta.name.as_str()));
            let known: HashSet<(&str, &str)> = names.collect();
            let of_nobody = set.endpoint_slices.iter().filter_map(|object| {
                let service = object.spec.service.as_deref()?;
                (!known.contains(&(object.meta.namespace.as_str(), service))).then_some((object, service))
            });
            warnings.extend(of_nobody.map(|(object, service)| {
                let message = format!(
                    "EndpointSlice {}/{} is for the Service {service:?}, which is not there",
                    object.meta.namespace, object.meta.name
                );
                Warning::new(Topic::SelectsNothing, &object.at, message)
            }));
        }
        let mut by_address = HashMap::new();
        if !of_service.is_empty() {
            for workload in workloads {
                for address in workload.address.into_iter().chain(workload.other_address) {
                    by_address.entry(address).and_modify(|it| *it = None).or_insert(Some(workload));
                }
            }
        }
        Self { of_service, population, workloads, by_address }
    }

    /// The endpoints of a Service; `None`: no slice speaks of it, and its selector decides.
    pub(super) fn of(&self, namespace: &str, service: &str) -> Option<Vec<Endpoint>> {
        let slices = self.of_service.get(&(namespace, service))?;
        let mut endpoints: Vec<Endpoint> = Vec::new();
        let mut positions: HashMap<(IpAddr, bool), usize> = HashMap::new();
        for slice in slices {
            for written in &slice.endpoints {
                // A slice has the endpoints that serve the same ports and are of one family; a Pod may stand in several.
                let Some(endpoint) = self.endpoint(written, slice) else { continue };
                let known_by = [Some(written.address.value), endpoint.counterpart()];
                let mut known_by = known_by.into_iter().flatten();
                match known_by.find_map(|address| positions.get(&(address, written.ready))) {
                    Some(position) => endpoints[*position].join(endpoint),
                    None => {
                        positions.insert((written.address.value, written.ready), endpoints.len());
                        endpoints.push(endpoint);
                    }
                }
            }
        }
        Some(endpoints)
    }

    /// `None`: nobody listens there, since the proxy of the workload binds other addresses.
    fn endpoint(&self, written: &SliceEndpoint, slice: &EndpointSlice) -> Option<Endpoint> {
        let named = written.pod.as_ref().map(|(namespace, name)| WorkloadKey::new(namespace, name));
        let workload = match &named {
            Some(key) => self.population.by_key.get(key).map(|&position| &self.workloads[position]),
            None => self.by_address.get(&written.address.value).copied().flatten(),
        };
        let is_its =
            |it: &Workload| it.address.into_iter().chain(it.other_address).any(|own| own == written.address.value);
        if workload.is_some_and(|it| it.meshed && it.address.is_some() && !is_its(it)) {
            return None;
        }
        Some(Endpoint {
            address: EndpointAddress::Ip(written.address.value),
            other_address: None,
            labels: workload.map(|workload| workload.labels.clone()).unwrap_or_default(),
            identities: workload.map(|workload| workload.identities.clone()).unwrap_or_default(),
            meshed: workload.is_some_and(|workload| workload.meshed),
            ports: Ports::Slice(slice.ports.clone()),
            locality: workload.and_then(|workload| workload.locality.clone()),
            weight: workload.and_then(|workload| workload.weight),
            ready: written.ready,
            workload: workload.cloned(),
        })
    }
}

impl Endpoint {
    /// Its workload's address of the other family.
    fn counterpart(&self) -> Option<IpAddr> {
        let (EndpointAddress::Ip(own), Some(workload)) = (&self.address, &self.workload) else { return None };
        workload.address.into_iter().chain(workload.other_address).find(|address| address.is_ipv6() != own.is_ipv6())
    }

    /// Takes in what another slice says of the same workload. Its first address stays the first.
    fn join(&mut self, other: Self) {
        if let (EndpointAddress::Ip(own), EndpointAddress::Ip(added)) = (&mut self.address, other.address)
            && *own != added
        {
            let first = self.workload.as_ref().and_then(|workload| workload.address);
            self.other_address = Some(if Some(added) == first { std::mem::replace(own, added) } else { added });
        }
        if let (Ports::Slice(ports), Ports::Slice(more)) = (&mut self.ports, other.ports) {
            ports.extend(more);
        }
    }
}
