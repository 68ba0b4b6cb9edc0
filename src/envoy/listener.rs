//! Listeners, and the filter chains by which one port speaks plaintext, mutual TLS, or both.

use envoy_types::pb::envoy::config::core::v3::{TrafficDirection, TransportSocket};
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, Listener, ListenerFilter, listener_filter,
};
use envoy_types::pb::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
use envoy_types::pb::google::protobuf::BoolValue;
use prost::{Message, Name};

use super::message::{additional, any, seconds, socket};
use super::{http, rbac, tls};
use crate::plan::{
    Detect, InboundListener, InboundMode, OutboundListener, OutboundTarget, Protocol, ProxyPlan, ServerNames,
    Termination,
};

/// How the mesh's own TLS is told from an application's, on a port that takes both: the words that Istio's proxies offer for bytes,
/// which plain ones offer for everything.
const MESH_ALPN: [&str; 2] = ["istio-peer-exchange", "istio"];
/// The words that Istio's proxies offer when what they carry is HTTP.
const MESH_HTTP_ALPN: [&str; 3] = ["istio-http/1.0", "istio-http/1.1", "istio-h2"];
/// What the HTTP inspector calls plaintext requests.
const PLAINTEXT_HTTP: [&str; 2] = ["http/1.1", "h2c"];
/// What a server of HTTP agrees to.
const HTTP_ALPN: [&str; 2] = ["h2", "http/1.1"];
/// What a server of bytes agrees to.
const TCP_ALPN: [&str; 3] = ["istio-peer-exchange", "h2", "http/1.1"];
/// On a port that takes both: after this long without a byte the client is taken for one that waits for the server to speak first,
/// as those of MySQL or SMTP do, and is let through in plaintext. Istio waits for ever.
pub(super) const SILENT_CLIENT_SECONDS: i64 = 3;

const TLS: &str = "tls";
const PLAINTEXT: &str = "raw_buffer";

/// A listener for the workload's own requests.
pub(super) fn outbound(plan: &OutboundListener) -> Listener {
    let mut listener = Listener {
        name: plan.name.clone(),
        address: Some(socket(plan.bind)),
        additional_addresses: additional(plan.also),
        traffic_direction: TrafficDirection::Outbound.into(),
        bind_to_port: plan.captured.then_some(BoolValue { value: false }),
        ..Default::default()
    };
    let filter = match &plan.target {
        OutboundTarget::Http(table) => http::outbound(plan, table),
        OutboundTarget::Tcp(cluster) => tcp_proxy(cluster),
        OutboundTarget::Detect(detect) => {
            detecting(plan, detect, &mut listener);
            return listener;
        }
    };
    listener.filter_chains = vec![FilterChain { filters: vec![filter], ..Default::default() }];
    listener
}

/// The chains of a listener that looks at what the client says first. A client that says nothing waits for the server to speak.
fn detecting(plan: &OutboundListener, detect: &Detect, listener: &mut Listener) {
    listener.listener_filters.push(tls_inspector());
    if let Some(table) = &detect.http {
        listener.listener_filters.push(http_inspector());
        let plaintext = matching(PLAINTEXT, &PLAINTEXT_HTTP);
        listener.filter_chains.push(chain("http", plaintext, None, vec![http::outbound(plan, table)]));
    }
    for ServerNames { names, cluster } in &detect.tls {
        let server_names = matching(TLS, &[]).map(|it| FilterChainMatch { server_names: names.clone(), ..it });
        listener.filter_chains.push(chain(cluster, server_names, None, vec![tcp_proxy(cluster)]));
    }
    let otherwise = vec![tcp_proxy(&detect.otherwise)];
    listener.default_filter_chain = Some(chain("PassthroughFilterChain", None, None, otherwise));
    listener.listener_filters_timeout = seconds(SILENT_CLIENT_SECONDS);
    listener.continue_on_listener_filters_timeout = true;
}

/// A listener for requests to the application. The chains are Istio's, by mode and protocol; but where Istio waits without end for a
/// client's first bytes, a client that says nothing is let through after a while.
pub(super) fn inbound(plan: &InboundListener, proxy: &ProxyPlan) -> Listener {
    let filter_chains = Chains { plan, proxy }.all();
    let mut filters = Vec::new();
    if filter_chains.iter().any(needs_tls_inspector) {
        filters.push(tls_inspector());
    }
    if filter_chains.iter().any(needs_http_inspector) {
        filters.push(http_inspector());
    }
    // Plaintext clients may wait for the server to speak; those of mutual TLS never do.
    let is_plain = plan.mode != InboundMode::Strict && plan.termination.is_none();
    let waits = !filters.is_empty() && is_plain && !plan.protocol.is_http();
    Listener {
        name: plan.name.clone(),
        address: Some(socket(plan.bind)),
        additional_addresses: additional(plan.also),
        traffic_direction: TrafficDirection::Inbound.into(),
        listener_filters: filters,
        listener_filters_timeout: if waits { seconds(SILENT_CLIENT_SECONDS) } else { None },
        continue_on_listener_filters_timeout: waits,
        filter_chains,
        ..Default::default()
    }
}

/// Whether a chain is told by whether the client speaks TLS. Without a TLS inspector every connection counts as plaintext, so that on a
/// port without mutual TLS an application's own TLS goes through.
pub(super) fn needs_tls_inspector(chain: &FilterChain) -> bool {
    chain.filter_chain_match.as_ref().is_some_and(|it| it.transport_protocol == TLS)
}

/// Whether a chain is told by whether the client speaks HTTP in plaintext.
pub(super) fn needs_http_inspector(chain: &FilterChain) -> bool {
    let is_http = |word: &String| PLAINTEXT_HTTP.contains(&word.as_str());
    chain.filter_chain_match.as_ref().is_some_and(|it| it.application_protocols.iter().any(is_http))
}

/// The filter chains of one inbound port.
pub(super) struct Chains<'a> {
    pub(super) plan: &'a InboundListener,
    pub(super) proxy: &'a ProxyPlan,
}

impl Chains<'_> {
    pub(super) fn all(&self) -> Vec<FilterChain> {
        if let Some(termination) = &self.plan.termination {
            return self.terminating(termination);
        }
        match self.plan.protocol {
            Protocol::Undeclared => self.undeclared(),
            protocol if protocol.is_http() => self.http(),
            _ => self.tcp(),
        }
    }

    fn http(&self) -> Vec<FilterChain> {
        let plaintext = || self.plaintext("plaintext", &[], self.http_filter(false));
        let mutual = || self.mutual("mutual-tls", &[], &HTTP_ALPN, self.http_filter(true));
        match self.plan.mode {
            InboundMode::Disable => vec![plaintext()],
            InboundMode::Strict => vec![mutual()],
            InboundMode::Permissive => vec![mutual(), plaintext()],
        }
    }

    fn tcp(&self) -> Vec<FilterChain> {
        let plaintext = || self.plaintext("plaintext", &[], self.bytes(false));
        let mutual = |alpn: &[&str]| self.mutual("mutual-tls", alpn, &TCP_ALPN, self.bytes(true));
        let all: Vec<&str> = MESH_ALPN.into_iter().chain(MESH_HTTP_ALPN).collect();
        match self.plan.mode {
            InboundMode::Disable => vec![plaintext()],
            InboundMode::Strict => vec![mutual(&[])],
            InboundMode::Permissive => vec![mutual(&all), self.application_tls(), plaintext()],
        }
    }

    /// A port of which nothing says what it speaks: HTTP where the client says so, and bytes otherwise.
    fn undeclared(&self) -> Vec<FilterChain> {
        let mutual_http = || self.mutual("mutual-tls-http", &MESH_HTTP_ALPN, &HTTP_ALPN, self.http_filter(true));
        let mutual = |alpn: &[&str]| self.mutual("mutual-tls", alpn, &TCP_ALPN, self.bytes(true));
        let plaintext_http = || self.plaintext("plaintext-http", &PLAINTEXT_HTTP, self.http_filter(false));
        let plaintext = || self.plaintext("plaintext", &[], self.bytes(false));
        match self.plan.mode {
            InboundMode::Disable => vec![plaintext_http(), plaintext()],
            InboundMode::Strict => vec![mutual_http(), mutual(&[])],
            InboundMode::Permissive => {
                vec![mutual_http(), plaintext_http(), mutual(&MESH_ALPN), self.application_tls(), plaintext()]
            }
        }
    }

    /// TLS with a certificate of the operator's; while the port is on its way, the mesh's too, told from it by what its clients offer.
    fn terminating(&self, termination: &Termination) -> Vec<FilterChain> {
        let filters = || match self.plan.protocol.is_http() {
            true => self.http_filter(termination.clients.is_some()),
            false => self.bytes(false),
        };
        let refused = termination.clients.as_ref().map(|clients| clients.refused.as_slice()).unwrap_or_default();
        let own = [rbac::of_certificates(refused), filters()].concat();
        let own = chain("tls", matching(TLS, &[]), Some(tls::terminating(termination)), own);
        if self.plan.mode == InboundMode::Disable {
            return vec![own];
        }
        let all: Vec<&str> = MESH_ALPN.into_iter().chain(MESH_HTTP_ALPN).collect();
        let mutual = match self.plan.protocol.is_http() {
            true => self.mutual("mutual-tls", &all, &HTTP_ALPN, self.http_filter(true)),
            false => self.mutual("mutual-tls", &all, &TCP_ALPN, self.bytes(true)),
        };
        vec![mutual, own]
    }

    fn mutual(&self, name: &str, alpn_match: &[&str], alpn: &[&str], filters: Vec<Filter>) -> FilterChain {
        let ProxyPlan { trust_domains, roots, several_domains, tls, .. } = self.proxy;
        let filters = [rbac::of_certificates(several_domains), filters].concat();
        chain(name, matching(TLS, alpn_match), Some(tls::downstream(trust_domains, roots, tls, alpn)), filters)
    }

    fn plaintext(&self, name: &str, alpn_match: &[&str], filters: Vec<Filter>) -> FilterChain {
        chain(name, matching(PLAINTEXT, alpn_match), None, filters)
    }

    /// TLS that is not the mesh's: the application itself will know what to do with it.
    fn application_tls(&self) -> FilterChain {
        chain("application-tls", matching(TLS, &[]), None, self.bytes(false))
    }

    fn http_filter(&self, verified: bool) -> Vec<Filter> {
        vec![http::inbound(self.plan, self.proxy, verified)]
    }

    /// `verified`: whether they come over mutual TLS.
    fn bytes(&self, verified: bool) -> Vec<Filter> {
        let admission = self.plan.admission.iter().filter(|it| verified || !it.spares_plaintext);
        let mut filters: Vec<Filter> = admission.flat_map(rbac::of_admitted_connections).collect();
        filters.extend(rbac::of_connections(&self.proxy.authorization));
        filters.push(tcp_proxy(&self.plan.cluster));
        filters
    }
}

fn matching(transport: &str, alpn: &[&str]) -> Option<FilterChainMatch> {
    Some(FilterChainMatch {
        transport_protocol: transport.to_owned(),
        application_protocols: alpn.iter().map(|it| (*it).to_owned()).collect(),
        ..Default::default()
    })
}

pub(super) fn chain(
    name: &str,
    filter_chain_match: Option<FilterChainMatch>,
    transport_socket: Option<TransportSocket>,
    filters: Vec<Filter>,
) -> FilterChain {
    FilterChain { name: name.to_owned(), filter_chain_match, transport_socket, filters, ..Default::default() }
}

pub(super) fn tcp_proxy(cluster: &str) -> Filter {
    let proxy = TcpProxy {
        stat_prefix: cluster.to_owned(),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        ..Default::default()
    };
    network_filter("envoy.filters.network.tcp_proxy", &proxy)
}

pub(super) fn network_filter<M: Message + Name>(name: &str, config: &M) -> Filter {
    Filter { name: name.to_owned(), config_type: Some(ConfigType::TypedConfig(any(config))) }
}

pub(super) fn tls_inspector() -> ListenerFilter {
    listener_filter("envoy.filters.listener.tls_inspector", &TlsInspector::default())
}

pub(super) fn http_inspector() -> ListenerFilter {
    listener_filter("envoy.filters.listener.http_inspector", &HttpInspector::default())
}

pub(super) fn listener_filter<M: Message + Name>(name: &str, config: &M) -> ListenerFilter {
    ListenerFilter {
        name: name.to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(any(config))),
        ..Default::default()
    }
}
