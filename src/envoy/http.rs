//! HTTP connection managers.

use envoy_types::pb::envoy::config::listener::v3::Filter;
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    CodecType, ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier, ServerHeaderTransformation,
    SetCurrentClientCertDetails, UpgradeConfig,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, http_filter,
};
use envoy_types::pb::google::protobuf::BoolValue;

use super::message::{any, seconds};
use super::{istio, rbac, route, sds};
use crate::plan::{GatewayListener, InboundListener, OutboundListener, PathNormalization, ProxyPlan};

/// For requests to the application. `verified`: whether they come over mutual TLS.
pub(super) fn inbound(plan: &InboundListener, proxy: &ProxyPlan, verified: bool) -> Filter {
    let manager = telling(verified, common(format!("inbound_{}", plan.name)));
    let manager = admitting(proxy, manager);
    let admission = plan.admission.iter().filter(|it| verified || !it.spares_plaintext);
    let admitted = admission.flat_map(rbac::of_admitted_requests);
    filter(HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::RouteConfig(route::inbound(plan))),
        http_filters: admitted.chain(manager.http_filters).collect(),
        ..manager
    })
}

/// For requests from outside the mesh, routed by a table. `verified`: whether clients show certificates.
pub(super) fn gateway(plan: &GatewayListener, table: &str, proxy: &ProxyPlan, verified: bool) -> Filter {
    let rds = Rds { config_source: Some(sds::ads()), route_config_name: table.to_owned() };
    let common = common(format!("outbound_{}", plan.name));
    let manager = telling(verified, HttpConnectionManager { http_filters: offering(plan.offers_http), ..common });
    filter(HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::Rds(rds)),
        // Nobody before the gateway is trusted to say where a request came from.
        use_remote_address: Some(BoolValue { value: true }),
        ..admitting(proxy, manager)
    })
}

/// Refuses whom the operator's policies do not let in, by the paths that the operator wants them to look at.
fn admitting(proxy: &ProxyPlan, manager: HttpConnectionManager) -> HttpConnectionManager {
    let http_filters = rbac::of_requests(&proxy.authorization).into_iter().chain(manager.http_filters).collect();
    normalizing(proxy.paths, HttpConnectionManager { http_filters, ..manager })
}

/// RFC 3986 §6: whoever looks at paths looks at one form of each. As in Istio, at both ends alike.
fn normalizing(paths: PathNormalization, manager: HttpConnectionManager) -> HttpConnectionManager {
    let decoded = match paths {
        PathNormalization::DecodeAndMergeSlashes => PathWithEscapedSlashesAction::UnescapeAndForward,
        _ => PathWithEscapedSlashesAction::default(),
    };
    HttpConnectionManager {
        normalize_path: Some(BoolValue { value: paths != PathNormalization::None }),
        merge_slashes: matches!(paths, PathNormalization::MergeSlashes | PathNormalization::DecodeAndMergeSlashes),
        path_with_escaped_slashes_action: decoded.into(),
        ..manager
    }
}

/// What the application reads in `x-forwarded-client-cert` is what this proxy has verified, and nothing that a client has sent.
fn telling(verified: bool, manager: HttpConnectionManager) -> HttpConnectionManager {
    let details = SetCurrentClientCertDetails {
        subject: Some(BoolValue { value: true }),
        uri: true,
        dns: true,
        ..Default::default()
    };
    let (forward, details) = match verified {
        true => (ForwardClientCertDetails::SanitizeSet, Some(details)),
        false => (ForwardClientCertDetails::Sanitize, None),
    };
    HttpConnectionManager {
        forward_client_cert_details: forward.into(),
        set_current_client_cert_details: details,
        ..manager
    }
}

/// For the workload's own requests, routed by a table of its own.
pub(super) fn outbound(plan: &OutboundListener, table: &str) -> Filter {
    let rds = Rds { config_source: Some(sds::ads()), route_config_name: table.to_owned() };
    let common = common(format!("outbound_{}", plan.name));
    let manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::Rds(rds)),
        http_filters: offering(plan.offers_http),
        ..common
    };
    filter(normalizing(plan.paths, manager))
}

/// The filters of requests that go to others.
fn offering(http: bool) -> Vec<HttpFilter> {
    http.then(istio::alpn).into_iter().chain([router()]).collect()
}

fn common(stat_prefix: String) -> HttpConnectionManager {
    HttpConnectionManager {
        codec_type: CodecType::Auto.into(),
        stat_prefix,
        http_filters: vec![router()],
        // A sidecar is to be invisible: it ends no stream for being quiet, and signs no response.
        stream_idle_timeout: seconds(0),
        server_header_transformation: ServerHeaderTransformation::PassThrough.into(),
        use_remote_address: Some(BoolValue { value: false }),
        upgrade_configs: vec![UpgradeConfig { upgrade_type: "websocket".to_owned(), ..Default::default() }],
        ..Default::default()
    }
}

/// The filter that ends every chain.
pub(super) fn router() -> HttpFilter {
    HttpFilter {
        name: "envoy.filters.http.router".to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(any(&Router::default()))),
        ..Default::default()
    }
}

fn filter(manager: HttpConnectionManager) -> Filter {
    Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(&manager))),
    }
}
