//! Kubernetes' label selector, with `matchExpressions` (k8s.io/apimachinery, LabelSelector).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::super::fields::{Entries, selector_labels};
use super::super::report::Report;
use super::super::{LabelSelector, Located};

/// Every label and every expression must hold. An empty selector selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// `matchLabels`.
    pub labels: LabelSelector,
    /// `matchExpressions`.
    pub expressions: Vec<Expression>,
}

/// One of `matchExpressions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// The label.
    pub key: String,
    /// What is asked of it.
    pub operator: Operator,
    /// `values`: of `In` and `NotIn` at least one, of the others none.
    pub values: BTreeSet<String>,
}

/// `operator`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Operator {
    /// The label has one of the values.
    In,
    /// It has none of them, or there is no such label.
    NotIn,
    /// There is such a label.
    Exists,
    /// There is none.
    DoesNotExist,
}

impl Selector {
    /// Whether `labels` are selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels.matches(labels) && self.expressions.iter().all(|it| it.matches(labels))
    }
}

impl Expression {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RawSelector {
    match_labels: Entries<Located<String>>,
    match_expressions: Vec<RawExpression>,
}

#[derive(Deserialize)]
struct RawExpression {
    key: Located<String>,
    operator: Operator,
    #[serde(default)]
    values: Vec<String>,
}

/// Checks a selector as the Kubernetes API server does.
pub(super) fn check(raw: RawSelector, field: &str, report: &Report) -> Selector {
    let labels = selector_labels(raw.match_labels, &format!("{field}.matchLabels"), report);
    let expressions = raw.match_expressions.into_iter().enumerate().map(|(index, raw)| {
        let field = format!("{field}.matchExpressions[{index}]");
        let takes_values = matches!(raw.operator, Operator::In | Operator::NotIn);
        if raw.key.value.is_empty() {
            report.error(&raw.key.at, &field, "a label without a name");
        }
        if takes_values && raw.values.is_empty() {
            report.error(&raw.key.at, &field, "In and NotIn compare with values, and there are none");
        }
        if !takes_values && !raw.values.is_empty() {
            report.error(&raw.key.at, &field, "Exists and DoesNotExist take no values");
        }
        Expression { key: raw.key.value, operator: raw.operator, values: raw.values.into_iter().collect() }
    });
    Selector { labels, expressions: expressions.collect() }
}
