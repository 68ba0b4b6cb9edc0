//! Who may read which Secret, besides what the plan of its class names: for Envoys whose listeners are their own.

use std::collections::BTreeSet;

use crate::mesh::{Mesh, Workload};
use crate::policy::{Object, PolicySet, Secret, Server, ServerCertificate};

/// A Secret that may be read, and the name under which it is asked for, without `kubernetes://`.
pub(super) struct Granted<'a> {
    pub(super) name: String,
    pub(super) secret: &'a Object<Secret>,
}

/// The Secrets that the service account may read: those of its own namespace that name it in `countersign.dev/readers`, as `NAME`; and
/// those of others that name it as `NAMESPACE/NAME`, where a ReferenceGrant beside them lets its namespace refer to them. Both have to
/// agree: who grants references to a namespace does not yet say to whom in it.
pub(super) fn granted<'a>(set: &'a PolicySet, namespace: &str, service_account: &str) -> Vec<Granted<'a>> {
    let foreign = format!("{namespace}/{service_account}");
    let allows = |secret: &Object<Secret>| {
        let mut grants = set.reference_grants.iter().filter(|grant| grant.meta.namespace == secret.meta.namespace);
        grants.any(|grant| grant.spec.allows(namespace, &secret.meta.name))
    };
    let name = |secret: &Object<Secret>| {
        let meta = &secret.meta;
        let mut readers = meta.readers();
        match meta.namespace == namespace {
            true => readers.any(|it| it == service_account || it == foreign).then(|| meta.name.clone()),
            false => {
                (readers.any(|it| it == foreign) && allows(secret)).then(|| format!("{}/{}", meta.namespace, meta.name))
            }
        }
    };
    set.secrets.iter().filter_map(|secret| Some(Granted { name: name(secret)?, secret })).collect()
}

/// The Secrets of its own namespace that the Gateways name which select the workload. Whether its proxy says that it is a gateway is no
/// matter: who may read is decided by policy, and a proxy whose listeners are its own need not tell.
pub(super) fn named_by_gateways(mesh: &Mesh, workload: &Workload) -> BTreeSet<String> {
    let servers = mesh.gateways_of(&workload.key).flat_map(|gateway| &gateway.spec.servers);
    let credential = |server: &Server| match server.tls.as_ref()?.value.certificate.as_ref()? {
        ServerCertificate::Credential(name) => Some(name.clone()),
        ServerCertificate::Files { .. } => None,
    };
    servers.filter_map(credential).collect()
}

/// Whether any Secret grants anything.
pub(super) fn is_any(set: &PolicySet) -> bool {
    set.secrets.iter().any(|secret| secret.meta.readers().next().is_some())
}
