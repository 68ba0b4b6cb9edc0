//! TLS to servers outside the mesh's own PKI: how they are verified.

use super::super::Subject;
use super::super::catalogue::{NO_SERVER_NAMES, SYSTEM_ROOTS};
use super::super::finding::Collector;
use crate::policy::{ClientTls, ClientTlsMode, DestinationRule, Located, Object, TrafficPolicy};

pub(in super::super) fn all(subject: Subject<'_>, found: &mut Collector) {
    for rule in &subject.set.destination_rules {
        let of_subsets = rule.spec.subsets.iter().filter_map(|subset| subset.traffic_policy.as_ref());
        let all = rule.spec.traffic_policy.iter().chain(of_subsets);
        let tls = all.flat_map(|TrafficPolicy { tls, port_tls }| tls.iter().chain(port_tls.values().flatten()));
        let verified = |tls: &&Located<ClientTls>| {
            let outside = matches!(tls.value.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual);
            outside && !tls.value.insecure_skip_verify
        };
        for tls in tls.filter(verified) {
            system_roots(rule, tls, found);
            no_server_names(subject, rule, tls, found);
        }
    }
}

/// CS0302.
fn system_roots(rule: &Object<DestinationRule>, tls: &Located<ClientTls>, found: &mut Collector) {
    if tls.value.ca_certificates.is_none() && tls.value.credential_name.is_none() {
        let message = format!("{} names no authority for {}", named(rule), rule.spec.host.value);
        found.add(&SYSTEM_ROOTS, &tls.at, message);
    }
}

/// CS0303.
fn no_server_names(
    subject: Subject<'_>,
    rule: &Object<DestinationRule>,
    tls: &Located<ClientTls>,
    found: &mut Collector,
) {
    let of_entry = subject.mesh.governed_by(rule).iter().any(|service| !service.subject_alt_names.is_empty());
    if tls.value.subject_alt_names.is_empty() && !of_entry {
        let name = tls.value.sni.as_ref().unwrap_or(&rule.spec.host.value);
        let message = format!("{} has no subjectAltNames: the server must carry {name}", named(rule));
        found.add(&NO_SERVER_NAMES, &tls.at, message);
    }
}

fn named(rule: &Object<DestinationRule>) -> String {
    format!("DestinationRule {}/{}", rule.meta.namespace, rule.meta.name)
}
