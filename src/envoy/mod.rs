//! From plans to Envoy's resources. The only module that builds Envoy configuration.
//!
//! Everything is a pure function of the plan, and equal plans give equal bytes: the maps among Envoy's fields that could come out in any
//! order are never filled with more than one entry. Two rules hold wherever TLS is built: a context that verifies its peer names the
//! peer (`tls`), and a secret is asked for with one and the same configuration everywhere (`sds`).

mod cluster;
mod endpoint;
mod gateway;
mod grpc;
mod http;
mod intercepted;
mod istio;
mod listener;
mod message;
mod rbac;
mod route;
mod sds;
mod tls;
mod wire;

use bytes::Bytes;

pub use grpc::grpc_resources;

use crate::plan::{ClassPlan, InboundListener, ProxyPlan};

/// Istio's name for the cluster that sends each connection to where it was going.
const PASSTHROUGH: &str = "PassthroughCluster";

/// Istio's name for the listener that takes every connection to a workload.
pub const VIRTUAL_INBOUND: &str = "virtualInbound";

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
    let mut alike = cluster::Alike::default();
    let clusters = plan.clusters.iter().flat_map(move |it| {
        let assignment = endpoint::assignment_resource(it);
        std::iter::once(cluster::outbound(it, &mut alike)).chain(assignment)
    });
    let listeners = plan.listeners.iter().map(|it| message::resource(&it.name, &listener::outbound(it)));
    let routes = plan.routes.iter().map(route::table);
    let intercepted = plan.intercepted.iter().flat_map(|it| {
        let listener = intercepted::outbound(it);
        let clusters = [cluster::passthrough(PASSTHROUGH), cluster::black_hole(intercepted::BLACK_HOLE)];
        let clusters = clusters.map(|cluster| message::resource(&cluster.name, &cluster));
        clusters.into_iter().chain([message::resource(&listener.name, &listener)])
    });
    let tables = plan.gateway_tables.iter().map(|it| message::resource(&it.name, &gateway::table(it)));
    clusters.chain(listeners).chain(routes).chain(intercepted).chain(tables).collect()
}

/// What one proxy gets for itself.
pub fn proxy_resources(plan: &ProxyPlan) -> Vec<EncodedResource> {
    let mut resources = Vec::new();
    for inbound in &plan.inbound {
        resources.push(message::resource(&inbound.name, &listener::inbound(inbound, plan)));
        application(inbound, &mut resources);
    }
    resources.extend(plan.gateway.iter().map(|it| message::resource(&it.name, &gateway::listener(it, plan))));
    if let Some(intercepted) = &plan.intercepted {
        let listener = intercepted::inbound(intercepted, plan);
        resources.push(message::resource(&listener.name, &listener));
        let all = intercepted.ports.iter().chain([&intercepted.elsewhere]);
        all.for_each(|inbound| application(inbound, &mut resources));
    }
    resources
}

/// The cluster behind an inbound port. Two listeners may share a port on two addresses; the cluster's name has the port only, so the
/// first one's is both's.
fn application(inbound: &InboundListener, resources: &mut Vec<EncodedResource>) {
    if !resources.iter().any(|it| it.name == inbound.cluster) {
        resources.push(message::resource(&inbound.cluster, &cluster::inbound(inbound)));
    }
}

#[cfg(test)]
mod tests;
