//! Gives each workload the Servers that select it, and each Server its authorizations.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::build::Builder;
use super::super::index::oldest_first;
use super::super::population::Population;
use super::super::workload::{Governance, Registered, WorkloadKey};
use super::super::{Object, Ports, Topic, Warning};
use super::Served;
use super::grants::{self, Client, Grant};
use crate::policy::linkerd::{
    Authentication, AuthorizationPolicy, ClientAuthentication, MeshTlsAuthentication, NetworkAuthentication, PortRef,
    Server, ServerAuthorization, ServerRef, Target,
};
use crate::policy::{LabelSelector, Located, Metadata, Objects, PolicySet, Service};

/// Linkerd's kinds, of one set.
#[derive(Debug)]
pub(in super::super) struct Kinds(
    Objects<Server>,
    Objects<ServerAuthorization>,
    Objects<AuthorizationPolicy>,
    Objects<MeshTlsAuthentication>,
    Objects<NetworkAuthentication>,
);

impl Kinds {
    pub(in super::super) fn of(set: &PolicySet) -> Self {
        Self(
            set.servers.clone(),
            set.server_authorizations.clone(),
            set.linkerd_authorization_policies.clone(),
            set.mesh_tls_authentications.clone(),
            set.network_authentications.clone(),
        )
    }

    /// Whether these are the very objects of a set.
    pub(in super::super) fn are(&self, set: &PolicySet) -> bool {
        let Self(servers, authorizations, policies, identities, networks) = self;
        servers.are(&set.servers)
            && authorizations.are(&set.server_authorizations)
            && policies.are(&set.linkerd_authorization_policies)
            && identities.are(&set.mesh_tls_authentications)
            && networks.are(&set.network_authentications)
    }
}

impl Builder<'_> {
    /// Gives each workload the oldest Server of each of its ports, as Linkerd's policy controller does where its webhook has let two pass.
    pub(in super::super) fn serve(&mut self, population: &Population, governance: &mut [Governance]) {
        let mut servers: Vec<Arc<Object<Server>>> = self.set.servers.to_vec();
        oldest_first(&mut servers);
        let everybody = LabelSelector::default();
        for server in servers {
            let Some(selector) = &server.spec.selector else { continue };
            let served = Arc::new(Served { grants: self.grants(population, &server), server: Arc::clone(&server) });
            let of_namespace = population.index.select(&population.all, &server.meta.namespace, &everybody);
            let selected = of_namespace.filter(|position| selector.matches(&population.all[*position].labels));
            let mut found = Found::default();
            for position in selected {
                let workload = &population.all[position];
                found.workloads += 1;
                let Some(port) = number(&workload.ports, &server.spec.port.value) else { continue };
                found.ports += 1;
                found.look(workload, port);
                match governance[position].servers.get(&port) {
                    Some(older) => found.second(older, &workload.key, port),
                    None => drop(governance[position].servers.insert(port, Arc::clone(&served))),
                }
            }
            self.warn_of(&server, &served, found);
        }
        self.dangling();
    }

    /// Everybody who is let in.
    fn grants(&mut self, population: &Population, server: &Object<Server>) -> Vec<Grant> {
        let Metadata { namespace, name, labels, .. } = &server.meta;
        let set = self.set;
        let mut grants = Vec::new();
        for object in set.server_authorizations.iter().filter(|it| it.meta.namespace == *namespace) {
            let is_for = match &object.spec.server {
                ServerRef::Name(wanted) => wanted.value == *name,
                ServerRef::Selector(selector) => selector.matches(labels),
            };
            if is_for {
                grants.push(self.of_authorization(population, object));
            }
        }
        for object in set.linkerd_authorization_policies.iter().filter(|it| it.meta.namespace == *namespace) {
            let is_for = match &object.spec.target {
                Target::Server(wanted) => wanted.value == *name,
                Target::Namespace => true,
            };
            if is_for {
                grants.extend(self.of_policy(population, object));
            }
        }
        if let Some(policy) = &server.spec.access_policy {
            let name = format!("accessPolicy {} of Server {namespace}/{name}", policy.value);
            grants.extend(Grant::of_default(policy.value, &name, &policy.at));
        }
        grants
    }

    fn of_authorization(&self, population: &Population, object: &Object<ServerAuthorization>) -> Grant {
        let Metadata { namespace, name, .. } = &object.meta;
        let clients = match &object.spec.authentication {
            ClientAuthentication::Unauthenticated => None,
            ClientAuthentication::AnyTls => Some(vec![Client::Any]),
            ClientAuthentication::Identities(written) => {
                Some(grants::clients(self.settings, population, namespace, written))
            }
        };
        Grant {
            name: format!("ServerAuthorization {namespace}/{name}"),
            at: object.at.clone(),
            clients,
            networks: object.spec.networks.clone(),
        }
    }

    /// `None`: something that it requires is nowhere, so that it lets nobody in.
    fn of_policy(&self, population: &Population, object: &Object<AuthorizationPolicy>) -> Option<Grant> {
        let Metadata { namespace, name, .. } = &object.meta;
        let (mut clients, mut networks) = (None, Vec::new());
        for required in &object.spec.required {
            match &required.value {
                Authentication::ServiceAccount { namespace: of, name } => {
                    let identity = super::Identity::ServiceAccount { namespace: of.clone(), name: name.clone() };
                    let account = [Located::new(identity, required.at.clone())];
                    clients = Some(grants::clients(self.settings, population, namespace, &account));
                }
                Authentication::MeshTls { namespace: of, name } => {
                    let of = of.as_deref().unwrap_or(namespace);
                    let named = named(&self.set.mesh_tls_authentications, of, name)?;
                    clients = Some(grants::clients(self.settings, population, of, &named.spec.identities));
                }
                Authentication::Network { namespace: of, name } => {
                    let of = of.as_deref().unwrap_or(namespace);
                    networks.clone_from(&named(&self.set.network_authentications, of, name)?.spec.networks);
                }
            }
        }
        let name = format!("AuthorizationPolicy {namespace}/{name}");
        Some(Grant { name, at: object.at.clone(), clients, networks })
    }

    fn warn_of(&mut self, server: &Arc<Object<Server>>, served: &Served, found: Found) {
        let (name, at) = (named_server(server), &server.at);
        let mut warn = |topic, at, message| self.warnings.push(Warning::new(topic, at, message));
        if found.workloads == 0 {
            warn(Topic::SelectsNothing, at, format!("{name} selects no workload, so it protects nothing"));
        } else if found.ports == 0 {
            let message = format!(
                "{name} is for the port {}, and none of the workloads that it selects has one of that name, so it protects nothing: \
                 write it among the WorkloadEntry's ports",
                server.spec.port.value
            );
            warn(Topic::NoSuchPort, &server.spec.port.at, message);
        } else if served.grants.is_empty() {
            let message = format!(
                "{name} authorizes nobody, so that every connection is refused: write a ServerAuthorization or an \
                 AuthorizationPolicy for it"
            );
            warn(Topic::NobodyAdmitted, at, message);
        }
        for (older, place) in found.older {
            let message = format!(
                "{name} and {} ({}) both select {place}: Linkerd's webhook refuses the second, and here {} counts, which is older or comes \
                 first by its name",
                named_server(&older.server),
                older.server.at,
                older.server.meta.name,
            );
            warn(Topic::TwoServers, at, message);
        }
        if let Some((workload, port)) = found.skipped {
            let message =
                format!("{name} does not hold for {workload} port {port}: its skip-inbound-ports lead past the proxy");
            warn(Topic::NoEffect, at, message);
        }
        if let Some(workload) = found.unmeshed {
            let message = format!("{name} does not hold for {workload}: there is no proxy to enforce it");
            warn(Topic::Unenforced, at, message);
        }
    }

    /// References to what is nowhere.
    fn dangling(&mut self) {
        let set = self.set;
        let mut lost = Vec::new();
        for object in &set.server_authorizations {
            let Metadata { namespace, name, .. } = &object.meta;
            let is_of = |server: &&Arc<Object<Server>>| server.meta.namespace == *namespace;
            let mut servers = set.servers.iter().filter(is_of);
            let (what, at) = match &object.spec.server {
                ServerRef::Name(wanted) if servers.all(|it| it.meta.name != wanted.value) => {
                    (format!("the Server {}", wanted.value), &wanted.at)
                }
                ServerRef::Selector(selector) if servers.all(|it| !selector.matches(&it.meta.labels)) => {
                    ("Servers by labels that none has".to_owned(), &object.at)
                }
                _ => continue,
            };
            let message =
                format!("ServerAuthorization {namespace}/{name} is for {what}, which {namespace} does not have");
            lost.push((at.clone(), message));
        }
        for object in &set.linkerd_authorization_policies {
            let Metadata { namespace, name, .. } = &object.meta;
            let policy = format!("AuthorizationPolicy {namespace}/{name}");
            if let Target::Server(wanted) = &object.spec.target
                && named(&set.servers, namespace, &wanted.value).is_none()
            {
                let message = format!("{policy} is for the Server {}, which {namespace} does not have", wanted.value);
                lost.push((wanted.at.clone(), message));
            }
            for required in &object.spec.required {
                let (kind, of, wanted, found) = match &required.value {
                    Authentication::ServiceAccount { .. } => continue,
                    Authentication::MeshTls { namespace: of, name } => {
                        let of = of.as_deref().unwrap_or(namespace);
                        let found = named(&set.mesh_tls_authentications, of, name).is_some();
                        ("MeshTLSAuthentication", of, name, found)
                    }
                    Authentication::Network { namespace: of, name } => {
                        let of = of.as_deref().unwrap_or(namespace);
                        let found = named(&set.network_authentications, of, name).is_some();
                        ("NetworkAuthentication", of, name, found)
                    }
                };
                if !found {
                    let message =
                        format!("{policy} requires the {kind} {of}/{wanted}, which does not exist: it lets nobody in");
                    lost.push((required.at.clone(), message));
                }
            }
        }
        let warning = |(at, message)| Warning::new(Topic::LeadsNowhere, &at, message);
        self.warnings.extend(lost.into_iter().map(warning));
    }
}

/// A Service's annotations that mean nothing there, or that only this server reads there.
pub(in super::super) fn misplaced(service: &Object<Service>) -> Vec<Warning> {
    let (meta, annotations) = (&service.meta, &service.meta.linkerd);
    let name = format!("Service {}/{}", meta.namespace, meta.name);
    let mut warnings = Vec::new();
    if let Some(skipped) = &annotations.skip_outbound_ports {
        let message = format!(
            "{name} has skip-outbound-ports: its clients send the ports {} in plaintext here, and Linkerd reads the annotation on \
             Pods and Namespaces only, so that its own clients would not",
            skipped.value
        );
        warnings.push(Warning::new(Topic::Misplaced, &skipped.at, message));
        if !service.spec.ports.iter().any(|port| skipped.value.contains(port.port.value, None)) {
            let message = format!("skip-outbound-ports of {name} names none of its ports");
            warnings.push(Warning::new(Topic::NoSuchPort, &skipped.at, message));
        }
    }
    let unread = [
        ("inject", annotations.inject.as_ref().map(|it| &it.at)),
        ("default-inbound-policy", annotations.default_inbound_policy.as_ref().map(|it| &it.at)),
        ("skip-inbound-ports", annotations.skip_inbound_ports.as_ref().map(|it| &it.at)),
    ];
    for (annotation, at) in unread.into_iter().filter_map(|(name, at)| Some((name, at?))) {
        let message = format!("{annotation} of {name} has no effect: it is for Namespaces and workloads");
        warnings.push(Warning::new(Topic::NoEffect, at, message));
    }
    warnings
}

/// What a Server was found to select.
#[derive(Default)]
struct Found {
    workloads: usize,
    ports: usize,
    /// Servers that have a port already, and where.
    older: Vec<(Arc<Served>, String)>,
    skipped: Option<(String, u16)>,
    unmeshed: Option<String>,
}

impl Found {
    fn look(&mut self, workload: &Registered, port: u16) {
        let skipped = workload.annotations.skip_inbound_ports.as_ref();
        if skipped.is_some_and(|it| it.value.contains(port, None)) {
            self.skipped.get_or_insert_with(|| (workload.key.to_string(), port));
        }
        if !workload.meshed {
            self.unmeshed.get_or_insert_with(|| workload.key.to_string());
        }
    }

    fn second(&mut self, older: &Arc<Served>, workload: &WorkloadKey, port: u16) {
        if !self.older.iter().any(|(known, _)| Arc::ptr_eq(known, older)) {
            self.older.push((Arc::clone(older), format!("{workload} port {port}")));
        }
    }
}

/// The workload's port that a Server means.
fn number(ports: &Ports, port: &PortRef) -> Option<u16> {
    match port {
        PortRef::Number(number) => Some(*number),
        PortRef::Name(name) => names_of(ports).get(name).copied(),
    }
}

fn names_of(ports: &Ports) -> &BTreeMap<String, u16> {
    match ports {
        Ports::Entry(named) | Ports::Pod(named) | Ports::Slice(named) => named,
    }
}

fn named<'s, S>(objects: &'s [Arc<Object<S>>], namespace: &str, name: &str) -> Option<&'s Arc<Object<S>>> {
    objects.iter().find(|it| it.meta.namespace == namespace && it.meta.name == name)
}

pub(in super::super) fn named_server(server: &Object<Server>) -> String {
    format!("Server {}/{}", server.meta.namespace, server.meta.name)
}
