//! Ports whose connections a client's proxy is to leave alone: Linkerd's `skip-outbound-ports`.

use super::super::{Endpoint, Mesh, Object, PortList, Topic, Warning, Workload};
use super::explicit::{mode_name, named};
use super::outbound::{Destination, OutboundDecision, endpoints, plaintext};
use super::{Reason, conflict};
use crate::policy::{ClientTls, ClientTlsMode, DestinationRule, Located};

/// The annotation that a destination is skipped by.
#[derive(Clone, Copy)]
pub(super) struct Skipped<'a> {
    ports: &'a Located<PortList>,
    /// Whose it is.
    of: Of<'a>,
}

#[derive(Clone, Copy)]
enum Of<'a> {
    Client(&'a Workload),
    Service(&'a str),
}

impl<'a> Skipped<'a> {
    /// The client's own annotation (or its namespace's) before the service's.
    pub(super) fn find(client: &'a Workload, to: Destination<'a>) -> Option<Self> {
        let own = client.annotations.skip_outbound_ports.as_ref().map(|ports| (ports, Of::Client(client)));
        let service = to.service.skipped_outbound.as_ref().map(|ports| (ports, Of::Service(&to.service.host)));
        let skips = |(ports, _): &(&'a Located<PortList>, Of<'a>)| ports.value.contains(to.port.port.value, None);
        [own, service].into_iter().flatten().find(skips).map(|(ports, of)| Self { ports, of })
    }

    /// Plaintext: what Linkerd's clients send past their proxies.
    pub(super) fn decide(
        self,
        mesh: &Mesh,
        to: Destination<'_>,
        endpoint: Option<&Endpoint>,
        mut reasons: Vec<Reason>,
    ) -> OutboundDecision {
        let whose = match self.of {
            Of::Client(client) => format!("of {}", client.key),
            Of::Service(host) => format!("of {host}"),
        };
        let text =
            format!("skip-outbound-ports {} {whose} names port {}: plaintext", self.ports.value, to.port.port.value);
        reasons.push(Reason::at(&self.ports.at, text));
        let endpoints = endpoints(to, endpoint);
        let warnings = conflict::skipped(to, endpoints, &self.ports.at);
        let mode = plaintext(mesh, to, endpoints.iter(), endpoint, &mut reasons);
        OutboundDecision { mode, rule: None, reasons, warnings }
    }

    /// A DestinationRule with TLS is the stricter, and counts.
    pub(super) fn overruled(
        self,
        rule: &Object<DestinationRule>,
        tls: &Located<ClientTls>,
        to: Destination<'_>,
    ) -> Option<Warning> {
        if tls.value.mode == ClientTlsMode::Disable {
            return None;
        }
        let message = format!(
            "skip-outbound-ports ({}) says plaintext to {} port {}, and {} ({}) says {}: the rule counts, which is stricter",
            self.ports.at,
            to.service.host,
            to.port.port.value,
            named(rule),
            tls.at,
            mode_name(tls.value.mode)
        );
        Some(Warning::new(Topic::Dialects, &self.ports.at, message))
    }
}
