//! References to other objects, by group, kind and name (Gateway API's PolicyTargetReference).

use serde::Deserialize;

use super::super::report::Report;
use super::super::{Located, host, nearest};

#[derive(Deserialize)]
pub(super) struct RawReference {
    #[serde(default)]
    pub(super) group: String,
    pub(super) kind: Located<String>,
    pub(super) name: Located<String>,
    pub(super) namespace: Option<Located<String>>,
}

/// The kinds of Linkerd's own group.
pub(super) const LINKERD: &str = "policy.linkerd.io";

impl RawReference {
    /// Whether it is to this kind of this group. Kubernetes' own group is written as `core`, or not at all.
    pub(super) fn is_to(&self, group: &str, kind: &str) -> bool {
        let written = if self.group == "core" { "" } else { self.group.as_str() };
        written.eq_ignore_ascii_case(group) && self.kind.value.eq_ignore_ascii_case(kind)
    }

    /// Reports that no such kind can be meant here. `known` as `group kind`.
    pub(super) fn refuse(&self, known: &[&str], field: &str, report: &Report) {
        let shown: String = self.canonical().chars().take(80).collect();
        let help = match nearest::nearest(&shown, known) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("known here: {}", known.join(", ")),
        };
        report.error_with_help(&self.kind.at, field, format!("{shown:?} cannot be meant here"), &help);
    }

    /// `kind.group`, as Kubernetes writes it.
    pub(super) fn canonical(&self) -> String {
        match self.group.as_str() {
            "" | "core" => self.kind.value.clone(),
            group => format!("{}.{group}", self.kind.value),
        }
    }

    /// Checks its names.
    pub(super) fn check(&self, field: &str, report: &Report) {
        if !host::is_object_name(&self.name.value) {
            report.error(&self.name.at, &format!("{field}.name"), "not a valid name");
        }
        if let Some(namespace) = self.namespace.as_ref().filter(|it| !host::is_namespace(&it.value)) {
            report.error(&namespace.at, &format!("{field}.namespace"), "not a valid namespace");
        }
    }
}
