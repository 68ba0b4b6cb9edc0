//! What is wrong, weak or surprising in a policy set, found before it is served.
//!
//! [`analyze`] looks at one set and gives a [`Report`]: each [`Finding`] has a code that [`explain`] knows, a place, and what to do.
//! [`ways`] and `describe` answer what an operator asks about single workloads and services, with the chain of reasons, and [`diff`]
//! says what another set would change. Everything is a pure function of the set, the mesh made from it, and the time.

mod catalogue;
mod clients;
mod describe;
mod diff;
mod finding;
mod rules;
mod sarif;
mod ways;
#[cfg(test)]
mod tests;

use std::time::Duration;

use time::OffsetDateTime;

use crate::mesh::{self, Mesh};
use crate::policy::{self, PolicyError, PolicySet};

pub use catalogue::{RULES, Rule, explain};
pub use describe::{
    EndpointDescription, PortDescription, ServiceDescription, WorkloadDescription, describe_service, describe_workload,
};
pub use diff::{Change, Ends, diff};
pub use finding::{Finding, Report, Severity};
pub use sarif::sarif;
pub use ways::{Filter, Status, Way, ways};

use finding::Collector;

/// A policy set, what was made of it, and what its making has said.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The set.
    pub set: &'a PolicySet,
    /// Its model.
    pub mesh: &'a Mesh,
    /// What the parser warned of.
    pub parsed: &'a [policy::Warning],
    /// What the model's making warned of.
    pub built: &'a [mesh::Warning],
}

/// From when on something counts as too long or too soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a PERMISSIVE policy may stand: 30 days.
    pub permissive: Duration,
    /// How long before its end a certificate is reported: 14 days, at the earliest in the last third of its life.
    pub expiry: Duration,
    /// How long the certificates live that the server gives to workloads, where there is a server.
    pub workload_ttl: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        const DAY: u64 = 24 * 3600;
        Self { permissive: Duration::from_secs(30 * DAY), expiry: Duration::from_secs(14 * DAY), workload_ttl: None }
    }
}

/// Everything there is to say about a set.
pub fn analyze(subject: Subject<'_>, limits: &Limits, now: OffsetDateTime) -> Report {
    let mut found = Collector::default();
    rules::said::parser(subject.parsed, &mut found);
    rules::said::mesh(subject.built, &mut found);
    rules::pairs::all(subject, now, &mut found);
    rules::references::all(subject, &mut found);
    rules::gateways::all(subject, now, &mut found);
    rules::protection::all(subject, limits, now, &mut found);
    rules::origination::all(subject, &mut found);
    rules::authorization::all(subject, &mut found);
    rules::linkerd::all(subject, &mut found);
    rules::certificates::all(subject, limits, now, &mut found);
    rules::issuers::all(subject, now, &mut found);
    found.report()
}

/// A set that cannot be served at all.
pub fn refused(errors: &[PolicyError]) -> Report {
    let mut found = Collector::default();
    for error in errors {
        let field = if error.field.is_empty() { String::new() } else { format!("{}: ", error.field) };
        let finding = Finding::new(&catalogue::REFUSED, &error.at, format!("{field}{}", error.message));
        found.push(match &error.help {
            Some(help) => Finding { fix: help.clone(), ..finding },
            None => finding,
        });
    }
    found.report()
}
