//! A gateway's listeners and routes.

use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::{DataSource, TrafficDirection, TransportSocket};
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, FilterChainMatch, Listener};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::virtual_host::TlsRequirementType;
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, WeightedCluster,
};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::{
    ClusterSpecifier as TcpClusterSpecifier, WeightedCluster as TcpWeightedCluster, weighted_cluster,
};
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatcher;
use envoy_types::pb::google::protobuf::BoolValue;

use super::listener::{chain, network_filter, tls_inspector};
use super::message::{additional, number, seconds, socket};
use super::{http, rbac, route, tls};
use crate::plan::{
    GatewayChain, GatewayHost, GatewayListener, GatewayRoute, GatewayTable, GatewayTarget, GatewayTls, PathMatch,
    ProxyPlan, Share,
};

/// What a server of bytes within TLS agrees to.
const NO_ALPN: [&str; 0] = [];

/// One port.
pub(super) fn listener(plan: &GatewayListener, proxy: &ProxyPlan) -> Listener {
    let mut listener = Listener {
        name: plan.name.clone(),
        address: Some(socket(plan.bind)),
        additional_addresses: additional(plan.also),
        traffic_direction: TrafficDirection::Outbound.into(),
        ..Default::default()
    };
    match &plan.target {
        GatewayTarget::Http(table) => {
            listener.filter_chains = vec![chain("http", None, None, vec![http::gateway(plan, table, proxy, false)])];
        }
        GatewayTarget::Bytes(shares) => {
            listener.filter_chains = vec![chain("bytes", None, None, bytes(&plan.name, shares, proxy))];
        }
        GatewayTarget::Tls(chains) => {
            listener.listener_filters = vec![tls_inspector()];
            listener.filter_chains = chains.iter().map(|it| within_tls(plan, it, proxy)).collect();
        }
    }
    listener
}

fn within_tls(listener: &GatewayListener, plan: &GatewayChain, proxy: &ProxyPlan) -> FilterChain {
    let socket = match &plan.tls {
        GatewayTls::Passthrough => None,
        GatewayTls::Mesh => {
            let alpn: &[&str] = if plan.table.is_some() { &["h2", "http/1.1"] } else { &NO_ALPN };
            Some(tls::downstream(&proxy.trust_domains, &proxy.roots, &proxy.tls, alpn))
        }
        GatewayTls::Own(termination) => Some(tls::terminating(termination)),
    };
    // Nobody comes to a chain of TLS without it, whatever names it is for.
    let criteria = FilterChainMatch {
        server_names: plan.names.clone(),
        transport_protocol: "tls".to_owned(),
        ..Default::default()
    };
    let mut filters = match &plan.tls {
        GatewayTls::Mesh => rbac::of_certificates(&proxy.several_domains),
        GatewayTls::Own(termination) => {
            let clients = termination.clients.as_ref();
            clients.map(|clients| rbac::of_certificates(&clients.refused)).unwrap_or_default()
        }
        GatewayTls::Passthrough => Vec::new(),
    };
    filters.extend(match &plan.table {
        Some(table) => vec![http::gateway(listener, table, proxy, verifies(&plan.tls))],
        None => bytes(&listener.name, &plan.bytes, proxy),
    });
    let name = plan.names.first().map_or("tls", String::as_str);
    with_limit(chain(name, Some(criteria), socket.clone(), filters), socket.as_ref())
}

/// At the edge a client that stops in the middle of a handshake is not waited for.
fn with_limit(chain: FilterChain, socket: Option<&TransportSocket>) -> FilterChain {
    FilterChain { transport_socket_connect_timeout: socket.and_then(|_| seconds(HANDSHAKE_SECONDS)), ..chain }
}

/// Istio's limit.
const HANDSHAKE_SECONDS: i64 = 15;

/// Whether a client's certificate is worth telling the application of.
fn verifies(tls: &GatewayTls) -> bool {
    match tls {
        GatewayTls::Passthrough => false,
        GatewayTls::Mesh => true,
        GatewayTls::Own(termination) => termination.clients.is_some(),
    }
}

fn bytes(listener: &str, shares: &[Share], proxy: &ProxyPlan) -> Vec<Filter> {
    let specifier = match shares {
        [one] => TcpClusterSpecifier::Cluster(one.cluster.clone()),
        several => TcpClusterSpecifier::WeightedClusters(TcpWeightedCluster {
            clusters: several.iter().map(|it| weighted_cluster_of_bytes(&it.cluster, it.weight)).collect(),
        }),
    };
    let stat_prefix = match shares {
        [one] => one.cluster.clone(),
        _ => listener.to_owned(),
    };
    let carried = TcpProxy { stat_prefix, cluster_specifier: Some(specifier), ..Default::default() };
    let mut filters = rbac::of_connections(&proxy.authorization);
    filters.push(network_filter("envoy.filters.network.tcp_proxy", &carried));
    filters
}

fn weighted_cluster_of_bytes(name: &str, weight: u32) -> weighted_cluster::ClusterWeight {
    weighted_cluster::ClusterWeight { name: name.to_owned(), weight, ..Default::default() }
}

/// A table of hosts. What is not among them is answered with 404.
pub(super) fn table(plan: &GatewayTable) -> RouteConfiguration {
    RouteConfiguration {
        name: plan.name.clone(),
        virtual_hosts: plan.hosts.iter().map(|it| host(it, plan)).collect(),
        validate_clusters: Some(BoolValue { value: false }),
        // A gateway is reached by whatever port stands before it.
        ignore_port_in_host_matching: true,
        ..Default::default()
    }
}

fn host(plan: &GatewayHost, table: &GatewayTable) -> VirtualHost {
    let require_tls = if plan.only_tls { TlsRequirementType::All } else { TlsRequirementType::None };
    VirtualHost {
        name: format!("{}|{}", plan.host, table.name),
        domains: vec![plan.host.clone()],
        routes: plan.routes.iter().map(to).collect(),
        require_tls: require_tls.into(),
        ..Default::default()
    }
}

fn to(plan: &GatewayRoute) -> Route {
    let action = match plan.to.as_slice() {
        [] => nowhere(),
        [one] => forward(ClusterSpecifier::Cluster(one.cluster.clone())),
        several => forward(ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: several.iter().map(share).collect(),
            ..Default::default()
        })),
    };
    Route { r#match: Some(path(&plan.path)), action: Some(action), ..Default::default() }
}

fn share(plan: &Share) -> ClusterWeight {
    ClusterWeight { name: plan.cluster.clone(), weight: number(plan.weight), ..Default::default() }
}

fn forward(to: ClusterSpecifier) -> Action {
    Action::Route(RouteAction {
        cluster_specifier: Some(to),
        timeout: seconds(0),
        retry_policy: Some(route::retries()),
        ..Default::default()
    })
}

fn nowhere() -> Action {
    let text = "countersign: the route leads to no service\n";
    let body = DataSource { specifier: Some(Specifier::InlineString(text.to_owned())), ..Default::default() };
    Action::DirectResponse(DirectResponseAction { status: 503, body: Some(body), ..Default::default() })
}

fn path(plan: &PathMatch) -> RouteMatch {
    let (specifier, ignore_case) = match plan {
        PathMatch::Any => (PathSpecifier::Prefix("/".to_owned()), false),
        PathMatch::Exact { path, ignore_case } => (PathSpecifier::Path(path.clone()), *ignore_case),
        PathMatch::Prefix { path, ignore_case } => (PathSpecifier::Prefix(path.clone()), *ignore_case),
        PathMatch::Regex(regex) => {
            (PathSpecifier::SafeRegex(RegexMatcher { regex: regex.clone(), ..Default::default() }), false)
        }
    };
    RouteMatch {
        path_specifier: Some(specifier),
        case_sensitive: ignore_case.then_some(BoolValue { value: false }),
        ..Default::default()
    }
}
