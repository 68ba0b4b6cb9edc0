//! The two listeners that iptables lead every connection to.

use envoy_types::pb::envoy::config::core::v3::TrafficDirection;
use envoy_types::pb::envoy::config::listener::v3::listener_filter_chain_match_predicate::{MatchSet, Rule};
use envoy_types::pb::envoy::config::listener::v3::{
    FilterChain, FilterChainMatch, Listener, ListenerFilter, ListenerFilterChainMatchPredicate,
};
use envoy_types::pb::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use envoy_types::pb::envoy::extensions::filters::listener::original_src::v3::OriginalSrc;
use envoy_types::pb::envoy::r#type::v3::Int32Range;
use envoy_types::pb::google::protobuf::{BoolValue, UInt32Value};

use super::VIRTUAL_INBOUND;
use super::listener::{
    Chains, SILENT_CLIENT_SECONDS, chain, http_inspector, listener_filter, needs_http_inspector, needs_tls_inspector,
    tcp_proxy, tls_inspector,
};
use super::message::{additional, seconds, socket};
use crate::plan::{InterceptedInbound, InterceptedOutbound, ProxyPlan};

/// Istio's name for the cluster that ends every connection.
pub(super) const BLACK_HOLE: &str = "BlackHoleCluster";
/// The mark by which Istio's rules of iptables know the connections that keep their source (TPROXY).
const MARK: u32 = 1337;

/// Hands each connection on to the listener of the address that it was going to, and takes those of which none has it.
pub(super) fn outbound(plan: &InterceptedOutbound) -> Listener {
    let port = plan.bind.port();
    let everything = chain("virtualOutbound-catchall-tcp", None, None, vec![tcp_proxy(plan.otherwise)]);
    Listener {
        name: "virtualOutbound".to_owned(),
        address: Some(socket(plan.bind)),
        additional_addresses: additional(plan.also),
        traffic_direction: TrafficDirection::Outbound.into(),
        use_original_dst: Some(BoolValue { value: true }),
        transparent: plan.transparent.then_some(BoolValue { value: true }),
        filter_chains: vec![black_hole("virtualOutbound-blackhole", port), everything],
        ..Default::default()
    }
}

/// Takes every connection to the workload, and treats it by the port that it was going to.
pub(super) fn inbound(plan: &InterceptedInbound, proxy: &ProxyPlan) -> Listener {
    let mut filter_chains = vec![black_hole("virtualInbound-blackhole", plan.bind.port())];
    let all = std::iter::once(&plan.elsewhere).chain(&plan.ports);
    for listener in all {
        for mut chain in (Chains { plan: listener, proxy }).all() {
            chain.name = match chain.name.ends_with("-http") && listener.cluster == plan.elsewhere.cluster {
                true => "virtualInbound-catchall-http".to_owned(),
                false => listener.name.clone(),
            };
            let number = Some(u32::from(listener.bind.port())).filter(|number| *number > 0);
            if let Some(criteria) = &mut chain.filter_chain_match {
                criteria.destination_port = number.map(|value| UInt32Value { value });
            }
            filter_chains.push(chain);
        }
    }
    let mut listener_filters = vec![listener_filter("envoy.filters.listener.original_dst", &OriginalDst::default())];
    if plan.transparent {
        let keeps = OriginalSrc { mark: MARK, ..Default::default() };
        listener_filters.push(listener_filter("envoy.filters.listener.original_src", &keeps));
    }
    listener_filters.extend(on_ports(tls_inspector(), &filter_chains, needs_tls_inspector));
    listener_filters.extend(on_ports(http_inspector(), &filter_chains, needs_http_inspector));
    Listener {
        name: VIRTUAL_INBOUND.to_owned(),
        address: Some(socket(plan.bind)),
        additional_addresses: additional(plan.also),
        traffic_direction: TrafficDirection::Inbound.into(),
        transparent: plan.transparent.then_some(BoolValue { value: true }),
        listener_filters,
        listener_filters_timeout: seconds(SILENT_CLIENT_SECONDS),
        continue_on_listener_filters_timeout: true,
        filter_chains,
        ..Default::default()
    }
}

/// Whoever connects to the listener itself, and not to an address that iptables have led here, would be sent to the listener itself, and
/// so for ever.
fn black_hole(name: &str, port: u16) -> FilterChain {
    let own = FilterChainMatch { destination_port: Some(UInt32Value { value: port.into() }), ..Default::default() };
    chain(name, Some(own), None, vec![tcp_proxy(BLACK_HOLE)])
}

/// An inspector on those ports whose chains need it, and no others: to wait for a client's first bytes hurts where the server is to
/// speak first, and a port that takes plaintext only must not see TLS. `None`: no port needs it.
fn on_ports(filter: ListenerFilter, chains: &[FilterChain], needs: fn(&FilterChain) -> bool) -> Option<ListenerFilter> {
    let port = |chain: &FilterChain| {
        let port = chain.filter_chain_match.as_ref().and_then(|it| it.destination_port.as_ref());
        port.map_or(0, |port| port.value)
    };
    let mut by_port = std::collections::BTreeMap::new();
    for chain in chains {
        *by_port.entry(port(chain)).or_insert(false) |= needs(chain);
    }
    let elsewhere = by_port.remove(&0).unwrap_or(false);
    let others: Vec<_> = by_port.into_iter().filter(|(_, needs)| *needs != elsewhere).map(|(port, _)| port).collect();
    match (elsewhere, others.is_empty()) {
        (false, true) => None,
        (true, true) => Some(filter),
        (true, false) => Some(ListenerFilter { filter_disabled: Some(any_of(&others)), ..filter }),
        (false, false) => {
            let elsewhere = Rule::NotMatch(Box::new(any_of(&others)));
            let predicate = ListenerFilterChainMatchPredicate { rule: Some(elsewhere) };
            Some(ListenerFilter { filter_disabled: Some(predicate), ..filter })
        }
    }
}

fn any_of(ports: &[u32]) -> ListenerFilterChainMatchPredicate {
    let one = |port: &u32| {
        let start = i32::try_from(*port).unwrap_or_default();
        let range = Int32Range { start, end: start + 1 };
        ListenerFilterChainMatchPredicate { rule: Some(Rule::DestinationPortRange(range)) }
    };
    match ports {
        [port] => one(port),
        ports => {
            let rules = ports.iter().map(one).collect();
            ListenerFilterChainMatchPredicate { rule: Some(Rule::OrMatch(MatchSet { rules })) }
        }
    }
}
