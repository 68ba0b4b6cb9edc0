//! How a client reaches a port where a DestinationRule says it.

use super::super::rules::MatchedRule;
use super::super::{Endpoint, IstioCompatibility, Mesh, Object, PeerNames, San, Topic, Warning};
use super::inbound::mode_and_place;
use super::outbound::{
    Choice, ClientCertificate, Destination, OutboundDecision, OutboundMode, Roots, ServerTrust, endpoint_reason,
    endpoints, exception, istio_sni, mesh_names, plaintext,
};
use super::{Reason, conflict};
use crate::policy::{ClientTls, ClientTlsMode, DestinationRule, Located};

/// A DestinationRule's `tls` speaks.
pub(super) struct Explicit<'a> {
    pub(super) mesh: &'a Mesh,
    pub(super) to: Destination<'a>,
    pub(super) rule: &'a Object<DestinationRule>,
    pub(super) tls: &'a Located<ClientTls>,
}

impl Explicit<'_> {
    pub(super) fn decide(
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
        let mut differing = None;
        let selector = self.to.subset.and_then(|name| rule.subsets().get(name).copied());
        let is_selected = |it: &&Endpoint| selector.is_none_or(|selector| selector.matches(&it.labels));
        let endpoints = endpoints(self.to, endpoint).iter().filter(is_selected);
        let mode = match tls.mode {
            ClientTlsMode::Disable => plaintext(self.mesh, self.to, endpoints.clone(), endpoint, &mut reasons),
            ClientTlsMode::IstioMutual => {
                differing = self.differing(endpoints.clone());
                self.istio_mutual(endpoints.clone(), endpoint, &mut reasons)
            }
            ClientTlsMode::Simple => OutboundMode::Simple { sni: self.sni(), trust: self.trust(&mut warnings) },
            ClientTlsMode::Mutual => self.mutual(&mut warnings),
        };
        match differing {
            Some(warning) => warnings.push(warning),
            None => warnings.extend(conflict::with_rule(self, endpoints)),
        }
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

    /// Where clients choose the endpoint themselves, a proxy that intercepts their connections cannot tell which one it is. This takes the place of
    /// the warning that the client follows the port, which would be true of other proxies only.
    fn differing<'e>(&self, mut endpoints: impl Iterator<Item = &'e Endpoint> + Clone) -> Option<Warning> {
        let Destination { service, port, .. } = self.to;
        let choice = self.choice();
        let refusing = exception(endpoints.clone(), port, choice)?;
        if !service.client_chooses || !endpoints.any(|endpoint| choice.is_mtls(endpoint, port)) {
            return None;
        }
        let plain = match (&refusing.workload, refusing.port(port)) {
            (Some(workload), Some(number)) => {
                let place = mode_and_place(workload, number).1.unwrap_or_else(|| workload.at.clone());
                format!("{} port {number} takes plaintext only ({place})", workload.key)
            }
            _ => "addresses of no workload take plaintext only".to_owned(),
        };
        let message = format!(
            "{} ({}) asks for ISTIO_MUTUAL to {} port {}, but {plain}, other endpoints do not, and clients choose among them: a proxy that \
             intercepts connections cannot tell them apart and speaks mutual TLS to all, so that connections to the first fail; any \
             other follows each port and sends these plaintext",
            named(self.rule),
            self.tls.at,
            service.host,
            port.port.value,
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
