//! Linkerd `AuthorizationPolicy` (`policy.linkerd.io/v1alpha1`): what it takes to connect to a Server. Istio has a kind of the same name.

use serde::Deserialize;

use super::super::report::Report;
use super::super::{Located, Metadata};
use super::reference::{LINKERD, RawReference};

/// The spec of an `AuthorizationPolicy` of Linkerd's.
#[derive(Clone, Debug)]
pub struct AuthorizationPolicy {
    /// `targetRef`.
    pub target: Target,
    /// `requiredAuthenticationRefs`: all of them. None: everybody may connect.
    pub required: Vec<Located<Authentication>>,
}

/// `targetRef`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A Server of the policy's namespace.
    Server(Located<String>),
    /// Every Server of the policy's namespace.
    Namespace,
}

/// One of `requiredAuthenticationRefs`. A namespace of `None` is the policy's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// A MeshTLSAuthentication.
    MeshTls {
        /// Its namespace.
        namespace: Option<String>,
        /// Its name.
        name: String,
    },
    /// A NetworkAuthentication.
    Network {
        /// Its namespace.
        namespace: Option<String>,
        /// Its name.
        name: String,
    },
    /// This service account.
    ServiceAccount {
        /// Its namespace.
        namespace: Option<String>,
        /// Its name.
        name: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Raw {
    target_ref: RawReference,
    required_authentication_refs: Located<Vec<RawReference>>,
}

const TARGETS: &[&str] = &["Server.policy.linkerd.io", "Namespace"];
const AUTHENTICATIONS: &[&str] =
    &["MeshTLSAuthentication.policy.linkerd.io", "NetworkAuthentication.policy.linkerd.io", "ServiceAccount"];

/// Checks a policy as Linkerd's webhook does.
pub(in super::super) fn check(raw: Raw, meta: &Metadata, report: &Report) -> AuthorizationPolicy {
    let target = target(&raw.target_ref, meta, report);
    let field = "spec.requiredAuthenticationRefs";
    let mut required = Vec::new();
    for (index, reference) in raw.required_authentication_refs.value.into_iter().enumerate() {
        let field = format!("{field}[{index}]");
        reference.check(&field, report);
        let namespace = reference.namespace.as_ref().map(|it| it.value.clone());
        let (name, at) = (reference.name.value.clone(), reference.kind.at.clone());
        let authentication = if reference.is_to(LINKERD, "MeshTLSAuthentication") {
            Authentication::MeshTls { namespace, name }
        } else if reference.is_to(LINKERD, "NetworkAuthentication") {
            Authentication::Network { namespace, name }
        } else if reference.is_to("", "ServiceAccount") {
            Authentication::ServiceAccount { namespace, name }
        } else {
            reference.refuse(AUTHENTICATIONS, &format!("{field}.kind"), report);
            continue;
        };
        required.push(Located::new(authentication, at));
    }
    let is_network = |it: &&Located<Authentication>| matches!(it.value, Authentication::Network { .. });
    let (networks, identities): (Vec<_>, Vec<_>) = required.iter().partition(is_network);
    if let Some(second) = identities.get(1) {
        let help = "one MeshTLSAuthentication may name several identities";
        let message = "a second MeshTLSAuthentication or ServiceAccount: a client has one identity";
        report.error_with_help(&second.at, field, message, help);
    }
    if let Some(second) = networks.get(1) {
        let help = "one NetworkAuthentication may name several networks";
        report.error_with_help(&second.at, field, "a second NetworkAuthentication", help);
    }
    AuthorizationPolicy { target, required }
}

fn target(reference: &RawReference, meta: &Metadata, report: &Report) -> Target {
    let field = "spec.targetRef";
    reference.check(field, report);
    if let Some(other) = reference.namespace.as_ref().filter(|it| it.value != meta.namespace) {
        let help = "put the policy into the namespace of what it is for";
        report.error_with_help(&other.at, &format!("{field}.namespace"), "another namespace", help);
    }
    if reference.is_to("", "Namespace") {
        if reference.name.value != meta.namespace {
            let help = format!("a policy is for its own namespace, {}", meta.namespace);
            report.error_with_help(&reference.name.at, &format!("{field}.name"), "another namespace", &help);
        }
        return Target::Namespace;
    }
    let is_route = ["HTTPRoute", "GRPCRoute"]
        .iter()
        .any(|kind| [LINKERD, "gateway.networking.k8s.io"].iter().any(|group| reference.is_to(group, kind)));
    if is_route {
        let message = format!(
            "policies for a route are not served: without its routes the Server would let in too many or too few ({})",
            reference.canonical()
        );
        let help = "make the Server the target, or write Istio's AuthorizationPolicy with paths and methods";
        report.error_with_help(&reference.kind.at, &format!("{field}.kind"), message, help);
    } else if !reference.is_to(LINKERD, "Server") {
        reference.refuse(TARGETS, &format!("{field}.kind"), report);
    }
    Target::Server(reference.name.clone())
}
