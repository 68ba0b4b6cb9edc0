//! AuthorizationPolicies against the ports that they hold for: what a rule asks for, and what can be known there.

use std::collections::BTreeSet;

use super::super::Subject;
use super::super::catalogue::{EVADED_IN_PLAINTEXT, HTTP_ON_BYTES, NEVER_IDENTIFIED, NOBODYS_PRINCIPAL};
use super::super::finding::Collector;
use crate::mesh::decide::{InboundMode, inbound};
use crate::mesh::{
    AccessAction, AccessRule, AuthorizationPolicy, Condition, Matcher, Object, Pattern, Protocol, Workload,
};

pub(in super::super) fn all(subject: Subject<'_>, found: &mut Collector) {
    for workload in subject.mesh.workloads().filter(|workload| workload.meshed && !workload.access().is_empty()) {
        for (port, protocol) in subject.mesh.served_ports(workload) {
            let mode = inbound(subject.mesh, workload, port).mode;
            let served = Served { workload, port, protocol, mode };
            for policy in workload.access() {
                for rule in policy.spec.rules.iter().filter(|rule| is_about(rule, port)) {
                    served.identities(policy, rule, found);
                    served.requests(policy, rule, found);
                }
            }
        }
    }
    nobodys_principals(subject, found);
}

/// A port of a workload.
struct Served<'a> {
    workload: &'a Workload,
    port: u16,
    protocol: Protocol,
    mode: InboundMode,
}

impl Served<'_> {
    /// CS0602 and CS0603.
    fn identities(&self, policy: &Object<AuthorizationPolicy>, rule: &AccessRule, found: &mut Collector) {
        // `notPrincipals` and the like do match whoever has no identity.
        let asks = |it: &&Condition| it.values.iter().any(Matcher::is_identity);
        let Some(condition) = conditions(rule).find(asks) else { return };
        let (name, Self { workload, port, mode, .. }) = (named(policy), self);
        let is_deny = policy.spec.action == AccessAction::Deny;
        let effect = if is_deny { "refuses nobody" } else { "lets nobody pass" };
        match mode {
            InboundMode::Disable => {
                let message = format!(
                    "{name} asks for identities on {} port {port}, which is DISABLE: the rule {effect} there",
                    workload.key
                );
                found.add(&NEVER_IDENTIFIED, &condition.at, message);
            }
            InboundMode::Permissive if is_deny => {
                let message = format!(
                    "{name} refuses identities on {} port {port}, which is PERMISSIVE: in plaintext they are not refused",
                    workload.key
                );
                found.add(&EVADED_IN_PLAINTEXT, &condition.at, message);
            }
            InboundMode::Permissive | InboundMode::Strict => {}
        }
    }

    /// CS0604.
    fn requests(&self, policy: &Object<AuthorizationPolicy>, rule: &AccessRule, found: &mut Collector) {
        let asks = |it: &&Condition| it.values.iter().chain(&it.not_values).any(Matcher::is_http);
        let Some(condition) = conditions(rule).find(asks).filter(|_| !self.protocol.may_be_http()) else { return };
        let effect = match policy.spec.action {
            AccessAction::Deny => "it is left out of the rule, which refuses more",
            _ => "the rule matches nothing",
        };
        let message = format!(
            "{} asks for something of requests on {} port {}, which carries bytes: {effect}",
            named(policy),
            self.workload.key,
            self.port
        );
        found.add(&HTTP_ON_BYTES, &condition.at, message);
    }
}

fn conditions(rule: &AccessRule) -> impl Iterator<Item = &Condition> {
    rule.from.iter().chain(&rule.to).flatten().chain(&rule.when)
}

/// Whether a rule can match on this port.
fn is_about(rule: &AccessRule, port: u16) -> bool {
    let takes = |condition: &Condition| {
        let is = |matcher: &Matcher| *matcher == Matcher::DestinationPort(port);
        let about_ports = |list: &[Matcher]| list.iter().any(|it| matches!(it, Matcher::DestinationPort(_)));
        let asked = !about_ports(&condition.values) || condition.values.iter().any(is);
        asked && !condition.not_values.iter().any(is)
    };
    let one_of = |lists: &[Vec<Condition>]| lists.is_empty() || lists.iter().any(|list| list.iter().all(takes));
    one_of(&rule.to) && rule.when.iter().all(takes)
}

/// CS0605: of exact principals only; a pattern may be for workloads to come.
fn nobodys_principals(subject: Subject<'_>, found: &mut Collector) {
    let settings = subject.mesh.settings();
    let known: BTreeSet<String> = subject
        .mesh
        .workloads()
        .flat_map(|workload| {
            let own = format!("spiffe://{}", settings.trust_domain);
            let path = workload.spiffe_id.strip_prefix(&own).unwrap_or_default().to_owned();
            // `cluster.local` is this mesh, whatever it is called.
            settings
                .trust_domains()
                .chain(["cluster.local"])
                .map(move |domain| format!("{domain}{path}"))
                .collect::<Vec<_>>()
        })
        .collect();
    for policy in &subject.set.authorization_policies {
        for condition in policy.spec.rules.iter().flat_map(conditions) {
            for matcher in condition.values.iter().chain(&condition.not_values) {
                let Matcher::Principal(Pattern::Exact(principal)) = matcher else { continue };
                let domain = principal.split('/').next().unwrap_or_default();
                let is_foreign =
                    settings.ca_certificates().iter().flat_map(|it| &it.trust_domains).any(|it| it == domain);
                if !known.contains(principal) && !is_foreign {
                    let message = format!("{} names {principal:?}, which is no workload's identity", named(policy));
                    found.add(&NOBODYS_PRINCIPAL, &condition.at, message);
                }
            }
        }
    }
}

fn named(policy: &Object<AuthorizationPolicy>) -> String {
    format!("AuthorizationPolicy {}/{}", policy.meta.namespace, policy.meta.name)
}
