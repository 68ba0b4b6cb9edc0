//! Where a client's way to a port and what the port accepts cannot both be had, with both places.

use super::super::{Endpoint, Origin, Topic, Warning, Workload};
use super::explicit::{Explicit, mode_name, named};
use super::inbound::{InboundMode, mode_and_place, termination};
use super::outbound::{Destination, OutboundMode};
use crate::policy::{ClientTlsMode, ServerTlsMode};

/// Whether a workload's port, of this mode, does not take what it would get.
type Clashes<'a> = dyn Fn(&Workload, u16, InboundMode) -> bool + 'a;

/// What a rule asks for, against what the endpoints accept.
pub(super) fn with_rule<'e>(asking: &Explicit<'_>, endpoints: impl Iterator<Item = &'e Endpoint>) -> Vec<Warning> {
    const FAILS: &str = "connections will fail";
    let asked = asking.tls.value.mode;
    // On an HTTP port TLS is the mesh's, or nobody's; on others an application's own passes through. Without a proxy it is the
    // application that decides.
    let lets_no_tls_through = |workload: &Workload, port, mode| {
        let served = asking.mesh.protocol_served(workload, port).unwrap_or(asking.to.port.protocol);
        let is_own = termination(workload, port).is_some();
        mode == InboundMode::Strict || (workload.meshed && served.is_http() && !is_own)
    };
    let (topic, consequence, clashes): (_, _, &Clashes<'_>) = match asked {
        ClientTlsMode::IstioMutual if asking.follows() => (
            Topic::Followed,
            "the client follows the port and sends plaintext, where Istio's would fail (istioCompatibility: adaptive)",
            &|_, _, mode| mode == InboundMode::Disable,
        ),
        ClientTlsMode::IstioMutual => (Topic::Contradiction, FAILS, &|_, _, mode| mode == InboundMode::Disable),
        ClientTlsMode::Disable => (Topic::Contradiction, FAILS, &|_, _, mode| mode == InboundMode::Strict),
        ClientTlsMode::Simple => (Topic::Contradiction, FAILS, &lets_no_tls_through),
        ClientTlsMode::Mutual => (
            Topic::Contradiction,
            "connections will fail, unless both sides' certificates are of the mesh's authority",
            &lets_no_tls_through,
        ),
    };
    let warning = |clash: Clash<'_>| {
        let message = format!(
            "{} ({}) asks for {} to {} port {}, but {}: {consequence}",
            named(asking.rule),
            asking.tls.at,
            mode_name(asked),
            asking.to.service.host,
            asking.to.port.port.value,
            clash.server(),
        );
        Warning::new(topic, &asking.tls.at, message)
    };
    Clash::all(asking.to, endpoints, clashes).into_iter().map(warning).collect()
}

/// MESH_EXTERNAL means plaintext, also to a workload of the mesh that takes nothing but mutual TLS.
pub(super) fn strict_outside(to: Destination<'_>, endpoints: &[Endpoint]) -> Vec<Warning> {
    in_plaintext(to, endpoints, &to.service.at, |server| {
        format!(
            "{} ({}) is MESH_EXTERNAL, so that port {} is reached in plaintext, but {server}: connections will fail; \
             write `location: MESH_INTERNAL`",
            to.service.host, to.service.at, to.port.port.value,
        )
    })
}

/// Without automatic mutual TLS a client that no rule tells otherwise speaks plaintext, also to a port that takes nothing but mutual TLS.
pub(super) fn without_auto_mtls(to: Destination<'_>, endpoints: &[Endpoint], at: &Origin) -> Vec<Warning> {
    in_plaintext(to, endpoints, at, |server| {
        format!(
            "enableAutoMtls is false, so that {} port {} is reached in plaintext, but {server}: connections will fail; write a \
             DestinationRule with mode ISTIO_MUTUAL",
            to.service.host, to.port.port.value,
        )
    })
}

/// A client that sends a port past its proxy speaks plaintext, also to a port that takes nothing but mutual TLS.
pub(super) fn skipped(to: Destination<'_>, endpoints: &[Endpoint], at: &Origin) -> Vec<Warning> {
    in_plaintext(to, endpoints, at, |server| {
        format!(
            "skip-outbound-ports ({at}) means plaintext to {} port {}, but {server}: connections will fail; take the port out of the \
             annotation, or skip it at the server too",
            to.service.host, to.port.port.value,
        )
    })
}

/// One for each policy by which a port takes nothing but mutual TLS, and would get plaintext; `message` is told what the port is.
fn in_plaintext(
    to: Destination<'_>,
    endpoints: &[Endpoint],
    at: &Origin,
    message: impl Fn(&str) -> String,
) -> Vec<Warning> {
    let is_strict = |_: &Workload, _, mode| mode == InboundMode::Strict;
    let warning = |clash: Clash<'_>| Warning::new(Topic::Contradiction, at, message(&clash.server()));
    Clash::all(to, endpoints.iter(), &is_strict).into_iter().map(warning).collect()
}

/// A port whose proxy ends TLS of the operator's takes neither plaintext nor the mesh's TLS. Istio's clients are told nothing of it.
pub(super) fn with_termination<'e>(
    to: Destination<'_>,
    endpoints: impl Iterator<Item = &'e Endpoint>,
    mode: &OutboundMode,
) -> Vec<Warning> {
    let mut found: Vec<Warning> = Vec::new();
    for endpoint in endpoints {
        let (Some(workload), Some(port)) = (&endpoint.workload, endpoint.port(to.port)) else { continue };
        // On its way to another mode the port takes the mesh's TLS too.
        let Some(tls) = termination(workload, port).filter(|_| !workload.governance.moving.contains_key(&port)) else {
            continue;
        };
        let spoken = match mode {
            OutboundMode::Mutual { .. } => continue,
            OutboundMode::Simple { .. } if tls.value.mode != ServerTlsMode::Mutual => continue,
            OutboundMode::Simple { .. } => "with TLS and without the client certificate that is asked for there",
            mode if mode.is_mtls_to(endpoint, to.port) => "with mutual TLS of the mesh",
            _ => "in plaintext",
        };
        if found.iter().any(|known| known.at == tls.at) {
            continue;
        }
        let wanted = if tls.value.mode == ServerTlsMode::Mutual { "MUTUAL" } else { "SIMPLE" };
        let message = format!(
            "{} port {} is reached {spoken}, but port {port} of {} takes TLS of the operator's alone ({}): connections will \
             fail; write a DestinationRule with mode {wanted}",
            to.service.host, to.port.port.value, workload.key, tls.at,
        );
        found.push(Warning::new(Topic::Contradiction, &tls.at, message));
    }
    found
}

/// A workload whose port accepts something else than it would get.
struct Clash<'e> {
    workload: &'e Workload,
    port: u16,
    mode: InboundMode,
    place: Option<Origin>,
}

impl<'e> Clash<'e> {
    /// One for each policy that disagrees, not one for each endpoint under it.
    fn all(to: Destination<'_>, endpoints: impl Iterator<Item = &'e Endpoint>, clashes: &Clashes<'_>) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for endpoint in endpoints {
            let (Some(workload), Some(port)) = (&endpoint.workload, endpoint.port(to.port)) else { continue };
            let (mode, place) = mode_and_place(workload, port);
            if clashes(workload, port, mode) && found.iter().all(|known| known.place != place) {
                found.push(Self { workload, port, mode, place });
            }
        }
        found
    }

    fn server(&self) -> String {
        let place = self.place.as_ref().unwrap_or(&self.workload.at);
        format!("{} port {} is {} ({place})", self.workload.key, self.port, self.mode)
    }
}
