//! Clusters.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, EdsClusterConfig, LbPolicy, TransportSocketMatch,
};
use envoy_types::pb::envoy::config::cluster::v3::{CircuitBreakers, Cluster};
use envoy_types::pb::envoy::config::core::v3::{Http2ProtocolOptions, TransportSocket};
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions,
};
use envoy_types::pb::google::protobuf::{Any, Struct};

use super::message::{any, number, seconds, transport_socket};
use super::{endpoint, sds, tls};
use crate::plan::{Cluster as Plan, ClusterTls, Discovery, InboundListener, Protocol};

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// Istio's default.
const CONNECT_TIMEOUT_SECONDS: i64 = 10;

/// A cluster for the workload's own requests.
pub(super) fn outbound(plan: &Plan) -> Cluster {
    let mut cluster = common(&plan.name, plan.protocol);
    match plan.discovery {
        Discovery::Endpoints => {
            cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()));
            cluster.eds_cluster_config =
                Some(EdsClusterConfig { eds_config: Some(sds::ads()), service_name: String::new() });
            // An endpoint that the policy no longer has is gone at once.
            cluster.ignore_health_on_host_removal = true;
        }
        Discovery::Dns => {
            cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::StrictDns.into()));
            cluster.load_assignment = Some(endpoint::assignment(plan));
            cluster.dns_lookup_family = DnsLookupFamily::V4Preferred.into();
        }
    }
    match &plan.tls {
        ClusterTls::Plaintext => {}
        ClusterTls::Always(context) => cluster.transport_socket = Some(tls::upstream(context)),
        ClusterTls::PerEndpoint(context) => {
            let is_mesh = Struct { fields: HashMap::from([endpoint::mtls_label()]) };
            cluster.transport_socket_matches = vec![
                socket_match("tlsMode-istio", is_mesh, tls::upstream(context)),
                socket_match("tlsMode-disabled", Struct::default(), raw_buffer()),
            ];
        }
    }
    cluster
}

/// The application behind an inbound listener.
pub(super) fn inbound(plan: &InboundListener) -> Cluster {
    Cluster {
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: plan.cluster.clone(),
            endpoints: vec![endpoint::application(&plan.target)],
            ..Default::default()
        }),
        ..common(&plan.cluster, plan.protocol)
    }
}

fn common(name: &str, protocol: Protocol) -> Cluster {
    Cluster {
        name: name.to_owned(),
        connect_timeout: seconds(CONNECT_TIMEOUT_SECONDS),
        lb_policy: LbPolicy::LeastRequest.into(),
        // Envoy's own limits (1024 of each) would be a limit on the application that nobody has asked for.
        circuit_breakers: Some(CircuitBreakers {
            thresholds: vec![Thresholds {
                max_connections: number(u32::MAX),
                max_pending_requests: number(u32::MAX),
                max_requests: number(u32::MAX),
                max_retries: number(u32::MAX),
                track_remaining: true,
                ..Default::default()
            }],
            ..Default::default()
        }),
        typed_extension_protocol_options: http_options(protocol)
            .map(|options| (HTTP_OPTIONS.to_owned(), options))
            .into_iter()
            .collect(),
        ..Default::default()
    }
}

fn http_options(protocol: Protocol) -> Option<Any> {
    if !protocol.is_http() {
        return None;
    }
    let config = match protocol.is_http2() {
        true => ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions::default()),
        false => ProtocolConfig::HttpProtocolOptions(Default::default()),
    };
    let explicit = ExplicitHttpConfig { protocol_config: Some(config) };
    Some(any(&HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)),
        ..Default::default()
    }))
}

fn socket_match(name: &str, r#match: Struct, socket: TransportSocket) -> TransportSocketMatch {
    TransportSocketMatch { name: name.to_owned(), r#match: Some(r#match), transport_socket: Some(socket) }
}

fn raw_buffer() -> TransportSocket {
    transport_socket("envoy.transport_sockets.raw_buffer", &RawBuffer::default())
}
