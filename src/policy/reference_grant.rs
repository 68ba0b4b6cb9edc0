//! `ReferenceGrant` of the Gateway API (`gateway.networking.k8s.io` `v1`, `v1beta1`): what other namespaces may refer to.

use serde::Deserialize;

use super::report::Report;
use super::{Located, PolicySet, host};

/// The group of the Gateway API.
const GATEWAY_API: &str = "gateway.networking.k8s.io";
/// The group of Istio's Gateway.
const ISTIO: &str = "networking.istio.io";

/// The spec of a `ReferenceGrant`, as far as it is about Secrets. The grant is in the namespace of what is referred to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferenceGrant {
    /// The namespaces whose Gateways may refer to them.
    pub from: Vec<String>,
    /// The Secrets: by name, or `None` for all of the grant's namespace.
    pub secrets: Vec<Option<String>>,
}

impl ReferenceGrant {
    /// Whether a Gateway in `namespace` may refer to the Secret of this name in the grant's own namespace.
    pub fn allows(&self, namespace: &str, secret: &str) -> bool {
        let named = |granted: &Option<String>| granted.as_ref().is_none_or(|name| name == secret);
        self.from.iter().any(|from| from == namespace) && self.secrets.iter().any(named)
    }
}

impl PolicySet {
    /// Whether some ReferenceGrant lets Gateways of `namespace` refer to the Secret of that namespace and name.
    pub fn lets_refer(&self, namespace: &str, (to, secret): (&str, &str)) -> bool {
        let mut there = self.reference_grants.iter().filter(|grant| grant.meta.namespace == to);
        there.any(|grant| grant.spec.allows(namespace, secret))
    }
}

/// The namespace and name of the Secret that a `credentialName` means: `NAMESPACE/NAME`, or `NAME` in the namespace of the proxy.
pub fn secret_named<'a>(credential_name: &'a str, own: &'a str) -> (&'a str, &'a str) {
    credential_name.split_once('/').unwrap_or((own, credential_name))
}

#[derive(Deserialize)]
pub(super) struct Raw {
    from: Located<Vec<RawFrom>>,
    to: Located<Vec<RawTo>>,
}

#[derive(Deserialize)]
struct RawFrom {
    group: Located<String>,
    kind: Located<String>,
    namespace: Located<String>,
}

#[derive(Deserialize)]
struct RawTo {
    group: Located<String>,
    kind: Located<String>,
    name: Option<Located<String>>,
}

/// Checks a grant. References by other kinds, or to others than Secrets, mean nothing here and are a warning.
pub(super) fn check(raw: Raw, report: &Report) -> ReferenceGrant {
    for (field, at, is_empty) in
        [("spec.from", &raw.from.at, raw.from.value.is_empty()), ("spec.to", &raw.to.at, raw.to.value.is_empty())]
    {
        if is_empty {
            report.error(at, field, "nothing is listed");
        }
    }
    let mut grant = ReferenceGrant::default();
    for (index, from) in raw.from.value.into_iter().enumerate() {
        let field = format!("spec.from[{index}]");
        if !host::is_namespace(&from.namespace.value) {
            let help = "lower-case letters, digits and \"-\", 63 at most; there is no wildcard";
            report.error_with_help(&from.namespace.at, &format!("{field}.namespace"), "not a valid namespace", help);
        }
        match (from.group.value.as_str(), from.kind.value.as_str()) {
            (GATEWAY_API | ISTIO, "Gateway") => grant.from.push(from.namespace.value),
            _ => report.warn(&from.kind.at, format!("{field}: only references by Gateways are looked at")),
        }
    }
    for (index, to) in raw.to.value.into_iter().enumerate() {
        let field = format!("spec.to[{index}]");
        if let Some(name) = to.name.as_ref().filter(|name| !host::is_object_name(&name.value)) {
            report.error(&name.at, &format!("{field}.name"), "not a valid name");
        }
        match (to.group.value.as_str(), to.kind.value.as_str()) {
            ("", "Secret") => grant.secrets.push(to.name.map(|name| name.value)),
            _ => report.warn(&to.kind.at, format!("{field}: only references to Secrets are looked at")),
        }
    }
    grant
}
