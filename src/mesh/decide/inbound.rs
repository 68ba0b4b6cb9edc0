//! What a workload's port accepts: PeerAuthentication, from the narrowest scope to the widest, and Linkerd's policy; the stricter counts.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::super::{Mesh, Moving, Object, Origin, Step as TransitStep, Workload, Written};
use super::{Reason, linkerd};
use crate::policy::{Located, Metadata, MtlsMode, PeerAuthentication, ServerTls};

/// What a port accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InboundMode {
    /// Plaintext only.
    Disable,
    /// Plaintext and mutual TLS.
    Permissive,
    /// Mutual TLS only.
    Strict,
}

impl InboundMode {
    /// Takes what either takes.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self == other { self } else { Self::Permissive }
    }
}

impl fmt::Display for InboundMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disable => "DISABLE",
            Self::Permissive => "PERMISSIVE",
            Self::Strict => "STRICT",
        })
    }
}

/// The mode of one port, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundDecision {
    /// The mode.
    pub mode: InboundMode,
    /// What decided: a PeerAuthentication, as `namespace/name`, or something of Linkerd's, with its kind before that. `None`: the
    /// default, or there is no proxy.
    pub policy: Option<String>,
    /// From the narrowest scope asked to the one that answered.
    pub reasons: Vec<Reason>,
}

/// Decides what `port` of `workload` accepts. `port` is the workload's, not the service's.
///
/// The narrowest PeerAuthentication that speaks wins: port (of the workload's own policy), workload, namespace, mesh. UNSET
/// is silence. Where Linkerd's policy speaks too, the stricter of both counts. When all are silent the port is PERMISSIVE. A port that is
/// on its way to that mode takes more for a while.
pub fn inbound(_mesh: &Mesh, workload: &Workload, port: u16) -> InboundDecision {
    let (mut reasons, mut decided) = (Vec::new(), None);
    let mode = walk(workload, Some(port), |step| {
        match &step {
            Step::Said { policy, .. } => decided = Some(format!("{}/{}", policy.meta.namespace, policy.meta.name)),
            Step::Linkerd { said, decides: true } => decided = Some(said.name()),
            _ => {}
        }
        reasons.push(step.reason(workload, port));
    });
    if let (Some(tls), Some(sidecar)) = (termination(workload, port), workload.sidecar()) {
        let Metadata { namespace, name, .. } = &sidecar.meta;
        let text = format!("Sidecar {namespace}/{name} ends TLS there with a certificate of its own");
        reasons.push(Reason::at(&tls.at, text));
    }
    let Some(moving) = workload.governance.moving.get(&port) else {
        return InboundDecision { mode, policy: decided, reasons };
    };
    reasons.push(Reason::default(on_its_way(*moving, mode)));
    InboundDecision { mode: moving.served(mode), policy: decided, reasons }
}

/// The TLS that the workload's proxy ends on `port` with a certificate of the operator's: its Sidecar asks for it, and the port is DISABLE.
/// Where it is not, Istio lets the mesh's own TLS count alone. On the way from DISABLE or to it the port takes both: plaintext would be
/// taken neither before nor after.
pub fn termination(workload: &Workload, port: u16) -> Option<&Located<ServerTls>> {
    let listener = workload.sidecar()?.spec.ingress.iter().find(|listener| listener.port.value == port)?;
    let tls = listener.tls.as_ref().filter(|_| workload.meshed && !workload.linkerd().is_skipped(port))?;
    let to = walk(workload, Some(port), |_| ());
    let ends_it = match workload.governance.moving.get(&port) {
        None => to == InboundMode::Disable,
        Some(Moving { step: TransitStep::Closing, .. }) => to == InboundMode::Disable,
        Some(moving) => to == InboundMode::Disable || moving.from == InboundMode::Disable,
    };
    ends_it.then_some(tls)
}

/// What the workload accepts on every port of which nothing speaks by number.
pub fn inbound_elsewhere(workload: &Workload) -> InboundMode {
    walk(workload, None, |_| ())
}

/// The workload's ports of which its PeerAuthentication, a Server or an annotation speaks by number, each once.
pub fn ports_named(workload: &Workload) -> impl Iterator<Item = u16> + use<> {
    let authentication = workload.governance.authentication.workload.iter();
    let ports = authentication.flat_map(|policy| policy.spec.port_modes.keys().copied());
    ports.chain(workload.linkerd().ports()).collect::<BTreeSet<_>>().into_iter()
}

/// Whether plaintext, which is all that the port took before, is still to be taken as it was: its clients have not all changed yet.
pub fn plaintext_as_before(workload: &Workload, port: u16) -> bool {
    let from_plaintext = |it: &Moving| it.from == InboundMode::Disable && it.step != TransitStep::Closing;
    workload.governance.moving.get(&port).is_some_and(from_plaintext)
}

/// What both dialects say of a port, where both speak: the modes, and where they are written. The stricter counts.
pub fn dialects(workload: &Workload, port: u16) -> Option<[(InboundMode, Origin); 2]> {
    let (mut istio, mut linkerd) = (None, None);
    walk(workload, Some(port), |step| match step {
        Step::Said { mode, at, .. } => istio = Some((mode, at.clone())),
        Step::Linkerd { said, .. } => linkerd = Some((said.mode(), said.at().clone())),
        Step::Unmeshed | Step::Silent { .. } | Step::Default => {}
    });
    Some([istio?, linkerd?])
}

fn on_its_way(moving: Moving, to: InboundMode) -> String {
    let Moving { from, step } = moving;
    let what = match step {
        TransitStep::Accepting => format!("it begins to take both, and clients still do what {from} takes"),
        TransitStep::Switching => "it takes both, and its clients begin to do what the policy says".to_owned(),
        TransitStep::Closing => "its clients have changed, and it begins to take that alone".to_owned(),
    };
    format!("on its way from {from} to {to} ({step}): {what}")
}

/// What the policy says of a port, whether or not it is served so already.
pub(in super::super) fn written(workload: &Workload, port: u16) -> Written {
    let mut staged = true;
    let mode = walk(workload, Some(port), |step| {
        match step {
            // It has no listener that could take both.
            Step::Unmeshed => staged = false,
            Step::Said { policy, .. } => staged = policy.meta.is_staged(),
            Step::Linkerd { said, decides: true } => staged = said.is_staged(),
            Step::Linkerd { .. } | Step::Silent { .. } | Step::Default => {}
        }
    });
    Written { mode, staged }
}

/// What the clients of a port go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facing {
    pub(super) mode: InboundMode,
    /// It is what the port served before, and its clients are to do nothing else yet, whatever a rule says.
    pub(super) holds: bool,
}

/// What the clients of a port go by: what it served before, until all of its servers take what the policy says too.
pub(super) fn facing(workload: &Workload, port: u16) -> Facing {
    match workload.governance.moving.get(&port).filter(|moving| moving.holds_clients()) {
        Some(moving) => Facing { mode: moving.from, holds: true },
        None => Facing { mode: mode_and_place(workload, port).0, holds: false },
    }
}

/// The mode that is written, without reasons, for the many endpoints of an outbound decision; and the place that decided.
pub(in super::super) fn mode_and_place(workload: &Workload, port: u16) -> (InboundMode, Option<Origin>) {
    let mut place = None;
    let mode = walk(workload, Some(port), |step| {
        place = match step {
            Step::Unmeshed => Some(workload.at.clone()),
            Step::Said { at, .. } => Some(at.clone()),
            Step::Linkerd { said, decides: true } => Some(said.at().clone()),
            Step::Linkerd { .. } => place.take(),
            Step::Silent { .. } | Step::Default => None,
        }
    });
    (mode, place)
}

/// Whether no policy speaks about this workload as a whole.
pub(in super::super) fn is_unspoken(workload: &Workload) -> bool {
    let mut unspoken = false;
    walk(workload, None, |step| unspoken = matches!(step, Step::Default));
    unspoken
}

enum Step<'a> {
    Unmeshed,
    Silent {
        scope: Scope,
        policy: &'a Object<PeerAuthentication>,
    },
    Said {
        scope: Scope,
        policy: &'a Object<PeerAuthentication>,
        mode: InboundMode,
        at: &'a Origin,
    },
    /// Linkerd's policy, and whether its mode is the one that counts.
    Linkerd {
        said: linkerd::Said<'a>,
        decides: bool,
    },
    Default,
}

#[derive(Clone, Copy)]
enum Scope {
    Port,
    Workload,
    Namespace,
    Mesh,
}

/// Asks both dialects, tells `see` what they said, and returns the stricter answer.
fn walk<'a>(workload: &'a Workload, port: Option<u16>, mut see: impl FnMut(Step<'a>)) -> InboundMode {
    if !workload.meshed {
        see(Step::Unmeshed);
        return InboundMode::Disable;
    }
    let istio = authentication(workload, port, &mut see);
    let Some(said) = linkerd::said(workload, port) else {
        return istio.unwrap_or_else(|| {
            see(Step::Default);
            InboundMode::Permissive
        });
    };
    let decides = istio.is_none_or(|istio| istio < said.mode());
    see(Step::Linkerd { said, decides });
    istio.map_or(said.mode(), |istio| istio.max(said.mode()))
}

/// Asks each scope of PeerAuthentications, and returns the first answer, if any gives one.
fn authentication<'a>(
    workload: &'a Workload,
    port: Option<u16>,
    see: &mut impl FnMut(Step<'a>),
) -> Option<InboundMode> {
    let policies = &workload.governance.authentication;
    let port_mode = policies.workload.as_deref().and_then(|p| Some((p, p.spec.port_modes.get(&port?)?)));
    let port_scope = port_mode.map(|(policy, mode)| (Scope::Port, policy, Some(mode)));
    let wider = [
        (Scope::Workload, policies.workload.as_deref()),
        (Scope::Namespace, policies.namespace.as_deref()),
        (Scope::Mesh, policies.mesh.as_deref()),
    ];
    let wider = wider.into_iter().filter_map(|(scope, policy)| Some((scope, policy?, policy?.spec.mode.as_ref())));
    for (scope, policy, mode) in port_scope.into_iter().chain(wider) {
        let said = mode.and_then(|mode| Some((spoken(mode.value)?, &mode.at)));
        match said {
            None => see(Step::Silent { scope, policy }),
            Some((mode, at)) => {
                see(Step::Said { scope, policy, mode, at });
                return Some(mode);
            }
        }
    }
    None
}

fn spoken(mode: MtlsMode) -> Option<InboundMode> {
    match mode {
        MtlsMode::Unset => None,
        MtlsMode::Disable => Some(InboundMode::Disable),
        MtlsMode::Permissive => Some(InboundMode::Permissive),
        MtlsMode::Strict => Some(InboundMode::Strict),
    }
}

impl Step<'_> {
    fn reason(&self, workload: &Workload, port: u16) -> Reason {
        match self {
            Self::Unmeshed => Reason::at(
                &workload.at,
                format!("{} has no proxy (label security.istio.io/tlsMode: disabled): plaintext", workload.key),
            ),
            Self::Silent { scope, policy } => Reason::at(
                &policy.at,
                format!(
                    "{} leaves {} UNSET, so the next wider scope is asked",
                    named(policy),
                    scope.of(workload, port)
                ),
            ),
            Self::Said { scope, policy, mode, at } => {
                Reason::at(at, format!("{} sets {mode} for {}", named(policy), scope.of(workload, port)))
            }
            Self::Linkerd { said, decides } => said.reason(*decides),
            Self::Default => Reason::default("no PeerAuthentication speaks: PERMISSIVE, Istio's default"),
        }
    }
}

impl Scope {
    fn of(self, workload: &Workload, port: u16) -> String {
        match self {
            Self::Port => format!("port {port} of the workloads it selects"),
            Self::Workload => "the workloads it selects".into(),
            Self::Namespace => format!("namespace {}", workload.key.namespace),
            Self::Mesh => "the mesh".into(),
        }
    }
}

fn named(policy: &Object<PeerAuthentication>) -> String {
    format!("PeerAuthentication {}/{}", policy.meta.namespace, policy.meta.name)
}
