//! Every client and everything that it reaches: what one side asks for, and what the other takes.

use super::super::Subject;
use super::super::catalogue::NO_CREDENTIAL;
use super::super::clients::Clients;
use super::super::finding::Collector;
use super::said;
use crate::mesh::Workload;
use crate::mesh::decide::{
    ClientCertificate, Destination, OutboundDecision, OutboundMode, Roots, ServerTrust, outbound_to, subsets,
};

pub(in super::super) fn all(subject: Subject<'_>, found: &mut Collector) {
    for clients in Clients::of(subject.mesh, |_| true) {
        let client = clients.any();
        for (service, _) in clients.reach() {
            let subsets = subsets(subject.mesh, client, service);
            for port in &service.ports {
                for subset in std::iter::once(None).chain(subsets.keys().copied().map(Some)) {
                    let to = Destination { service, port, subset };
                    let decision = outbound_to(subject.mesh, client, to, None);
                    said::mesh(&decision.warnings, found);
                    no_credential(subject, client, &decision, found);
                }
            }
        }
    }
}

/// CS0304.
fn no_credential(subject: Subject<'_>, client: &Workload, decision: &OutboundDecision, found: &mut Collector) {
    let Some(name) = credential(&decision.mode) else { return };
    let namespace = &client.key.namespace;
    let named = || subject.set.secrets.iter().filter(|secret| secret.meta.name == name);
    if named().any(|secret| secret.meta.namespace == *namespace) {
        return;
    }
    let Some(at) = decision.reasons.iter().find_map(|reason| reason.at.as_ref()) else { return };
    let elsewhere = match named().next() {
        Some(other) => format!("; there is one in {} ({}), which they may not have", other.meta.namespace, other.at),
        None => String::new(),
    };
    let rule = decision.rule.as_deref().unwrap_or_default();
    let message = format!(
        "DestinationRule {rule} names the Secret {name:?}, and clients in {namespace} have no such Secret{elsewhere}"
    );
    found.add(&NO_CREDENTIAL, at, message);
}

fn credential(mode: &OutboundMode) -> Option<&str> {
    match mode {
        OutboundMode::Mutual { certificate: ClientCertificate::Credential(name), .. }
        | OutboundMode::Simple { trust: ServerTrust::Verified { roots: Roots::Credential(name), .. }, .. } => {
            Some(name)
        }
        _ => None,
    }
}
