//! Every client and everything that it reaches: what one side asks for, and what the other takes.

use time::OffsetDateTime;

use super::super::Subject;
use super::super::catalogue::NO_CREDENTIAL;
use super::super::clients::Clients;
use super::super::finding::Collector;
use super::credentials::{Wanted, problem};
use super::said;
use crate::mesh::Workload;
use crate::mesh::decide::{
    ClientCertificate, Destination, OutboundDecision, OutboundMode, Roots, ServerTrust, outbound_to, subsets,
};

pub(in super::super) fn all(subject: Subject<'_>, now: OffsetDateTime, found: &mut Collector) {
    for clients in Clients::of(subject.mesh, |_| true) {
        let client = clients.any();
        for (service, _) in clients.reach() {
            let subsets = subsets(subject.mesh, client, service);
            for port in &service.ports {
                for subset in std::iter::once(None).chain(subsets.keys().copied().map(Some)) {
                    let to = Destination { service, port, subset };
                    let decision = outbound_to(subject.mesh, client, to, None);
                    said::mesh(&decision.warnings, found);
                    no_credential(subject, client, &decision, now, found);
                }
            }
        }
    }
}

/// CS0304.
fn no_credential(
    subject: Subject<'_>,
    client: &Workload,
    decision: &OutboundDecision,
    now: OffsetDateTime,
    found: &mut Collector,
) {
    let Some(wanted) = wanted(client, &decision.mode) else { return };
    let Some(problem) = problem(subject.set, wanted, now) else { return };
    let Some(at) = decision.reasons.iter().find_map(|reason| reason.at.as_ref()) else { return };
    let rule = decision.rule.as_deref().unwrap_or_default();
    let Wanted { name, namespace, .. } = wanted;
    let message = format!("DestinationRule {rule} names the Secret {name:?} for clients in {namespace}: {problem}");
    found.add(&NO_CREDENTIAL, at, message);
}

fn wanted<'a>(client: &'a Workload, mode: &'a OutboundMode) -> Option<Wanted<'a>> {
    let (trust, certificate) = match mode {
        OutboundMode::Simple { trust, .. } => (trust, None),
        OutboundMode::Mutual { trust, certificate: ClientCertificate::Credential(name), .. } => (trust, Some(name)),
        _ => return None,
    };
    let roots = match trust {
        ServerTrust::Verified { roots: Roots::Credential(name), .. } => Some(name),
        _ => None,
    };
    let name = certificate.or(roots)?;
    let namespace = &client.key.namespace;
    Some(Wanted { namespace, gateway: None, name, certificate: certificate.is_some(), roots: roots.is_some() })
}
