//! Where less is protected than should be.

use std::time::Duration;

use time::OffsetDateTime;

use super::super::catalogue::{LONG_LIVED, PERMISSIVE_FOR_LONG, PLAINTEXT_IN_PRODUCTION};
use super::super::finding::Collector;
use super::super::{Limits, Subject};
use crate::policy::{ClientTlsMode, Located, MtlsMode, Object, Origin, PeerAuthentication, TrafficPolicy};

/// The life of a workload certificate up to which nothing is said.
const LONG: Duration = Duration::from_secs(24 * 3600);

/// The labels by which operators say what a namespace is for.
const STAGE_LABELS: [&str; 4] = ["env", "environment", "stage", "tier"];

pub(in super::super) fn all(subject: Subject<'_>, limits: &Limits, now: OffsetDateTime, found: &mut Collector) {
    long_lived(limits, found);
    servers_in_production(subject, found);
    clients_in_production(subject, found);
    for policy in &subject.set.peer_authentications {
        permissive_for_long(policy, limits, now, found);
    }
}

/// CS0404: a server's own setting, so it has no line of a policy file.
fn long_lived(limits: &Limits, found: &mut Collector) {
    if let Some(ttl) = limits.workload_ttl.filter(|ttl| *ttl > LONG) {
        let message = format!("workload certificates live for {} hours", ttl.as_secs() / 3600);
        found.add(&LONG_LIVED, &Origin::new("certificates.workloadTtl", 1, 1), message);
    }
}

/// CS0401, the servers' side.
fn servers_in_production(subject: Subject<'_>, found: &mut Collector) {
    for policy in &subject.set.peer_authentications {
        let Some(why) = production(subject, &policy.meta.namespace) else { continue };
        for (scope, mode) in modes(policy).filter(|(_, mode)| mode.value == MtlsMode::Disable) {
            let message = format!(
                "PeerAuthentication {}/{} is DISABLE for {scope} in a production namespace ({why})",
                policy.meta.namespace, policy.meta.name
            );
            found.add(&PLAINTEXT_IN_PRODUCTION, &mode.at, message);
        }
    }
}

/// CS0401, the clients' side.
fn clients_in_production(subject: Subject<'_>, found: &mut Collector) {
    for rule in &subject.set.destination_rules {
        let Some(why) = production(subject, &rule.meta.namespace) else { continue };
        let of_subsets = rule.spec.subsets.iter().filter_map(|subset| subset.traffic_policy.as_ref());
        let all = rule.spec.traffic_policy.iter().chain(of_subsets);
        let tls = all.flat_map(|TrafficPolicy { tls, port_tls }| tls.iter().chain(port_tls.values().flatten()));
        for tls in tls.filter(|tls| tls.value.mode == ClientTlsMode::Disable) {
            let message = format!(
                "DestinationRule {}/{} is DISABLE for {} in a production namespace ({why})",
                rule.meta.namespace, rule.meta.name, rule.spec.host.value
            );
            found.add(&PLAINTEXT_IN_PRODUCTION, &tls.at, message);
        }
    }
}

/// Why a namespace counts as production, if it does.
fn production(subject: Subject<'_>, namespace: &str) -> Option<String> {
    let is_production = |word: &str| matches!(word.to_ascii_lowercase().as_str(), "production" | "prod");
    let object = subject.set.namespaces.iter().find(|it| it.meta.name == namespace);
    let labelled = object.and_then(|object| {
        let stages = STAGE_LABELS.iter().filter_map(|label| Some((label, object.meta.labels.get(*label)?)));
        stages.into_iter().next()
    });
    match labelled {
        // A label that says something else is believed before the name.
        Some((label, value)) => is_production(value).then(|| format!("label {label}: {value}")),
        None => namespace.split('-').any(is_production).then(|| format!("by its name, {namespace}")),
    }
}

/// CS0402.
fn permissive_for_long(
    policy: &Object<PeerAuthentication>,
    limits: &Limits,
    now: OffsetDateTime,
    found: &mut Collector,
) {
    let Some(created) = policy.meta.creation_timestamp else { return };
    let age = now - created;
    if age <= limits.permissive {
        return;
    }
    for (scope, mode) in modes(policy).filter(|(_, mode)| mode.value == MtlsMode::Permissive) {
        let message = format!(
            "PeerAuthentication {}/{} has been PERMISSIVE for {scope} for {} days",
            policy.meta.namespace,
            policy.meta.name,
            age.whole_days()
        );
        found.add(&PERMISSIVE_FOR_LONG, &mode.at, message);
    }
}

/// Every mode that a policy sets, and for what.
fn modes(policy: &Object<PeerAuthentication>) -> impl Iterator<Item = (String, &Located<MtlsMode>)> {
    let whole = match policy.spec.selector {
        Some(_) => "the workloads it selects",
        None => "the namespace",
    };
    let whole = policy.spec.mode.iter().map(move |mode| (whole.to_owned(), mode));
    whole.chain(policy.spec.port_modes.iter().map(|(port, mode)| (format!("port {port}"), mode)))
}
