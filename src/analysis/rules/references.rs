//! Names that lead nowhere: selectors, ports, subsets, hosts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::super::Subject;
use super::super::catalogue::{EMPTY_SUBSET, NO_SUCH_HOST, NO_SUCH_PORT, SELECTS_NOTHING, SHADOWED};
use super::super::finding::Collector;
use crate::mesh::{Mesh, Ports, Service, Workload};
use crate::policy::{DestinationRule, LabelSelector, Object, TargetPort};

pub(in super::super) fn all(subject: Subject<'_>, found: &mut Collector) {
    let workloads = ByNamespace::new(subject.mesh);
    clients_selected(subject, &workloads, found);
    endpoints_selected(subject, found);
    ports_of_workloads(subject, &workloads, found);
    named_target_ports(subject, found);
    for rule in &subject.set.destination_rules {
        hosts(subject, rule, found);
        ports_of_services(subject, rule, found);
        subsets(subject, rule, found);
    }
    shadowed_rules(subject, found);
}

struct ByNamespace<'m>(HashMap<&'m str, Vec<&'m Workload>>);

impl<'m> ByNamespace<'m> {
    fn new(mesh: &'m Mesh) -> Self {
        let mut namespaces: HashMap<&str, Vec<&Workload>> = HashMap::new();
        for workload in mesh.workloads() {
            namespaces.entry(&workload.key.namespace).or_default().push(workload);
        }
        Self(namespaces)
    }

    fn selected<'a>(&'a self, namespace: &str, selector: &'a LabelSelector) -> impl Iterator<Item = &'m Workload> + 'a {
        let all = self.0.get(namespace).map_or(&[][..], Vec::as_slice);
        all.iter().copied().filter(|workload| selector.matches(&workload.labels))
    }
}

/// CS0203, of kinds that select clients. PeerAuthentications are the model's own warning.
fn clients_selected(subject: Subject<'_>, workloads: &ByNamespace<'_>, found: &mut Collector) {
    let mut look = |kind, meta: &crate::policy::Metadata, at, selector: Option<&LabelSelector>| {
        if let Some(selector) = selector
            && workloads.selected(&meta.namespace, selector).next().is_none()
        {
            let message = format!("{kind} {}/{} selects no workload", meta.namespace, meta.name);
            found.add(&SELECTS_NOTHING, at, message);
        }
    };
    for rule in &subject.set.destination_rules {
        look("DestinationRule", &rule.meta, &rule.at, rule.spec.workload_selector.as_ref());
    }
    for sidecar in &subject.set.sidecars {
        look("Sidecar", &sidecar.meta, &sidecar.at, sidecar.spec.workload_selector.as_ref());
    }
}

/// CS0203, of kinds that select endpoints.
fn endpoints_selected(subject: Subject<'_>, found: &mut Collector) {
    let selecting = |at| {
        let service = subject.set.services.iter().any(|it| it.at == at && !it.spec.selector.0.is_empty());
        service || subject.set.service_entries.iter().any(|it| it.at == at && it.spec.workload_selector.is_some())
    };
    let empty = subject.mesh.services().filter(|it| it.endpoints.iter().all(|endpoint| endpoint.workload.is_none()));
    // What EndpointSlices say of Pods that are not in the set is no mistake of the selector.
    let sliced = |it: &&Arc<Service>| it.endpoints.iter().any(|endpoint| matches!(endpoint.ports, Ports::Slice(_)));
    for service in empty.filter(|it| !sliced(it) && selecting(it.at.clone())) {
        let message = format!("the selector of {} selects no workload, so that it has no endpoints", service.host);
        found.add(&SELECTS_NOTHING, &service.at, message);
    }
}

/// CS0204: `portLevelMtls` for a port that no service leads to.
fn ports_of_workloads(subject: Subject<'_>, workloads: &ByNamespace<'_>, found: &mut Collector) {
    for policy in &subject.set.peer_authentications {
        let Some(selector) = policy.spec.selector.as_ref().filter(|_| !policy.spec.port_modes.is_empty()) else {
            continue;
        };
        let selected: Vec<_> = workloads.selected(&policy.meta.namespace, selector).collect();
        let known: Vec<_> = selected.iter().map(|workload| subject.mesh.sent_to(workload)).collect();
        let ingress = |port| {
            let sidecars = selected.iter().filter_map(|workload| workload.sidecar());
            sidecars.flat_map(|sidecar| &sidecar.spec.ingress).any(|listener| listener.port.value == port)
        };
        for (port, mode) in &policy.spec.port_modes {
            if !selected.is_empty() && !ingress(*port) && known.iter().all(|ports| !ports.contains_key(port)) {
                let message = format!(
                    "PeerAuthentication {}/{} sets a mode for port {port}, to which no Service of its workloads leads",
                    policy.meta.namespace, policy.meta.name
                );
                found.add(&NO_SUCH_PORT, &mode.at, message);
            }
        }
    }
}

/// CS0204: a `targetPort` by a name that no endpoint has.
fn named_target_ports(subject: Subject<'_>, found: &mut Collector) {
    for service in subject.mesh.services().filter(|service| !service.endpoints.is_empty()) {
        for port in &service.ports {
            let Some(TargetPort::Name(name)) = &port.target_port else { continue };
            if service.endpoints.iter().all(|endpoint| endpoint.port(port).is_none()) {
                let message = format!("no endpoint of {} has a port named {name:?}", service.host);
                found.add(&NO_SUCH_PORT, &port.port.at, message);
            }
        }
    }
}

/// CS0206.
fn hosts(subject: Subject<'_>, rule: &Object<DestinationRule>, found: &mut Collector) {
    if !subject.mesh.covers_any(rule) {
        let message =
            format!("{} is for {:?}, which no Service or ServiceEntry has", named(rule), rule.spec.host.value);
        found.add(&NO_SUCH_HOST, &rule.spec.host.at, message);
    }
}

/// CS0204: `portLevelSettings` for a port that the service does not have.
fn ports_of_services(subject: Subject<'_>, rule: &Object<DestinationRule>, found: &mut Collector) {
    let services = subject.mesh.governed_by(rule);
    let Some(first) = services.first() else { return };
    let ports = |number| services.iter().flat_map(|it| &it.ports).any(|port| port.port.value == number);
    let policies = rule.spec.subsets.iter().filter_map(|subset| subset.traffic_policy.as_ref());
    for policy in rule.spec.traffic_policy.iter().chain(policies) {
        for (number, tls) in policy.port_tls.iter().filter(|(number, _)| !ports(**number)) {
            let message = format!("{} has settings for port {number}, which {} does not have", named(rule), first.host);
            found.add(&NO_SUCH_PORT, tls.as_ref().map_or(&rule.at, |tls| &tls.at), message);
        }
    }
}

/// CS0205.
fn subsets(subject: Subject<'_>, rule: &Object<DestinationRule>, found: &mut Collector) {
    let services = subject.mesh.governed_by(rule);
    let Some(first) = services.first() else { return };
    for subset in &rule.spec.subsets {
        let mut endpoints = services.iter().flat_map(|service| &service.endpoints);
        if !endpoints.any(|endpoint| subset.labels.matches(&endpoint.labels)) {
            let message = format!("{}: the subset {:?} of {} has no endpoints", named(rule), subset.name, first.host);
            found.add(&EMPTY_SUBSET, &rule.at, message);
        }
    }
}

/// CS0201: of several traffic policies for one host the oldest counts whole.
fn shadowed_rules(subject: Subject<'_>, found: &mut Collector) {
    let mut by_host: BTreeMap<_, Vec<&Object<DestinationRule>>> = BTreeMap::new();
    for rule in subject.set.destination_rules.iter().filter(|rule| rule.spec.traffic_policy.is_some()) {
        let spec = &rule.spec;
        let selector = spec.workload_selector.as_ref().map(|selector| &selector.0);
        by_host.entry((&rule.meta.namespace, &spec.host.value, selector, &spec.export_to)).or_default().push(rule);
    }
    for mut rules in by_host.into_values().filter(|rules| rules.len() > 1) {
        rules.sort_by_key(|rule| {
            let created = rule.meta.creation_timestamp;
            (created.is_none(), created, &rule.meta.name)
        });
        let winner = rules[0];
        for rule in &rules[1..] {
            let message = format!(
                "the trafficPolicy of {} has no effect: {} ({}) is for the same host and counts instead",
                named(rule),
                named(winner),
                winner.at
            );
            found.add(&SHADOWED, &rule.at, message);
        }
    }
}

fn named(rule: &Object<DestinationRule>) -> String {
    format!("DestinationRule {}/{}", rule.meta.namespace, rule.meta.name)
}
