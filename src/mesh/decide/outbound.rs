//! How a client reaches a service port: DestinationRule, and where none speaks, what the endpoints accept.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::rules::MatchedRule;
use super::super::{Endpoint, Mesh, PeerNames, San, Service, ServicePort, Topic, Warning, Workload};
use super::explicit::{Explicit, mode_name, named};
use super::inbound::{Facing, InboundMode, facing, mode_and_place};
use super::skipped::Skipped;
use super::{Reason, conflict};
use crate::policy::LabelSelector;

/// How a client's proxy speaks to a service port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "mode", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutboundMode {
    /// No TLS of ours.
    Plaintext,
    /// Mutual TLS to some endpoints, plaintext to the others: no rule speaks, or some of the ports are not, or not yet, what the rule
    /// asks for. Only decisions about a whole service say this; a decision about one endpoint is one or the other.
    PerEndpoint {
        /// The server name sent.
        sni: String,
        /// Who the endpoints may be.
        sans: PeerNames,
        /// To which.
        choice: Choice,
    },
    /// Mutual TLS with the workload's mesh certificate, against the mesh's roots.
    IstioMutual {
        /// The server name sent.
        sni: String,
        /// Who the endpoints may be.
        sans: PeerNames,
    },
    /// TLS without a client certificate.
    Simple {
        /// The server name sent; none for addresses and wildcard hosts.
        sni: Option<String>,
        /// How the server is verified.
        trust: ServerTrust,
    },
    /// Mutual TLS with a certificate of the operator's.
    Mutual {
        /// The server name sent; none for addresses and wildcard hosts.
        sni: Option<String>,
        /// How the server is verified.
        trust: ServerTrust,
        /// What the client shows.
        certificate: ClientCertificate,
    },
}

/// Which endpoints get mutual TLS. A port on its way to another mode ([`Transit`](super::super::Transit)) counts as what its clients go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// No rule speaks: those that accept it.
    Automatic,
    /// A rule asks for it: those that accept it, and those of which nothing is known.
    Asked,
    /// The same where the client does not follow a plaintext port: all but those that are about to accept it.
    Insisted,
    /// A rule, or the service's place outside the mesh, says plaintext: those only that are about to accept that, and do not yet.
    Declined,
}

/// How a server outside the mesh's PKI is verified. There is no way to say "verified" without roots and names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerTrust {
    /// By its chain and its name.
    Verified {
        /// Against these roots.
        roots: Roots,
        /// It must carry one of these names.
        sans: PeerNames,
        /// A CRL file on the proxy's machine.
        #[serde(skip_serializing_if = "Option::is_none")]
        crl: Option<String>,
    },
    /// Not at all, because the operator wrote `insecureSkipVerify: true`.
    InsecureSkipVerify,
}

/// Where roots come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Roots {
    /// The trust store of the proxy's machine.
    System,
    /// A PEM file on the proxy's machine.
    File(String),
    /// A Secret in the client's namespace, by name.
    Credential(String),
}

/// Where a client certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificate {
    /// PEM files on the proxy's machine.
    Files {
        /// The chain, leaf first.
        chain: String,
        /// The key.
        key: String,
    },
    /// A Secret in the client's namespace, by name.
    Credential(String),
}

/// How a client reaches something, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundDecision {
    /// The mode.
    pub mode: OutboundMode,
    /// The DestinationRule whose `tls` decided, as `namespace/name`; `None`: automatic mutual TLS.
    pub rule: Option<String>,
    /// The steps that led to it.
    pub reasons: Vec<Reason>,
    /// Where this client's rules and the servers' policies contradict each other, and settings that give up protection.
    pub warnings: Vec<Warning>,
}

/// A service port, or one subset of it.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// The service.
    pub service: &'a Service,
    /// One of its ports.
    pub port: &'a ServicePort,
    /// One of the DestinationRule's subsets.
    pub subset: Option<&'a str>,
}

/// Decides how `client` reaches `port` of `service`: all of it, or one endpoint.
pub fn outbound(
    mesh: &Mesh,
    client: &Workload,
    service: &Service,
    port: &ServicePort,
    endpoint: Option<&Endpoint>,
) -> OutboundDecision {
    outbound_to(mesh, client, Destination { service, port, subset: None }, endpoint)
}

/// The same for a destination that may be a subset.
pub fn outbound_to(
    mesh: &Mesh,
    client: &Workload,
    to: Destination<'_>,
    endpoint: Option<&Endpoint>,
) -> OutboundDecision {
    let rule = mesh.rules.find(client, to.service);
    let tls = rule.as_ref().and_then(|rule| rule.client_tls(to.port.port.value, to.subset));
    let selected = to.subset.and_then(|name| rule.as_ref()?.subsets().get(name).copied());
    let mut reasons = Vec::new();
    let skipped = Skipped::find(client, to);
    let mut decision = match (rule, tls) {
        (Some(rule), Some(tls)) => {
            let mut decision = Explicit { mesh, to, rule: rule.governing(), tls }.decide(reasons, &rule, endpoint);
            decision.warnings.extend(skipped.and_then(|skipped| skipped.overruled(rule.governing(), tls, to)));
            decision
        }
        (rule, _) => {
            let dropped = rule.as_ref().and_then(|rule| dropped_tls(rule, to));
            reasons.push(match rule.map(|rule| rule.governing()) {
                Some(rule) => Reason::at(
                    &rule.at,
                    format!(
                        "{} governs {} and sets no tls for port {}",
                        named(rule),
                        to.service.host,
                        to.port.port.value
                    ),
                ),
                None => Reason::default(format!("no DestinationRule governs {}", to.service.host)),
            });
            let mut decision = match skipped {
                Some(skipped) => skipped.decide(mesh, to, endpoint, reasons),
                None => automatic(mesh, to, endpoint, reasons),
            };
            decision.warnings.extend(dropped);
            decision
        }
    };
    let reached = endpoints(to, endpoint).iter();
    let reached = reached.filter(|it| selected.is_none_or(|labels| labels.matches(&it.labels)));
    decision.warnings.extend(conflict::with_termination(to, reached, &decision.mode));
    decision
}

/// A rule for a host takes nothing from a rule for a wider one. Whoever wrote the wider one's TLS settings may think that they hold.
fn dropped_tls(rule: &MatchedRule<'_>, to: Destination<'_>) -> Option<Warning> {
    let wider = rule.hidden_tls?;
    let governing = rule.governing();
    let message = format!(
        "{} has no tls for {} port {}, and rules are not inherited: {} at {} does not hold for it",
        named(governing),
        to.service.host,
        to.port.port.value,
        mode_name(wider.value.mode),
        wider.at
    );
    Some(Warning::new(Topic::DroppedTls, &governing.at, message))
}

/// The subsets that `client` knows of `service`, and what each selects.
pub fn subsets<'a>(mesh: &'a Mesh, client: &Workload, service: &Service) -> BTreeMap<&'a str, &'a LabelSelector> {
    mesh.rules.find(client, service).map(|rule| rule.subsets()).unwrap_or_default()
}

impl OutboundMode {
    /// Whether `endpoint` gets mutual TLS where the choice is left to it.
    pub fn is_mtls_to(&self, endpoint: &Endpoint, port: &ServicePort) -> bool {
        match self {
            Self::PerEndpoint { choice, .. } => choice.is_mtls(endpoint, port),
            Self::IstioMutual { .. } => true,
            Self::Plaintext | Self::Simple { .. } | Self::Mutual { .. } => false,
        }
    }
}

impl Choice {
    /// Whether `endpoint` gets mutual TLS for `port`.
    pub(super) fn is_mtls(self, endpoint: &Endpoint, port: &ServicePort) -> bool {
        match (&endpoint.workload, endpoint.port(port)) {
            (Some(workload), Some(number)) => self.fits(facing(workload, number)),
            (Some(_), None) => match self {
                Self::Automatic | Self::Asked => endpoint.meshed,
                Self::Insisted => true,
                Self::Declined => false,
            },
            // Nobody knows who is behind the address.
            (None, _) => match self {
                Self::Automatic => endpoint.meshed,
                Self::Asked | Self::Insisted => true,
                Self::Declined => false,
            },
        }
    }

    fn fits(self, Facing { mode, holds }: Facing) -> bool {
        match self {
            Self::Automatic | Self::Asked => mode != InboundMode::Disable,
            Self::Insisted => !(holds && mode == InboundMode::Disable),
            Self::Declined => holds && mode == InboundMode::Strict,
        }
    }
}

/// The first endpoint that gets something else than the others would.
pub(super) fn exception<'e>(
    mut endpoints: impl Iterator<Item = &'e Endpoint>,
    port: &ServicePort,
    choice: Choice,
) -> Option<&'e Endpoint> {
    let usual = choice != Choice::Declined;
    endpoints.find(|endpoint| choice.is_mtls(endpoint, port) != usual)
}

fn automatic(
    mesh: &Mesh,
    to: Destination<'_>,
    endpoint: Option<&Endpoint>,
    mut reasons: Vec<Reason>,
) -> OutboundDecision {
    let mut warnings = Vec::new();
    let mode = if to.service.external {
        reasons.push(Reason::at(&to.service.at, format!("{} is outside the mesh: plaintext", to.service.host)));
        let endpoints = endpoints(to, endpoint);
        warnings.extend(conflict::strict_outside(to, endpoints));
        plaintext(mesh, to, endpoints.iter(), endpoint, &mut reasons)
    } else if let Err(at) = mesh.settings().auto_mtls() {
        let endpoints = endpoints(to, endpoint);
        reasons.push(Reason::at(at, "enableAutoMtls is false: without a rule that asks for TLS, plaintext"));
        warnings.extend(conflict::without_auto_mtls(to, endpoints, at));
        plaintext(mesh, to, endpoints.iter(), endpoint, &mut reasons)
    } else {
        let (sni, sans) = (istio_sni(to), mesh_names(mesh, to.service));
        match endpoint {
            None => {
                reasons.push(Reason::default("automatic: mutual TLS to every endpoint that accepts it"));
                OutboundMode::PerEndpoint { sni, sans, choice: Choice::Automatic }
            }
            Some(endpoint) if Choice::Automatic.is_mtls(endpoint, to.port) => {
                reasons.push(endpoint_reason(endpoint, to.port, "accepts mutual TLS"));
                OutboundMode::IstioMutual { sni, sans }
            }
            Some(endpoint) => {
                reasons.push(endpoint_reason(endpoint, to.port, "accepts only plaintext"));
                OutboundMode::Plaintext
            }
        }
    };
    OutboundDecision { mode, rule: None, reasons, warnings }
}

/// Plaintext, but for endpoints that are about to accept it and do not yet.
pub(super) fn plaintext<'e>(
    mesh: &Mesh,
    to: Destination<'_>,
    endpoints: impl Iterator<Item = &'e Endpoint>,
    one: Option<&Endpoint>,
    reasons: &mut Vec<Reason>,
) -> OutboundMode {
    let Some(strict) = exception(endpoints, to.port, Choice::Declined) else { return OutboundMode::Plaintext };
    reasons.push(endpoint_reason(strict, to.port, "accepts only mutual TLS"));
    let (sni, sans) = (istio_sni(to), mesh_names(mesh, to.service));
    match one {
        Some(_) => OutboundMode::IstioMutual { sni, sans },
        None => OutboundMode::PerEndpoint { sni, sans, choice: Choice::Declined },
    }
}

/// The endpoints that a decision is about.
pub(super) fn endpoints<'a>(to: Destination<'a>, one: Option<&'a Endpoint>) -> &'a [Endpoint] {
    one.map_or(to.service.endpoints.as_slice(), std::slice::from_ref)
}

pub(super) fn endpoint_reason(endpoint: &Endpoint, port: &ServicePort, what: &str) -> Reason {
    match (&endpoint.workload, endpoint.port(port)) {
        (Some(workload), Some(number)) => {
            let (to, at) = mode_and_place(workload, number);
            let Facing { mode, holds } = facing(workload, number);
            let is = if holds { format!("is still {mode} (on its way to {to})") } else { format!("is {mode}") };
            Reason { text: format!("{} port {number} {is} and {what}", workload.key), at }
        }
        (Some(workload), None) => Reason::at(&workload.at, format!("{} {what}", workload.key)),
        (None, _) => Reason::default(format!("the endpoint {what}")),
    }
}

/// Who the endpoints of a mesh service may be: their service accounts, in every trust domain that counts as ours. When no
/// endpoint is known, anyone of the service's namespace, so that there is always a name to hold the server to.
pub(super) fn mesh_names(mesh: &Mesh, service: &Service) -> PeerNames {
    let identities = service.endpoints.iter().flat_map(|endpoint| endpoint.identities.iter()).cloned().map(San::Uri);
    let written = service.subject_alt_names.iter().map(|name| San::parse(name));
    PeerNames::any_of(identities.chain(written)).unwrap_or_else(|| {
        let prefix = |td: &str| San::UriPrefix(format!("spiffe://{td}/ns/{}/", service.namespace));
        let settings = mesh.settings();
        PeerNames::with(prefix(&settings.trust_domain), settings.trust_domain_aliases.iter().map(|td| prefix(td)))
    })
}

/// Istio's server name for mesh traffic, which also names the cluster.
pub(super) fn istio_sni(to: Destination<'_>) -> String {
    format!("outbound_.{}_.{}_.{}", to.port.port.value, to.subset.unwrap_or(""), to.service.host)
}
