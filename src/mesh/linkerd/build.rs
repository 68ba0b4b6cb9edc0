//! Gives each workload the Servers that select it, and each Server its authorizations.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::super::build::Builder;
use super::super::index::oldest_first;
use super::super::workload::{Workload, WorkloadKey};
use super::super::{Object, Ports, Topic, Warning};
use super::grants::{self, Client, Grant};
use super::{Governed, Linkerd};
use crate::policy::linkerd::{
    Authentication, AuthorizationPolicy, ClientAuthentication, PortRef, Server, ServerAuthorization, ServerRef, Target,
};
use crate::policy::{Located, Metadata};

impl Builder<'_> {
    /// Gives each workload the oldest Server of each of its ports, as Linkerd's policy controller does where its webhook has let two pass.
    pub(in super::super) fn govern(&mut self, workloads: &mut [Workload]) {
        let mut servers: Vec<Arc<Object<Server>>> = self.set.servers.iter().cloned().map(Arc::new).collect();
        oldest_first(&mut servers);
        let mut of_namespace: HashMap<String, Vec<usize>> = HashMap::new();
        if !servers.is_empty() {
            for (position, workload) in workloads.iter().enumerate() {
                of_namespace.entry(workload.key.namespace.clone()).or_default().push(position);
            }
        }
        for server in servers {
            let Some(selector) = &server.spec.selector else { continue };
            let governed = Arc::new(Governed { grants: self.grants(&server), server: Arc::clone(&server) });
            let of_namespace = of_namespace.get(&server.meta.namespace).map_or(&[][..], Vec::as_slice);
            let selects = |position: &&usize| selector.matches(&workloads[**position].labels);
            let selected: Vec<usize> = of_namespace.iter().filter(selects).copied().collect();
            let mut found = Found::default();
            for position in selected {
                found.workloads += 1;
                let Some(port) = number(&workloads[position], &server.spec.port.value) else { continue };
                found.ports += 1;
                let workload = &mut workloads[position];
                found.look(workload, port);
                match workload.linkerd.servers.get(&port) {
                    Some(older) => found.second(older, &workload.key, port),
                    None => drop(workload.linkerd.servers.insert(port, Arc::clone(&governed))),
                }
            }
            self.warn_of(&server, &governed, found);
        }
        self.dangling();
    }

    /// Everybody who is let in.
    fn grants(&mut self, server: &Object<Server>) -> Vec<Grant> {
        let Metadata { namespace, name, labels, .. } = &server.meta;
        let set = self.set;
        let mut grants = Vec::new();
        for object in set.server_authorizations.iter().filter(|it| it.meta.namespace == *namespace) {
            let is_for = match &object.spec.server {
                ServerRef::Name(wanted) => wanted.value == *name,
                ServerRef::Selector(selector) => selector.matches(labels),
            };
            if is_for {
                grants.push(self.of_authorization(object));
            }
        }
        for object in set.linkerd_authorization_policies.iter().filter(|it| it.meta.namespace == *namespace) {
            let is_for = match &object.spec.target {
                Target::Server(wanted) => wanted.value == *name,
                Target::Namespace => true,
            };
            if is_for {
                grants.extend(self.of_policy(object));
            }
        }
        if let Some(policy) = &server.spec.access_policy {
            let name = format!("accessPolicy {} of Server {namespace}/{name}", policy.value);
            grants.extend(Grant::of_default(policy.value, &name, &policy.at));
        }
        grants
    }

    fn of_authorization(&self, object: &Object<ServerAuthorization>) -> Grant {
        let Metadata { namespace, name, .. } = &object.meta;
        let clients = match &object.spec.authentication {
            ClientAuthentication::Unauthenticated => None,
            ClientAuthentication::AnyTls => Some(vec![Client::Any]),
            ClientAuthentication::Identities(written) => Some(grants::clients(self.settings, namespace, written)),
        };
        Grant {
            name: format!("ServerAuthorization {namespace}/{name}"),
            at: object.at.clone(),
            clients,
            networks: object.spec.networks.clone(),
        }
    }

    /// `None`: something that it requires is nowhere, so that it lets nobody in.
    fn of_policy(&self, object: &Object<AuthorizationPolicy>) -> Option<Grant> {
        let Metadata { namespace, name, .. } = &object.meta;
        let (mut clients, mut networks) = (None, Vec::new());
        for required in &object.spec.required {
            match &required.value {
                Authentication::ServiceAccount { namespace: of, name } => {
                    let identity = super::Identity::ServiceAccount { namespace: of.clone(), name: name.clone() };
                    let account = [Located::new(identity, required.at.clone())];
                    clients = Some(grants::clients(self.settings, namespace, &account));
                }
                Authentication::MeshTls { namespace: of, name } => {
                    let of = of.as_deref().unwrap_or(namespace);
                    let named = named(&self.set.mesh_tls_authentications, of, name)?;
                    clients = Some(grants::clients(self.settings, of, &named.spec.identities));
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

    fn warn_of(&mut self, server: &Arc<Object<Server>>, governed: &Governed, found: Found) {
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
        } else if governed.grants.is_empty() {
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
            let is_of = |server: &&Object<Server>| server.meta.namespace == *namespace;
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

    /// Annotations that stand where they mean nothing, or where only this server reads them.
    pub(in super::super) fn misplaced_annotations(&mut self) {
        for service in &self.set.services {
            let (meta, annotations) = (&service.meta, &service.meta.linkerd);
            let name = format!("Service {}/{}", meta.namespace, meta.name);
            if let Some(skipped) = &annotations.skip_outbound_ports {
                let ports: Vec<_> = service.spec.ports.iter().map(|port| port.port.value).collect();
                let message = format!(
                    "{name} has skip-outbound-ports: its clients send the ports {} in plaintext here, and Linkerd reads the \
                     annotation on Pods and Namespaces only, so that its own clients would not",
                    skipped.value
                );
                self.warnings.push(Warning::new(Topic::Misplaced, &skipped.at, message));
                if !ports.iter().any(|port| skipped.value.contains(*port, None)) {
                    let message = format!("skip-outbound-ports of {name} names none of its ports");
                    self.warnings.push(Warning::new(Topic::NoSuchPort, &skipped.at, message));
                }
            }
            let unread = [
                ("inject", annotations.inject.as_ref().map(|it| &it.at)),
                ("default-inbound-policy", annotations.default_inbound_policy.as_ref().map(|it| &it.at)),
                ("skip-inbound-ports", annotations.skip_inbound_ports.as_ref().map(|it| &it.at)),
            ];
            for (annotation, at) in unread.into_iter().filter_map(|(name, at)| Some((name, at?))) {
                let message = format!("{annotation} of {name} has no effect: it is for Namespaces and workloads");
                self.warnings.push(Warning::new(Topic::NoEffect, at, message));
            }
        }
    }
}

/// What a Server was found to select.
#[derive(Default)]
struct Found {
    workloads: usize,
    ports: usize,
    /// Servers that have a port already, and where.
    older: Vec<(Arc<Governed>, String)>,
    skipped: Option<(String, u16)>,
    unmeshed: Option<String>,
}

impl Found {
    fn look(&mut self, workload: &Workload, port: u16) {
        let skipped = workload.linkerd.annotations.skip_inbound_ports.as_ref();
        if skipped.is_some_and(|it| it.value.contains(port, None)) {
            self.skipped.get_or_insert_with(|| (workload.key.to_string(), port));
        }
        if !workload.meshed {
            self.unmeshed.get_or_insert_with(|| workload.key.to_string());
        }
    }

    fn second(&mut self, older: &Arc<Governed>, workload: &WorkloadKey, port: u16) {
        if !self.older.iter().any(|(known, _)| Arc::ptr_eq(known, older)) {
            self.older.push((Arc::clone(older), format!("{workload} port {port}")));
        }
    }
}

/// The workload's port that a Server means.
fn number(workload: &Workload, port: &PortRef) -> Option<u16> {
    match port {
        PortRef::Number(number) => Some(*number),
        PortRef::Name(name) => names_of(&workload.ports).get(name).copied(),
    }
}

fn names_of(ports: &Ports) -> &BTreeMap<String, u16> {
    match ports {
        Ports::Entry(named) | Ports::Pod(named) | Ports::Slice(named) => named,
    }
}

fn named<'s, S>(objects: &'s [Object<S>], namespace: &str, name: &str) -> Option<&'s Object<S>> {
    objects.iter().find(|it| it.meta.namespace == namespace && it.meta.name == name)
}

pub(in super::super) fn named_server(server: &Object<Server>) -> String {
    format!("Server {}/{}", server.meta.namespace, server.meta.name)
}

impl Linkerd {
    /// Of a workload with these annotations, narrowest first, and these ports.
    pub(in super::super) fn new(annotations: crate::policy::linkerd::Annotations, ports: &Ports) -> Self {
        let names = names_of(ports).iter().map(|(name, port)| (*port, name.clone())).collect();
        Self { annotations, servers: BTreeMap::new(), names }
    }
}
