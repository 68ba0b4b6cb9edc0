//! Which AuthorizationPolicies hold for a workload.

use std::sync::Arc;

use super::build::Builder;
use super::index::oldest_first;
use super::population::Population;
use super::workload::{Governance, Registered};
use super::{Object, Topic, Warning};
use crate::policy::{AccessAction, AuthorizationPolicy};

/// Istio's annotation for a policy that is only to be tried.
const DRY_RUN: &str = "istio.io/dry-run";

impl Builder<'_> {
    /// Gives each workload its policies: those of the root namespace and of its own that select it, the oldest first. Unlike a
    /// PeerAuthentication's, a selector in the root namespace selects in every namespace.
    pub(super) fn authorize(&mut self, population: &Population, governance: &mut [Governance]) {
        let mut policies: Vec<_> = self.set.authorization_policies.to_vec();
        oldest_first(&mut policies);
        let root = self.settings.root_namespace.clone();
        policies.sort_by_key(|policy| policy.meta.namespace != root);
        policies.retain(|policy| self.is_enforced(policy));
        let all = &population.all;
        for policy in policies {
            let selector = policy.spec.selector.clone().unwrap_or_default();
            let selected: Vec<usize> = match policy.meta.namespace == root {
                true => (0..all.len()).filter(|&it| selector.matches(&all[it].labels)).collect(),
                false => population.index.select(all, &policy.meta.namespace, &selector).collect(),
            };
            self.warn_of_selection(&policy, all, &selected);
            for position in selected {
                governance[position].access.push(Arc::clone(&policy));
            }
        }
    }

    fn is_enforced(&mut self, policy: &Object<AuthorizationPolicy>) -> bool {
        let is_tried = policy.meta.annotations.get(DRY_RUN).is_some_and(|value| value == "true");
        if is_tried {
            let message = format!(
                "AuthorizationPolicy {}/{} has the annotation {DRY_RUN}: it refuses nobody, and nothing is counted",
                policy.meta.namespace, policy.meta.name
            );
            self.warnings.push(Warning::new(Topic::NoEffect, &policy.at, message));
        }
        !is_tried && matches!(policy.spec.action, AccessAction::Allow | AccessAction::Deny)
    }

    fn warn_of_selection(
        &mut self,
        policy: &Object<AuthorizationPolicy>,
        workloads: &[Arc<Registered>],
        selected: &[usize],
    ) {
        let name = format!("AuthorizationPolicy {}/{}", policy.meta.namespace, policy.meta.name);
        if selected.is_empty() && policy.spec.selector.is_some() {
            let message = format!("{name} selects no workload, so it protects nothing");
            self.warnings.push(Warning::new(Topic::SelectsNothing, &policy.at, message));
        }
        let mut unmeshed = selected.iter().map(|&it| &workloads[it]).filter(|workload| !workload.meshed);
        if let Some(first) = unmeshed.next() {
            let more = unmeshed.count();
            let others = if more == 0 { String::new() } else { format!(" and {more} more") };
            let message = format!("{name} does not hold for {}{others}: there is no proxy to enforce it", first.key);
            self.warnings.push(Warning::new(Topic::Unenforced, &policy.at, message));
        }
    }
}
