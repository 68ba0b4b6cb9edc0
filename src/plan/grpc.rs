//! What gRPC's own xDS client gets, which is an application without a proxy: no listener to bind, no secret over xDS.
//!
//! It asks for `HOST:PORT`, the name that it dials as `xds:///HOST:PORT`. What it cannot do is left out, so that it finds no such name
//! and its calls fail, instead of being made in another way than policy says.

use serde::Serialize;

use super::outbound::clusters_of;
use super::routes::names;
use super::{Cluster, ClusterTls, PeerNames, SecretName, UpstreamTls, Validation};
use crate::mesh::{Discovery, Mesh, Protocol, Workload};

/// Everything that a class of gRPC clients can call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GrpcPlan {
    /// In the order of the services' hosts.
    pub targets: Vec<GrpcTarget>,
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GrpcTarget {
    /// The names that it is dialled by, `HOST:PORT`; at least one, and none is another target's.
    pub names: Vec<String>,
    /// Where calls go: one, or two where some endpoints take mutual TLS and others do not. gRPC has one way for all of a cluster.
    pub clusters: Vec<GrpcCluster>,
}

/// Endpoints that are reached in one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GrpcCluster {
    /// As [`GrpcCluster::tls`] says.
    pub cluster: Cluster,
    /// The names that a server must carry one of, under mutual TLS with the workload's own certificate; `None`: plaintext.
    pub tls: Option<PeerNames>,
}

/// Plans the class of gRPC clients that `workload` belongs to.
pub fn grpc_plan(mesh: &Mesh, workload: &Workload) -> GrpcPlan {
    let namespace = &workload.key.namespace;
    let (mut taken, mut targets) = (std::collections::HashSet::new(), Vec::new());
    for service in mesh.reachable_from(workload) {
        for (port, cluster) in clusters_of(mesh, workload, service) {
            // Protocols that are HTTP/2, or may turn out to be.
            let is_callable = port.protocol.is_http2() || port.protocol == Protocol::Undeclared;
            let is_name = !service.host.contains('*');
            let Some(clusters) = (is_callable && is_name).then(|| split(cluster)).flatten() else { continue };
            let with_port = names(namespace, service).into_iter().map(|name| format!("{name}:{}", port.port.value));
            let names: Vec<_> = with_port.filter(|name| taken.insert(name.clone())).collect();
            if !names.is_empty() {
                targets.push(GrpcTarget { names, clusters });
            }
        }
    }
    GrpcPlan { targets }
}

/// The cluster as gRPC can have it; `None` if it cannot.
fn split(cluster: Cluster) -> Option<Vec<GrpcCluster>> {
    // A name that is resolved leads to one endpoint.
    if cluster.discovery == Discovery::Dns && cluster.endpoints.len() != 1 {
        return None;
    }
    match cluster.tls.clone() {
        ClusterTls::Plaintext => Some(vec![GrpcCluster { cluster, tls: None }]),
        ClusterTls::Always(tls) => Some(vec![GrpcCluster { cluster, tls: Some(own_identity(tls)?) }]),
        ClusterTls::PerEndpoint(tls) => {
            let tls = own_identity(tls)?;
            let (mutual, plaintext): (Vec<_>, Vec<_>) = cluster.endpoints.iter().cloned().partition(|it| it.mtls);
            let plaintext_name = format!("{}|plaintext", cluster.name);
            let of = |name: &str, endpoints, tls| GrpcCluster {
                cluster: Cluster { name: name.to_owned(), endpoints, ..cluster.clone() },
                tls,
            };
            let mut clusters = Vec::new();
            if !mutual.is_empty() || plaintext.is_empty() {
                clusters.push(of(&cluster.name, mutual, Some(tls)));
            }
            if !plaintext.is_empty() {
                clusters.push(of(&plaintext_name, plaintext, None));
            }
            Some(clusters)
        }
    }
}

/// The names to hold a server to, where TLS is done with what the application has on its disk: its own certificate, and the mesh's
/// roots. gRPC has no way to other certificates.
fn own_identity(tls: UpstreamTls) -> Option<PeerNames> {
    match (tls.certificate, tls.validation) {
        (Some(SecretName::Workload), Validation::Verified { roots: SecretName::Root, sans, crl: None }) => Some(sans),
        _ => None,
    }
}
