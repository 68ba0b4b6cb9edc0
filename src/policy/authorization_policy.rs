//! Istio `AuthorizationPolicy` (`security.istio.io` `v1`, `v1beta1`): who may connect to a workload, and what they may ask of it.
//!
//! Checked as Istio's validation does (istio/istio, pkg/config/validation). What this server could not enforce is an error and never left out
//! silently: a rule that is missing lets somebody in, or keeps somebody out.

use serde::Deserialize;

use super::access_condition::{Condition, RawCondition, RawOperation, RawSource, Reader};
use super::fields::{Entries, optional_selector};
use super::report::Report;
use super::{LabelSelector, Located, Origin};

/// `action`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AccessAction {
    /// What a rule matches may pass, and nothing else that no other ALLOW policy lets pass.
    #[default]
    Allow,
    /// What a rule matches is refused, whatever ALLOW policies say.
    Deny,
    /// Nothing: Istio only writes down that a rule matched.
    Audit,
    /// Somebody else is asked. Refused while parsing.
    Custom,
}

/// The spec of an `AuthorizationPolicy`.
#[derive(Clone, Debug, Default)]
pub struct AuthorizationPolicy {
    /// `selector.matchLabels`; `None`: every workload of the namespace (of the mesh, in the root namespace).
    pub selector: Option<LabelSelector>,
    /// `action`.
    pub action: AccessAction,
    /// `rules`. An ALLOW policy without any lets nobody pass.
    pub rules: Vec<AccessRule>,
}

/// One of `rules`. It matches where one of `from`, one of `to` and all of `when` do; an empty list matches everything.
#[derive(Clone, Debug)]
pub struct AccessRule {
    /// `from[].source`: every condition of one must hold.
    pub from: Vec<Vec<Condition>>,
    /// `to[].operation`: every condition of one must hold.
    pub to: Vec<Vec<Condition>>,
    /// `when`: all must hold.
    pub when: Vec<Condition>,
    /// Where it begins.
    pub at: Origin,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Raw {
    selector: Option<RawSelector>,
    target_ref: Option<Located<serde::de::IgnoredAny>>,
    target_refs: Option<Located<serde::de::IgnoredAny>>,
    action: Option<Located<AccessAction>>,
    provider: Option<Located<serde::de::IgnoredAny>>,
    rules: Vec<Located<RawRule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSelector {
    match_labels: Option<Located<Entries<Located<String>>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawRule {
    from: Option<Located<Vec<Located<RawFrom>>>>,
    to: Option<Located<Vec<Located<RawTo>>>>,
    when: Vec<Located<RawCondition>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawFrom {
    source: RawSource,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawTo {
    operation: RawOperation,
}

/// Checks a policy.
pub(super) fn check(raw: Raw, at: &Origin, report: &Report) -> AuthorizationPolicy {
    if let Some(target) = raw.target_ref.as_ref().or(raw.target_refs.as_ref()) {
        let help = "select sidecars by their labels, with selector";
        let message = "targetRefs select waypoints and gateways of the Gateway API, which this server does not serve";
        report.error_with_help(&target.at, "spec.targetRefs", message, help);
    }
    let (action, action_at) = raw.action.map_or((AccessAction::Allow, at.clone()), |it| (it.value, it.at));
    match action {
        AccessAction::Custom => {
            let help = "use ALLOW and DENY, or let the application ask";
            let message =
                "CUSTOM asks an external authorizer, which this server does not serve: without it everybody would pass";
            report.error_with_help(&action_at, "spec.action", message, help);
        }
        AccessAction::Audit => {
            report.warn(
                &action_at,
                "spec.action AUDIT has no effect here: it refuses nothing, and nothing is written down",
            );
        }
        AccessAction::Deny if raw.rules.is_empty() => {
            let help = "an empty rule, `rules: [{}]`, matches everything";
            report.error_with_help(&action_at, "spec.rules", "a DENY policy without rules refuses nobody", help);
        }
        AccessAction::Deny | AccessAction::Allow => {}
    }
    if let Some(provider) = raw.provider.filter(|_| action != AccessAction::Custom) {
        report.error(&provider.at, "spec.provider", "a provider is for action CUSTOM only");
    }
    let labels = raw.selector.and_then(|selector| selector.match_labels);
    let rules = raw.rules.into_iter().enumerate();
    AuthorizationPolicy {
        selector: optional_selector(labels, "spec.selector.matchLabels", report),
        action,
        rules: rules.map(|(index, rule)| access_rule(rule, &format!("spec.rules[{index}]"), report)).collect(),
    }
}

fn access_rule(raw: Located<RawRule>, field: &str, report: &Report) -> AccessRule {
    let Located { value: RawRule { from, to, when }, at } = raw;
    let empty = |list: &str, at: &Origin| {
        let help = "leave the field out to match everything";
        report.error_with_help(at, &format!("{field}.{list}"), "the list is empty", help);
    };
    let mut sources = Vec::new();
    if let Some(from) = from {
        if from.value.is_empty() {
            empty("from", &from.at);
        }
        for (index, it) in from.value.into_iter().enumerate() {
            let field = format!("{field}.from[{index}].source");
            sources.push(Reader { at: &it.at, field: &field, report }.source(it.value.source));
        }
    }
    let mut operations = Vec::new();
    if let Some(to) = to {
        if to.value.is_empty() {
            empty("to", &to.at);
        }
        for (index, it) in to.value.into_iter().enumerate() {
            let field = format!("{field}.to[{index}].operation");
            operations.push(Reader { at: &it.at, field: &field, report }.operation(it.value.operation));
        }
    }
    let when = when.into_iter().enumerate().filter_map(|(index, it)| {
        let field = format!("{field}.when[{index}]");
        Reader { at: &it.at, field: &field, report }.when(it.value)
    });
    AccessRule { from: sources, to: operations, when: when.collect(), at }
}
