//! What the parser and the model have said already, under its code.

use super::super::catalogue::{
    CONTRADICTION, DIALECTS, DISAGREEMENT, DROPPED_TLS, ELSEWHERE, FOLLOWED, FOREIGN_IDENTITY, IGNORED,
    INVALID_IDENTITY, LEADS_NOWHERE, MISPLACED, NEEDS_RESTART, NO_SUCH_PORT, NO_TLS_MODE, NOBODY_ADMITTED,
    PORT_DROPS_TLS, REGISTERS_NOBODY, Rule, SELECTS_NOTHING, SHADOWED, SHARED_IDENTITY, SHORT_CA, SKIPS_VERIFICATION,
    TWO_SERVERS, UNENFORCED, UNPROTECTED, UNREACHABLE, UNSERVED,
};
use super::super::finding::Collector;
use crate::{mesh, policy};

pub(in super::super) fn parser(warnings: &[policy::Warning], found: &mut Collector) {
    for warning in warnings {
        let rule = match warning.topic {
            policy::Topic::Unserved => &UNSERVED,
            policy::Topic::Elsewhere => &ELSEWHERE,
            policy::Topic::NoTlsMode => &NO_TLS_MODE,
            policy::Topic::PortDropsTls => &PORT_DROPS_TLS,
            policy::Topic::SkipsVerification => &SKIPS_VERIFICATION,
            policy::Topic::ShortCa => &SHORT_CA,
        };
        found.add(rule, &warning.at, &warning.message);
    }
}

pub(in super::super) fn mesh(warnings: &[mesh::Warning], found: &mut Collector) {
    for warning in warnings {
        // The parser has said it, once for all clients.
        if let Some(rule) = rule_of(warning.topic) {
            found.add(rule, &warning.at, &warning.message);
        }
    }
}

fn rule_of(topic: mesh::Topic) -> Option<&'static Rule> {
    Some(match topic {
        mesh::Topic::Contradiction => &CONTRADICTION,
        mesh::Topic::Followed => &FOLLOWED,
        mesh::Topic::DroppedTls => &DROPPED_TLS,
        mesh::Topic::Unverified => return None,
        mesh::Topic::Shadowed => &SHADOWED,
        mesh::Topic::Ignored => &IGNORED,
        mesh::Topic::NoEffect => &UNSERVED,
        mesh::Topic::SelectsNothing => &SELECTS_NOTHING,
        mesh::Topic::Unprotected => &UNPROTECTED,
        mesh::Topic::Unreachable => &UNREACHABLE,
        mesh::Topic::Unenforced => &UNENFORCED,
        mesh::Topic::Disagreement => &DISAGREEMENT,
        mesh::Topic::Dialects => &DIALECTS,
        mesh::Topic::TwoServers => &TWO_SERVERS,
        mesh::Topic::NobodyAdmitted => &NOBODY_ADMITTED,
        mesh::Topic::Misplaced => &MISPLACED,
        mesh::Topic::LeadsNowhere => &LEADS_NOWHERE,
        mesh::Topic::NoSuchPort => &NO_SUCH_PORT,
        mesh::Topic::InvalidIdentity => &INVALID_IDENTITY,
        mesh::Topic::SharedIdentity => &SHARED_IDENTITY,
        mesh::Topic::RegistersNobody => &REGISTERS_NOBODY,
        mesh::Topic::ForeignIdentity => &FOREIGN_IDENTITY,
        mesh::Topic::NeedsRestart => &NEEDS_RESTART,
    })
}
