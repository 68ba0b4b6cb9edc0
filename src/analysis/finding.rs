//! One thing to look at, and all of them.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::catalogue::Rule;
use crate::policy::Origin;

/// More findings of one code are counted and not listed: a rule for every host of a large mesh can contradict a thousand servers.
const MAX_OF_A_CODE: usize = 100;

/// How bad a thing is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something does not work, or is not served.
    #[default]
    Error,
    /// It works, but perhaps not as meant, or with less protection than there could be.
    Warning,
    /// Good to know.
    Note,
}

impl Severity {
    /// `error`, `warning` or `note`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as the operator named it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// `CS0101`: what `countersign explain` knows.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub fix: String,
}

impl Finding {
    pub(super) fn new(rule: &Rule, at: &Origin, message: impl Into<String>) -> Self {
        Self {
            severity: rule.severity,
            file: at.file.to_string(),
            line: at.line,
            code: rule.code.to_owned(),
            message: message.into(),
            fix: rule.fix.to_owned(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {} [{}]", self.file, self.line, self.message, self.code)
    }
}

/// All findings, the worst first, then by place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Report {
    /// At most 100 of each code.
    pub findings: Vec<Finding>,
    /// How many more of a code there are.
    pub left_out: BTreeMap<String, usize>,
}

impl Report {
    /// Both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.findings.extend(other.findings);
        self.findings.sort();
        for (code, count) in other.left_out {
            *self.left_out.entry(code).or_default() += count;
        }
        self
    }

    /// How many findings of this severity are listed.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// Gathers findings, each once.
#[derive(Debug, Default)]
pub(super) struct Collector {
    seen: HashSet<Finding>,
    of_code: BTreeMap<String, usize>,
    left_out: BTreeMap<String, usize>,
}

impl Collector {
    pub(super) fn push(&mut self, finding: Finding) {
        if self.seen.contains(&finding) {
            return;
        }
        let count = self.of_code.entry(finding.code.clone()).or_default();
        if *count == MAX_OF_A_CODE {
            *self.left_out.entry(finding.code).or_default() += 1;
            return;
        }
        *count += 1;
        self.seen.insert(finding);
    }

    pub(super) fn add(&mut self, rule: &Rule, at: &Origin, message: impl Into<String>) {
        self.push(Finding::new(rule, at, message));
    }

    pub(super) fn report(self) -> Report {
        let mut findings: Vec<Finding> = self.seen.into_iter().collect();
        findings.sort();
        Report { findings, left_out: self.left_out }
    }
}
