//! From plans to Envoy's resources. The only module that builds Envoy configuration.
//!
//! Everything is a pure function of the plan, and equal plans give equal bytes: the maps among Envoy's fields that could come out in any
//! order are never filled with more than one entry. Two rules hold wherever TLS is built: a context that verifies its peer names the
//! peer (`tls`), and a secret is asked for with one and the same configuration everywhere (`sds`).

mod cluster;
mod endpoint;
mod grpc;
mod http;
mod listener;
mod message;
mod rbac;
mod route;
mod sds;
mod tls;

use bytes::Bytes;

pub use grpc::grpc_resources;

use crate::plan::{ClassPlan, ProxyPlan};

/// A resource as Envoy takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedResource {
    /// `type.googleapis.com/envoy.config.cluster.v3.Cluster`, and so on.
    pub type_url: &'static str,
    /// The name by which Envoy asks for it.
    pub name: String,
    /// The encoded message, without the `Any` around it.
    pub value: Bytes,
}

/// What every proxy of a class gets.
pub fn class_resources(plan: &ClassPlan) -> Vec<EncodedResource> {
    let clusters = plan.clusters.iter().flat_map(|it| {
        let assignment = endpoint::assignment_resource(it);
        std::iter::once(message::resource(&it.name, &cluster::outbound(it))).chain(assignment)
    });
    let listeners = plan.listeners.iter().map(|it| message::resource(&it.name, &listener::outbound(it)));
    let routes = plan.routes.iter().map(|it| message::resource(&it.name, &route::table(it)));
    clusters.chain(listeners).chain(routes).collect()
}

/// What one proxy gets for itself.
pub fn proxy_resources(plan: &ProxyPlan) -> Vec<EncodedResource> {
    let mut resources = Vec::new();
    for inbound in &plan.inbound {
        resources.push(message::resource(&inbound.name, &listener::inbound(inbound, plan)));
        // Two listeners may share a port on two addresses; the cluster's name has the port only, so the first one's is both's.
        if !resources.iter().any(|it| it.name == inbound.cluster) {
            resources.push(message::resource(&inbound.cluster, &cluster::inbound(inbound)));
        }
    }
    resources
}

#[cfg(test)]
mod tests;
