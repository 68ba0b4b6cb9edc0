//! Resources of policies written as YAML: what must hold for all of them, and not only for those of a golden file.

mod contexts;
mod endpoints;
mod grpc;
mod policy;

use contexts::Contexts;

use super::{EncodedResource, class_resources, proxy_resources};
use crate::mesh::Mesh;
use crate::plan::{Interception, Node, Settings, class_plan, proxy_plan};

/// Everything that the workloads' proxies get, one list a proxy: whatever a proxy may be.
fn resources(mesh: &Mesh) -> Vec<Vec<EncodedResource>> {
    let intercepting = |interception| Node { interception, ..Node::default() };
    let nodes = [
        intercepting(Interception::None),
        intercepting(Interception::Redirect),
        intercepting(Interception::Tproxy),
        Node { is_gateway: true, ..Node::default() },
        Node { is_istios: true, ..intercepting(Interception::Redirect) },
    ];
    let of_workload = |(workload, node): (&std::sync::Arc<crate::mesh::Workload>, Node)| {
        let mut all = class_resources(&class_plan(mesh, workload, node, &Settings::default()));
        all.extend(proxy_resources(&proxy_plan(mesh, workload, node)));
        all
    };
    mesh.workloads().flat_map(|workload| nodes.map(|node| (workload, node))).map(of_workload).collect()
}
