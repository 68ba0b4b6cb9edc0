//! What Linkerd's policy asks of a port, in modes: only authenticated clients, or anybody.

use super::super::linkerd::{Grant, Said as Written};
use super::super::{Origin, Workload};
use super::{InboundMode, Reason};

/// What is said of a port, and by what.
#[derive(Clone, Copy)]
pub(super) struct Said<'a>(Written<'a>);

/// What Linkerd says of a port of `workload`; of those of which nothing is said by number without one.
pub(super) fn said(workload: &Workload, port: Option<u16>) -> Option<Said<'_>> {
    workload.linkerd().said(port).map(Said)
}

/// Whom Linkerd's policy lets in at a port, or without one at those of which nothing is said by number. `None`: it says nothing, or leads
/// connections past the proxy. An empty list lets nobody in.
pub fn admission(workload: &Workload, port: Option<u16>) -> Option<Vec<Grant>> {
    match workload.linkerd().said(port)? {
        Written::Skipped(_) => None,
        Written::Server(served) => Some(served.grants.clone()),
        Written::Default(policy, at) => {
            Some(Grant::of_default(policy, &format!("default-inbound-policy {policy}"), at).into_iter().collect())
        }
    }
}

impl<'a> Said<'a> {
    /// A port where plaintext lets nobody in does not take any: all its clients' authorizations ask for identities, or there are none.
    pub(super) fn mode(self) -> InboundMode {
        let of = |takes_plaintext| if takes_plaintext { InboundMode::Permissive } else { InboundMode::Strict };
        match self.0 {
            Written::Skipped(_) => InboundMode::Disable,
            Written::Server(served) => of(served.grants.iter().any(Grant::is_unauthenticated)),
            Written::Default(policy, at) => {
                of(Grant::of_default(policy, "", at).is_some_and(|grant| grant.is_unauthenticated()))
            }
        }
    }

    pub(super) fn at(self) -> &'a Origin {
        match self.0 {
            Written::Skipped(at) | Written::Default(_, at) => at,
            Written::Server(served) => &served.server.at,
        }
    }

    pub(super) fn name(self) -> String {
        match self.0 {
            Written::Skipped(_) => "skip-inbound-ports".to_owned(),
            Written::Server(served) => {
                format!("Server {}/{}", served.server.meta.namespace, served.server.meta.name)
            }
            Written::Default(policy, _) => format!("default-inbound-policy {policy}"),
        }
    }

    pub(super) fn is_staged(self) -> bool {
        match self.0 {
            Written::Server(served) => served.server.meta.is_staged(),
            Written::Skipped(_) | Written::Default(..) => true,
        }
    }

    pub(super) fn reason(self, decides: bool) -> Reason {
        let mode = self.mode();
        let why = match self.0 {
            Written::Skipped(_) => "its connections go past the proxy".to_owned(),
            Written::Server(served) if served.grants.is_empty() => {
                "no authorization is for it, so that nobody is let in".to_owned()
            }
            Written::Server(served) => {
                let grants = served.grants.iter().map(|grant| format!("{} ({})", grant.name, grant.at));
                format!("let in by {}", grants.collect::<Vec<_>>().join(", "))
            }
            Written::Default(..) => "no Server selects it".to_owned(),
        };
        let counts = if decides { "" } else { ", which is not stricter and does not count" };
        Reason::at(self.at(), format!("Linkerd's {} means {mode}: {why}{counts}", self.name()))
    }
}
