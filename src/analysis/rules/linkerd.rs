//! Linkerd's policy beside Istio's, and names in it that are nobody's.

use std::collections::BTreeSet;

use super::super::Subject;
use super::super::catalogue::{BOTH_AUTHORIZE, DIALECTS, NOBODYS_IDENTITY};
use super::super::finding::Collector;
use crate::mesh::decide::{admission, dialects};
use crate::mesh::{Workload, dns_name};
use crate::policy::Origin;
use crate::policy::linkerd::{ClientAuthentication, Identity};

pub(in super::super) fn all(subject: Subject<'_>, found: &mut Collector) {
    let (mut pairs, mut both) = (BTreeSet::new(), BTreeSet::new());
    for workload in subject.mesh.workloads().filter(|workload| workload.meshed) {
        for port in subject.mesh.served_ports(workload).into_keys() {
            differing(workload, port, &mut pairs, found);
            authorized_twice(workload, port, &mut both, found);
        }
    }
    nobodys_identities(subject, found);
}

/// CS0701, once for each pair of places.
fn differing(workload: &Workload, port: u16, seen: &mut BTreeSet<(Origin, Origin)>, found: &mut Collector) {
    let Some([(istio, istio_at), (linkerd, linkerd_at)]) = dialects(workload, port) else { return };
    if istio == linkerd || !seen.insert((istio_at.clone(), linkerd_at.clone())) {
        return;
    }
    let counts = if linkerd > istio { "Linkerd's" } else { "Istio's" };
    let message = format!(
        "{} port {port}: Istio's policy ({istio_at}) says {istio}, and Linkerd's ({linkerd_at}) means {linkerd}: {counts} counts, \
         which is stricter",
        workload.key
    );
    let overruled = if linkerd > istio { &istio_at } else { &linkerd_at };
    found.add(&DIALECTS, overruled, message);
}

/// CS0707, once for each pair of policies.
fn authorized_twice(workload: &Workload, port: u16, seen: &mut BTreeSet<(Origin, Origin)>, found: &mut Collector) {
    let grants = admission(workload, Some(port)).unwrap_or_default();
    for policy in workload.access() {
        for grant in &grants {
            if seen.insert((policy.at.clone(), grant.at.clone())) {
                let message = format!(
                    "AuthorizationPolicy {}/{} of Istio's ({}) and {} ({}) both hold for {} port {port}",
                    policy.meta.namespace, policy.meta.name, policy.at, grant.name, grant.at, workload.key
                );
                found.add(&BOTH_AUTHORIZE, &grant.at, message);
            }
        }
    }
}

/// CS0706: of exact names only; a wildcard may be for workloads to come.
fn nobodys_identities(subject: Subject<'_>, found: &mut Collector) {
    let settings = subject.mesh.settings();
    let accounts: BTreeSet<(&str, &str)> =
        subject.mesh.workloads().map(|it| (it.key.namespace.as_str(), it.service_account.as_str())).collect();
    let ids: BTreeSet<&str> = subject.mesh.workloads().map(|it| it.spiffe_id.as_str()).collect();
    let names: BTreeSet<String> = accounts
        .iter()
        .filter_map(|(namespace, account)| dns_name(settings, namespace, account))
        .chain(subject.mesh.workloads().flat_map(|it| it.dns_names.iter().cloned()))
        .collect();
    let is_somebody = |identity: &Identity, namespace: &str| match identity {
        Identity::Any | Identity::Suffix(_) => true,
        Identity::Namespace(of) => accounts.iter().any(|(known, _)| known == of),
        Identity::ServiceAccount { namespace: of, name } => {
            accounts.contains(&(of.as_deref().unwrap_or(namespace), name.as_str()))
        }
        Identity::Spiffe(id) => ids.contains(id.as_str()) || is_foreign(subject, id),
        // `cluster.local` is this mesh, and another trust domain's accounts are not known here.
        Identity::Name(name) => {
            let ours = name.strip_suffix(".cluster.local").map(|start| format!("{start}.{}", settings.trust_domain));
            let domains = settings.further_trust_domains();
            names.contains(name)
                || ours.is_some_and(|ours| names.contains(&ours))
                || domains.iter().any(|domain| name.ends_with(&format!(".{domain}")))
        }
    };
    for object in &subject.set.server_authorizations {
        let ClientAuthentication::Identities(identities) = &object.spec.authentication else { continue };
        for identity in identities.iter().filter(|it| !is_somebody(&it.value, &object.meta.namespace)) {
            let message = format!(
                "ServerAuthorization {}/{} names {}, which no workload is",
                object.meta.namespace,
                object.meta.name,
                shown(&identity.value)
            );
            found.add(&NOBODYS_IDENTITY, &identity.at, message);
        }
    }
    for object in &subject.set.mesh_tls_authentications {
        for identity in object.spec.identities.iter().filter(|it| !is_somebody(&it.value, &object.meta.namespace)) {
            let message = format!(
                "MeshTLSAuthentication {}/{} names {}, which no workload is",
                object.meta.namespace,
                object.meta.name,
                shown(&identity.value)
            );
            found.add(&NOBODYS_IDENTITY, &identity.at, message);
        }
    }
}

fn is_foreign(subject: Subject<'_>, id: &str) -> bool {
    let domain = id.strip_prefix("spiffe://").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    subject.mesh.settings().further_trust_domains().iter().any(|it| it == domain)
}

fn shown(identity: &Identity) -> String {
    match identity {
        Identity::Any => "\"*\"".to_owned(),
        Identity::Name(name) | Identity::Spiffe(name) => format!("{name:?}"),
        Identity::Suffix(suffix) => format!("\"*.{suffix}\""),
        Identity::ServiceAccount { namespace: Some(namespace), name } => {
            format!("the service account {namespace}/{name}")
        }
        Identity::ServiceAccount { namespace: None, name } => format!("the service account {name}"),
        Identity::Namespace(name) => format!("the namespace {name}"),
    }
}
