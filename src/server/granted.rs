//! Who may read which Secret, besides what the plan of its class names: for Envoys whose listeners are their own.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::mesh::{Mesh, Workload};
use crate::policy::{Object, PolicySet, Secret, Server, ServerCertificate, secret_named};

/// A Secret that may be read, and the name under which it is asked for, without `kubernetes://`.
pub(super) struct Granted<'a> {
    pub(super) name: String,
    pub(super) secret: &'a Object<Secret>,
    /// Where its roots are, if that is another Secret.
    pub(super) roots: Option<&'a Object<Secret>>,
}

/// The Secrets that the service account may read: those of its own namespace that name it in `countersign.dev/readers`, as `NAME`; and
/// those of others that name it as `NAMESPACE/NAME`, where a ReferenceGrant beside them lets its namespace refer to them. Both have to
/// agree: who grants references to a namespace does not yet say to whom in it.
pub(super) fn granted<'a>(set: &'a PolicySet, namespace: &str, service_account: &str) -> Vec<Granted<'a>> {
    let foreign = format!("{namespace}/{service_account}");
    let allows = |secret: &Object<Secret>| set.lets_refer(namespace, (&secret.meta.namespace, &secret.meta.name));
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
    let readable = |secret: &'a Arc<Object<Secret>>| Some(Granted { name: name(secret)?, secret, roots: None });
    set.secrets.iter().filter_map(readable).collect()
}

/// The names of Secrets in the Gateways that select the workload, as far as it may read them: those of its own namespace, and as
/// `NAMESPACE/NAME` those of others where ReferenceGrants let the Gateway's namespace and the workload's refer to them. The workload's too:
/// a Gateway selects by labels, and who may write those in some other namespace is not who may write the Gateway.
/// Whether its proxy says that it is a gateway is no matter: who may read is decided by policy, and a proxy whose listeners are its own
/// need not tell.
pub(super) fn named_by_gateways(mesh: &Mesh, set: &PolicySet, workload: &Workload) -> BTreeSet<String> {
    let own = workload.key.namespace.as_str();
    let credential = |server: &Server| match server.tls.as_ref()?.value.certificate.as_ref()? {
        ServerCertificate::Credential(name) => Some(name.clone()),
        ServerCertificate::Files { .. } => None,
    };
    let mut names = BTreeSet::new();
    for gateway in mesh.gateways_of(&workload.key) {
        let may_refer = |name: &String| {
            let (namespace, secret) = secret_named(name, own);
            let lets = |from: &str| set.lets_refer(from, (namespace, secret));
            namespace == own || (lets(&gateway.meta.namespace) && lets(own))
        };
        names.extend(gateway.spec.servers.iter().filter_map(credential).filter(may_refer));
    }
    names
}

/// The Secret that a Gateway names, which the workload may read. As in Istio, roots may have a Secret of their own, which then counts. Who
/// may have the certificate and its key may have these, of which no key is read.
pub(super) fn named<'a>(set: &'a PolicySet, own: &str, name: &str) -> Option<Granted<'a>> {
    let (namespace, secret) = secret_named(name, own);
    let find = |name: &str| set.secrets.iter().find(|it| it.meta.namespace == namespace && it.meta.name == name);
    let roots = find(&format!("{secret}-cacert")).map(|it| &**it);
    Some(Granted { name: name.to_owned(), secret: find(secret)?, roots })
}

/// Whether any Secret grants anything.
pub(super) fn is_any(set: &PolicySet) -> bool {
    set.secrets.iter().any(|secret| secret.meta.readers().next().is_some())
}
