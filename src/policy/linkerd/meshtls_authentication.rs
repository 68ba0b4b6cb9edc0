//! Linkerd `MeshTLSAuthentication` (`policy.linkerd.io/v1alpha1`): a set of identities.

use serde::Deserialize;

use super::super::report::Report;
use super::super::{Located, Origin};
use super::identity::{self, Identity};
use super::reference::RawReference;

/// The spec of a `MeshTLSAuthentication`: a client has one of these identities.
#[derive(Clone, Debug, Default)]
pub struct MeshTlsAuthentication {
    /// `identities` and `identityRefs`.
    pub identities: Vec<Located<Identity>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in super::super) struct Raw {
    identities: Vec<Located<String>>,
    identity_refs: Vec<RawReference>,
}

/// Checks an authentication as Linkerd's webhook does.
pub(in super::super) fn check(raw: Raw, at: &Origin, report: &Report) -> MeshTlsAuthentication {
    if raw.identities.is_empty() && raw.identity_refs.is_empty() {
        let help = "write identities, such as \"*\", or identityRefs";
        report.error_with_help(at, "spec", "it names nobody", help);
    }
    let mut identities = Vec::new();
    for (index, written) in raw.identities.iter().enumerate() {
        let read = identity::identity(written, &format!("spec.identities[{index}]"), report);
        identities.extend(read.map(|it| Located::new(it, written.at.clone())));
    }
    for (index, reference) in raw.identity_refs.into_iter().enumerate() {
        let field = format!("spec.identityRefs[{index}]");
        reference.check(&field, report);
        let at = reference.kind.at.clone();
        if reference.is_to("", "ServiceAccount") {
            let namespace = reference.namespace.map(|it| it.value);
            let account = Identity::ServiceAccount { namespace, name: reference.name.value };
            identities.push(Located::new(account, at));
        } else if reference.is_to("", "Namespace") {
            if let Some(namespace) = &reference.namespace {
                report.error(&namespace.at, &format!("{field}.namespace"), "a Namespace is in no namespace");
            }
            identities.push(Located::new(Identity::Namespace(reference.name.value), at));
        } else {
            reference.refuse(&["ServiceAccount", "Namespace"], &format!("{field}.kind"), report);
        }
    }
    MeshTlsAuthentication { identities }
}
