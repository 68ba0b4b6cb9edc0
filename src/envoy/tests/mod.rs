//! Resources of policies written as YAML: what must hold for all of them, and not only for those of a golden file.

mod contexts;
mod grpc;
mod policy;

use contexts::Contexts;

use super::{EncodedResource, class_resources, proxy_resources};
use crate::mesh::Mesh;
use crate::plan::{Settings, class_plan, proxy_plan};

/// Everything that the workloads' proxies get, one list a proxy.
fn resources(mesh: &Mesh) -> Vec<Vec<EncodedResource>> {
    let of_workload = |workload: &std::sync::Arc<crate::mesh::Workload>| {
        let mut all = class_resources(&class_plan(mesh, workload, &Settings::default()));
        all.extend(proxy_resources(&proxy_plan(mesh, workload)));
        all
    };
    mesh.workloads().map(of_workload).collect()
}
