//! Resources of policies written as YAML: what must hold for all of them, and not only for those of a golden file.

mod contexts;
mod endpoints;
mod grpc;
mod policy;

use contexts::Contexts;

use super::{EncodedResource, class_resources, proxy_resources};
use crate::mesh::Mesh;
use crate::plan::{Interception, Node, Settings, class_plan, proxy_plan};

/// What one proxy gets: its own, and what it shares with others of its class.
struct OfProxy {
    own: Vec<EncodedResource>,
    class: Vec<EncodedResource>,
}

/// What the workloads' proxies get, whatever a proxy may be.
fn proxies(mesh: &Mesh) -> Vec<OfProxy> {
    let intercepting = |interception| Node { interception, ..Node::default() };
    let nodes = [
        intercepting(Interception::None),
        intercepting(Interception::Redirect),
        intercepting(Interception::Tproxy),
        Node { is_gateway: true, ..Node::default() },
        Node { is_istios: true, ..intercepting(Interception::Redirect) },
    ];
    let of_workload = |(workload, node): (&std::sync::Arc<crate::mesh::Workload>, Node)| OfProxy {
        own: proxy_resources(&proxy_plan(mesh, workload, node)),
        class: class_resources(&class_plan(mesh, workload, node, &Settings::default())),
    };
    mesh.workloads().flat_map(|workload| nodes.map(|node| (workload, node))).map(of_workload).collect()
}

/// Everything that the workloads' proxies get, one list a proxy.
fn resources(mesh: &Mesh) -> Vec<Vec<EncodedResource>> {
    proxies(mesh).into_iter().map(|OfProxy { own, class }| own.into_iter().chain(class).collect()).collect()
}
