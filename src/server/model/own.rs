//! What is one proxy's own: its inbound listeners, and the clusters behind them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::need::Need;
use super::Model;
use crate::envoy;
use crate::mesh::Basis;
use crate::plan::{self, Node};
use crate::xds::{Layer, ResourceType};

/// What is one proxy's own, and the plan that it was made from.
#[derive(Clone)]
pub(in crate::server) struct Own {
    basis: Basis,
    plan: Arc<plan::ProxyPlan>,
    pub(in crate::server) layer: Arc<Layer>,
}

impl Own {
    /// The listeners of these ports, as they are served.
    pub(in crate::server) fn listeners(&self, ports: &BTreeSet<u16>) -> Need {
        let of_ports = |inbound: &'_ &plan::InboundListener| ports.contains(&inbound.bind.port());
        let named: Vec<_> = self.plan.inbound.iter().filter(of_ports).collect();
        // Under interception one listener has a chain for each port.
        let captured = self.plan.intercepted.iter().flat_map(|it| &it.ports).filter(of_ports);
        let captured: Vec<_> = captured.collect();
        let is_of = |name: &str| {
            named.iter().any(|it| it.name == name) || (!captured.is_empty() && name == envoy::VIRTUAL_INBOUND)
        };
        let tls = named.iter().chain(&captured).any(|it| it.mode != plan::InboundMode::Disable);
        let listeners = self.layer.resources(ResourceType::Listener).filter(|it| is_of(it.name()));
        Need::new(listeners.map(Arc::as_ref), tls)
    }
}

impl Model {
    /// What is one proxy's own: its inbound listeners, which bind its address, and the clusters behind them.
    pub(in crate::server) fn own(&self, basis: Basis, node: Node, before: Option<Own>) -> Own {
        // Most policy changes are about other things.
        if let Some(before) = before.as_ref().filter(|before| !node.is_gateway && before.basis.serves_alike(&basis)) {
            return Own { basis, ..before.clone() };
        }
        let plan = plan::proxy_plan(&self.mesh, basis.workload(), node);
        if let Some(before) = before.as_ref().filter(|before| *before.plan == plan) {
            // To plan is a fraction of what it takes to encode.
            return Own { basis, ..before.clone() };
        }
        let encoded = envoy::proxy_resources(&plan).into_iter().filter_map(|it| self.of_proxy(it));
        let layer = Arc::new(Layer::new(encoded, before.as_ref().map(|before| &*before.layer)));
        Own { basis, plan: Arc::new(plan), layer }
    }
}
