//! Every way from clients to a port, and whether both ends agree: what `istioctl authn tls-check` once showed.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::clients::Clients;
use crate::mesh::decide::{Destination, InboundDecision, OutboundMode, Reason, inbound, outbound_to, subsets};
use crate::mesh::{Mesh, Service, Topic, Workload, WorkloadKey};
use crate::policy::LabelSelector;

/// What to look at; everything by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// This client.
    pub workload: Option<WorkloadKey>,
    /// This host: in full, or as `name`, `name.namespace`, `name.namespace.svc` of a `v1` Service.
    pub host: Option<String>,
    /// This service port.
    pub port: Option<u16>,
}

/// Whether both ends agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// A rule speaks, and the servers take what it asks for.
    #[default]
    Ok,
    /// They exclude one another: connections fail.
    Conflict,
    /// No rule speaks: the client does what each server takes.
    Auto,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "OK",
            Self::Conflict => "CONFLICT",
            Self::Auto => "AUTO",
        })
    }
}

/// How alike clients reach a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Way {
    /// The clients, `namespace/name` each.
    pub clients: Vec<String>,
    /// The service's host.
    pub host: String,
    /// The service's port.
    pub port: u16,
    /// A subset of a DestinationRule; empty for the whole service.
    pub subset: String,
    /// Whether both ends agree.
    pub status: Status,
    /// What the endpoints take: `STRICT`, `PERMISSIVE`, `DISABLE`, several with commas between; empty where no workload is behind it.
    pub server: String,
    /// What the clients speak: `PLAINTEXT`, `ISTIO_MUTUAL`, `SIMPLE`, `MUTUAL`, or `ISTIO_MUTUAL,PLAINTEXT` where it goes by endpoint.
    pub client: String,
    /// The PeerAuthentications that decide, `namespace/name` each, with commas between; `default` for Istio's default.
    pub authn_policy: String,
    /// The DestinationRule that decides, `namespace/name`; empty where it is automatic.
    pub destination_rule: String,
    /// The steps of both decisions, and what is surprising, each with its place.
    pub reasons: Vec<String>,
}

/// The ways that `filter` lets through, by client, host, port and subset.
pub fn ways(mesh: &Mesh, filter: &Filter) -> Vec<Way> {
    let wanted = |workload: &Workload| filter.workload.as_ref().is_none_or(|key| *key == workload.key);
    let mut ways = Vec::new();
    for clients in Clients::of(mesh, wanted) {
        let client = clients.any();
        for (service, reaching) in clients.reach() {
            if filter.host.as_ref().is_some_and(|host| !is_named(service, host)) {
                continue;
            }
            let names: Vec<String> = reaching.iter().map(|workload| workload.key.to_string()).collect();
            let subsets = subsets(mesh, client, service);
            for port in service.ports.iter().filter(|it| filter.port.is_none_or(|port| port == it.port.value)) {
                for subset in std::iter::once(None).chain(subsets.iter().map(|(name, labels)| Some((*name, *labels)))) {
                    let to = Destination { service, port, subset: subset.map(|(name, _)| name) };
                    ways.push(way(mesh, client, names.clone(), to, subset.map(|(_, labels)| labels)));
                }
            }
        }
    }
    ways
}

pub(super) fn is_named(service: &Service, asked: &str) -> bool {
    let asked = asked.trim_end_matches('.').to_ascii_lowercase();
    let Service { host, name, namespace, has_short_names, .. } = service;
    *host == asked
        || (*has_short_names
            && [name.clone(), format!("{name}.{namespace}"), format!("{name}.{namespace}.svc")].contains(&asked))
}

fn way(
    mesh: &Mesh,
    client: &Workload,
    clients: Vec<String>,
    to: Destination<'_>,
    selector: Option<&LabelSelector>,
) -> Way {
    let decision = outbound_to(mesh, client, to, None);
    let endpoints = || {
        let all = to.service.endpoints.iter();
        all.filter(|endpoint| selector.is_none_or(|selector| selector.matches(&endpoint.labels)))
    };
    let mut servers: Vec<(&Workload, u16, InboundDecision)> = Vec::new();
    for endpoint in endpoints() {
        if let (Some(workload), Some(number)) = (&endpoint.workload, endpoint.port(to.port)) {
            let taken = inbound(mesh, workload, number);
            // Endpoints under one policy are alike.
            if servers.iter().all(|(.., known)| known.reasons != taken.reasons) {
                servers.push((workload, number, taken));
            }
        }
    }
    let conflict = decision.warnings.iter().any(|warning| warning.topic == Topic::Contradiction);
    let spoken: BTreeSet<&str> = match &decision.mode {
        OutboundMode::Plaintext => BTreeSet::from([PLAINTEXT]),
        OutboundMode::IstioMutual { .. } => BTreeSet::from([ISTIO_MUTUAL]),
        OutboundMode::Simple { .. } => BTreeSet::from(["SIMPLE"]),
        OutboundMode::Mutual { .. } => BTreeSet::from(["MUTUAL"]),
        OutboundMode::PerEndpoint { .. } => endpoints()
            .map(|endpoint| if decision.mode.is_mtls_to(endpoint, to.port) { ISTIO_MUTUAL } else { PLAINTEXT })
            .collect(),
    };
    let mut reasons: Vec<String> = decision.reasons.iter().map(|reason| format!("client: {}", step(reason))).collect();
    for (workload, number, taken) in &servers {
        let steps = taken.reasons.iter().map(|it| format!("server {} port {number}: {}", workload.key, step(it)));
        reasons.extend(steps);
    }
    reasons.extend(decision.warnings.iter().map(|warning| format!("warning: {warning}")));
    Way {
        clients,
        host: to.service.host.clone(),
        port: to.port.port.value,
        subset: to.subset.unwrap_or_default().to_owned(),
        status: match (conflict, &decision.rule) {
            (true, _) => Status::Conflict,
            (false, None) => Status::Auto,
            (false, Some(_)) => Status::Ok,
        },
        server: joined(servers.iter().map(|(.., taken)| taken.mode.to_string())),
        client: joined(spoken.into_iter().map(str::to_owned)),
        authn_policy: joined(servers.iter().map(|(.., it)| it.policy.clone().unwrap_or_else(|| "default".to_owned()))),
        destination_rule: decision.rule.unwrap_or_default(),
        reasons,
    }
}

const PLAINTEXT: &str = "PLAINTEXT";
const ISTIO_MUTUAL: &str = "ISTIO_MUTUAL";

fn joined(words: impl Iterator<Item = String>) -> String {
    words.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(",")
}

/// A step of a decision, with its place.
pub(super) fn step(reason: &Reason) -> String {
    match &reason.at {
        Some(at) => format!("{at}: {}", reason.text),
        None => reason.text.clone(),
    }
}
