//! How a client reaches a service port: DestinationRule, and where none speaks, what the endpoints accept.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::rules::MatchedRule;
use super::super::{
    Endpoint, IstioCompatibility, Mesh, Object, PeerNames, San, Service, ServicePort, Topic, Warning, Workload,
};
use super::inbound::{Facing, InboundMode, facing, mode_and_place};
use super::skipped::Skipped;
use super::{Reason, conflict};
use crate::policy::{ClientTls, ClientTlsMode, DestinationRule, LabelSelector, Located};

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
    let mut reasons = Vec::new();
    let skipped = Skipped::find(client, to);
    match (rule, tls) {
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
    }
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
    fn is_mtls(self, endpoint: &Endpoint, port: &ServicePort) -> bool {
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
fn exception<'e>(
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

fn endpoint_reason(endpoint: &Endpoint, port: &ServicePort, what: &str) -> Reason {
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

/// A DestinationRule's `tls` speaks.
pub(super) struct Explicit<'a> {
    mesh: &'a Mesh,
    pub(super) to: Destination<'a>,
    pub(super) rule: &'a Object<DestinationRule>,
    pub(super) tls: &'a Located<ClientTls>,
}

impl Explicit<'_> {
    fn decide(
        &self,
        mut reasons: Vec<Reason>,
        rule: &MatchedRule<'_>,
        endpoint: Option<&Endpoint>,
    ) -> OutboundDecision {
        let tls = &self.tls.value;
        reasons.push(Reason::at(
            &self.tls.at,
            format!("{} (host {}) sets {}", named(self.rule), self.rule.spec.host.value, mode_name(tls.mode)),
        ));
        let mut warnings = Vec::new();
        let selector = self.to.subset.and_then(|name| rule.subsets().get(name).copied());
        let is_selected = |it: &&Endpoint| selector.is_none_or(|selector| selector.matches(&it.labels));
        let endpoints = endpoints(self.to, endpoint).iter().filter(is_selected);
        let mode = match tls.mode {
            ClientTlsMode::Disable => plaintext(self.mesh, self.to, endpoints.clone(), endpoint, &mut reasons),
            ClientTlsMode::IstioMutual => {
                warnings.extend(self.differing(endpoints.clone()));
                self.istio_mutual(endpoints.clone(), endpoint, &mut reasons)
            }
            ClientTlsMode::Simple => OutboundMode::Simple { sni: self.sni(), trust: self.trust(&mut warnings) },
            ClientTlsMode::Mutual => self.mutual(&mut warnings),
        };
        warnings.extend(conflict::with_rule(self, endpoints));
        let rule = format!("{}/{}", self.rule.meta.namespace, self.rule.meta.name);
        OutboundDecision { mode, rule: Some(rule), reasons, warnings }
    }

    /// Mutual TLS, and in the adaptive mode plaintext to those of the endpoints that take nothing else.
    fn istio_mutual<'e>(
        &self,
        endpoints: impl Iterator<Item = &'e Endpoint>,
        one: Option<&Endpoint>,
        reasons: &mut Vec<Reason>,
    ) -> OutboundMode {
        let tls = &self.tls.value;
        let sni = tls.sni.clone().unwrap_or_else(|| istio_sni(self.to));
        let sans = written_names(tls).unwrap_or_else(|| mesh_names(self.mesh, self.to.service));
        let choice = self.choice();
        let what = match self.follows() {
            true => "accepts only plaintext, which the client follows (istioCompatibility: adaptive)",
            false => "accepts only plaintext",
        };
        let refusing = exception(endpoints, self.to.port, choice);
        let Some(refusing) = refusing else { return OutboundMode::IstioMutual { sni, sans } };
        reasons.push(endpoint_reason(refusing, self.to.port, what));
        match one {
            Some(_) => OutboundMode::Plaintext,
            None => OutboundMode::PerEndpoint { sni, sans, choice },
        }
    }

    fn choice(&self) -> Choice {
        if self.follows() { Choice::Asked } else { Choice::Insisted }
    }

    /// Where clients choose the endpoint themselves, a proxy that intercepts their connections cannot tell which one it is.
    fn differing<'e>(&self, mut endpoints: impl Iterator<Item = &'e Endpoint> + Clone) -> Option<Warning> {
        let Destination { service, port, .. } = self.to;
        let choice = self.choice();
        let refusing = exception(endpoints.clone(), port, choice)?;
        if !service.client_chooses || !endpoints.any(|endpoint| choice.is_mtls(endpoint, port)) {
            return None;
        }
        let message = format!(
            "{} asks for ISTIO_MUTUAL to {} port {}, whose endpoints differ, and clients choose among them: a proxy that \
             intercepts connections speaks mutual TLS to all of them, and those to {} fail",
            named(self.rule),
            service.host,
            port.port.value,
            refusing.workload.as_ref().map_or_else(|| "addresses of no workload".to_owned(), |it| it.key.to_string()),
        );
        Some(Warning::new(Topic::Followed, &self.tls.at, message))
    }

    /// Whether the client follows a port that takes plaintext only.
    pub(super) fn follows(&self) -> bool {
        self.mesh.settings().istio_compatibility == IstioCompatibility::Adaptive
    }

    fn mutual(&self, warnings: &mut Vec<Warning>) -> OutboundMode {
        let tls = &self.tls.value;
        let certificate = match (&tls.credential_name, &tls.client_certificate, &tls.private_key) {
            (Some(name), _, _) => ClientCertificate::Credential(name.clone()),
            (None, Some(chain), Some(key)) => ClientCertificate::Files { chain: chain.clone(), key: key.clone() },
            // The parser refuses this. Should it ever come here, the server is still verified, and decides by itself about
            // a client that shows nothing.
            _ => {
                let message =
                    format!("{} is MUTUAL without a client certificate and key: none is shown", named(self.rule));
                warnings.push(Warning::new(Topic::Unverified, &self.tls.at, message));
                return OutboundMode::Simple { sni: self.sni(), trust: self.trust(warnings) };
            }
        };
        OutboundMode::Mutual { sni: self.sni(), trust: self.trust(warnings), certificate }
    }

    fn trust(&self, warnings: &mut Vec<Warning>) -> ServerTrust {
        let tls = &self.tls.value;
        if tls.insecure_skip_verify {
            let message = format!(
                "{} sets insecureSkipVerify: anyone on the path to {} can read and change the traffic",
                named(self.rule),
                self.to.service.host
            );
            warnings.push(Warning::new(Topic::Unverified, &self.tls.at, message));
            return ServerTrust::InsecureSkipVerify;
        }
        let roots = match (&tls.credential_name, tls.ca_certificates.as_deref()) {
            (Some(name), _) => Roots::Credential(name.clone()),
            (None, None | Some("system")) => Roots::System,
            (None, Some(path)) => Roots::File(path.to_owned()),
        };
        let sans = written_names(tls)
            .or_else(|| PeerNames::any_of(self.to.service.subject_alt_names.iter().map(|name| San::parse(name))))
            .unwrap_or_else(|| PeerNames::only(San::parse(tls.sni.as_ref().unwrap_or(&self.to.service.host))));
        ServerTrust::Verified { roots, sans, crl: tls.ca_crl.clone() }
    }

    /// RFC 6066 §3: a server name is a DNS name, never an address.
    fn sni(&self) -> Option<String> {
        let host = &self.to.service.host;
        let written = self.tls.value.sni.clone();
        written.or_else(|| (!host.contains('*') && matches!(San::parse(host), San::Dns(_))).then(|| host.clone()))
    }
}

/// The names the operator wrote, if any.
fn written_names(tls: &ClientTls) -> Option<PeerNames> {
    PeerNames::any_of(tls.subject_alt_names.iter().map(|name| San::parse(name)))
}

/// Who the endpoints of a mesh service may be: their service accounts, in every trust domain that counts as ours. When no
/// endpoint is known, anyone of the service's namespace, so that there is always a name to hold the server to.
fn mesh_names(mesh: &Mesh, service: &Service) -> PeerNames {
    let identities = service.endpoints.iter().flat_map(|endpoint| endpoint.identities.iter()).cloned().map(San::Uri);
    let written = service.subject_alt_names.iter().map(|name| San::parse(name));
    PeerNames::any_of(identities.chain(written)).unwrap_or_else(|| {
        let prefix = |td: &str| San::UriPrefix(format!("spiffe://{td}/ns/{}/", service.namespace));
        let settings = mesh.settings();
        PeerNames::with(prefix(&settings.trust_domain), settings.trust_domain_aliases.iter().map(|td| prefix(td)))
    })
}

/// Istio's server name for mesh traffic, which also names the cluster.
fn istio_sni(to: Destination<'_>) -> String {
    format!("outbound_.{}_.{}_.{}", to.port.port.value, to.subset.unwrap_or(""), to.service.host)
}

pub(super) fn mode_name(mode: ClientTlsMode) -> &'static str {
    match mode {
        ClientTlsMode::Disable => "DISABLE",
        ClientTlsMode::Simple => "SIMPLE",
        ClientTlsMode::Mutual => "MUTUAL",
        ClientTlsMode::IstioMutual => "ISTIO_MUTUAL",
    }
}

pub(super) fn named(rule: &Object<DestinationRule>) -> String {
    format!("DestinationRule {}/{}", rule.meta.namespace, rule.meta.name)
}
