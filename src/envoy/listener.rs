//! Listeners, and the filter chains by which one port speaks plaintext, mutual TLS, or both.

use envoy_types::pb::envoy::config::core::v3::{TrafficDirection, TransportSocket};
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, Listener, ListenerFilter, listener_filter,
};
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;

use super::message::{any, seconds, socket};
use super::{http, tls};
use crate::plan::{InboundListener, InboundMode, OutboundListener, OutboundTarget};

/// How the mesh's own TLS is told from an application's, on a port that takes both (Istio's list).
const MESH_ALPN: [&str; 5] = ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"];
/// What a server of HTTP agrees to.
const HTTP_ALPN: [&str; 2] = ["h2", "http/1.1"];
/// What a server of bytes agrees to.
const TCP_ALPN: [&str; 3] = ["istio-peer-exchange", "h2", "http/1.1"];
/// On a port that takes both: after this long without a byte the client is taken for one that waits for the server to speak first,
/// as those of MySQL or SMTP do, and is let through in plaintext. Istio waits for ever.
const SILENT_CLIENT_SECONDS: i64 = 3;

const TLS: &str = "tls";
const PLAINTEXT: &str = "raw_buffer";

/// A listener for the workload's own requests.
pub(super) fn outbound(plan: &OutboundListener) -> Listener {
    let filter = match &plan.target {
        OutboundTarget::Http(table) => http::outbound(plan, table),
        OutboundTarget::Tcp(cluster) => tcp_proxy(cluster),
    };
    Listener {
        name: plan.name.clone(),
        address: Some(socket(plan.bind)),
        traffic_direction: TrafficDirection::Outbound.into(),
        filter_chains: vec![FilterChain { filters: vec![filter], ..Default::default() }],
        ..Default::default()
    }
}

/// A listener for requests to the application.
pub(super) fn inbound(plan: &InboundListener, trust_domains: &[String]) -> Listener {
    let listener = Listener {
        name: plan.name.clone(),
        address: Some(socket(plan.bind)),
        traffic_direction: TrafficDirection::Inbound.into(),
        ..Default::default()
    };
    let alpn = if plan.protocol.is_http() { &HTTP_ALPN[..] } else { &TCP_ALPN[..] };
    let mutual = |alpn_match: &[&str]| {
        chain("mutual-tls", matching(TLS, alpn_match), Some(tls::downstream(trust_domains, alpn)), serve(plan, true))
    };
    let plaintext = || chain("plaintext", matching(PLAINTEXT, &[]), None, serve(plan, false));
    match plan.mode {
        // Without a TLS inspector every connection counts as plaintext, so TLS of the application's own goes through.
        InboundMode::Disable => {
            Listener { filter_chains: vec![chain("plaintext", None, None, serve(plan, false))], ..listener }
        }
        InboundMode::Strict => {
            Listener { listener_filters: vec![tls_inspector()], filter_chains: vec![mutual(&[])], ..listener }
        }
        InboundMode::Permissive if plan.protocol.is_http() => Listener {
            listener_filters: vec![tls_inspector()],
            filter_chains: vec![mutual(&[]), plaintext()],
            ..listener
        },
        InboundMode::Permissive => Listener {
            listener_filters: vec![tls_inspector()],
            listener_filters_timeout: seconds(SILENT_CLIENT_SECONDS),
            continue_on_listener_filters_timeout: true,
            filter_chains: vec![
                mutual(&MESH_ALPN),
                chain("application-tls", matching(TLS, &[]), None, serve(plan, false)),
                plaintext(),
            ],
            ..listener
        },
    }
}

fn serve(plan: &InboundListener, verified: bool) -> Filter {
    match plan.protocol.is_http() {
        true => http::inbound(plan, verified),
        false => tcp_proxy(&plan.cluster),
    }
}

fn matching(transport: &str, alpn: &[&str]) -> Option<FilterChainMatch> {
    Some(FilterChainMatch {
        transport_protocol: transport.to_owned(),
        application_protocols: alpn.iter().map(|it| (*it).to_owned()).collect(),
        ..Default::default()
    })
}

fn chain(
    name: &str,
    filter_chain_match: Option<FilterChainMatch>,
    transport_socket: Option<TransportSocket>,
    filter: Filter,
) -> FilterChain {
    FilterChain {
        name: name.to_owned(),
        filter_chain_match,
        transport_socket,
        filters: vec![filter],
        ..Default::default()
    }
}

fn tcp_proxy(cluster: &str) -> Filter {
    let proxy = TcpProxy {
        stat_prefix: cluster.to_owned(),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        ..Default::default()
    };
    Filter {
        name: "envoy.filters.network.tcp_proxy".to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(&proxy))),
    }
}

fn tls_inspector() -> ListenerFilter {
    ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(any(&TlsInspector::default()))),
        ..Default::default()
    }
}
