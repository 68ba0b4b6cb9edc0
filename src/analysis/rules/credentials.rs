//! Whether what a `credentialName` names can be served to whoever wants it.

use time::OffsetDateTime;

use crate::policy::{Object, PolicySet, Secret, secret_named};
use crate::secrets::{self, Credential};

/// What a proxy wants of a Secret.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The proxy's.
    pub(super) namespace: &'a str,
    /// The namespace of the Gateway that names it. `None`: it is named by what cannot refer to other namespaces' Secrets.
    pub(super) gateway: Option<&'a str>,
    pub(super) name: &'a str,
    pub(super) certificate: bool,
    /// They may have a Secret of their own, as in Istio: `NAME-cacert`.
    pub(super) roots: bool,
}

/// Why it does not get that.
pub(super) fn problem(set: &PolicySet, wanted: Wanted<'_>, now: OffsetDateTime) -> Option<String> {
    let Wanted { namespace: own, gateway, name, certificate, roots } = wanted;
    let (namespace, name) = secret_named(name, own);
    if namespace != own {
        let Some(gateway) = gateway else {
            return Some(format!("only a Gateway may refer to a Secret of another namespace, {namespace}"));
        };
        if let Some(from) = [gateway, own].into_iter().find(|from| !set.lets_refer(from, (namespace, name))) {
            return Some(format!("no ReferenceGrant in {namespace} lets Gateways of {from} refer to it"));
        }
    }
    let find = |name: &str| set.secrets.iter().find(|it| it.meta.namespace == namespace && it.meta.name == name);
    let of_roots = if roots { find(&format!("{name}-cacert")) } else { None };
    let Some(secret) = find(name).or(of_roots.filter(|_| !certificate)) else {
        let elsewhere = set.secrets.iter().find(|it| it.meta.name == name);
        let elsewhere = elsewhere
            .map(|it| format!("; there is one in {} ({}), which that name does not mean", it.meta.namespace, it.at));
        return Some(format!("there is none in {namespace}{}", elsewhere.unwrap_or_default()));
    };
    let read = |secret: &Object<Secret>| {
        secrets::credential(&secret.meta.name, &secret.spec.data, now)
            .map_err(|error| format!("it is not served: {error}"))
    };
    let lacks = |credential: &Credential| match credential {
        Credential { certificate: None, .. } if certificate => Some("it has no tls.crt and tls.key"),
        Credential { ca: None, .. } if roots && of_roots.is_none() => {
            Some("it has no ca.crt, and there is no Secret with -cacert after its name")
        }
        _ => None,
    };
    let of_roots = of_roots.and_then(|secret| read(secret).err());
    match read(secret) {
        Err(problem) => Some(problem),
        Ok(credential) => lacks(&credential).map(str::to_owned).or(of_roots),
    }
}
