//! Clusters.

use std::collections::HashMap;
use std::net::IpAddr;

use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, EdsClusterConfig, LbPolicy, TransportSocketMatch,
};
use envoy_types::pb::envoy::config::cluster::v3::{CircuitBreakers, Cluster};
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{BindConfig, ExtraSourceAddress, SocketAddress, TransportSocket};
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
};
use envoy_types::pb::google::protobuf::{Any, Struct};

use super::message::{any, number, seconds, transport_socket};
use super::{endpoint, istio, sds, tls};
use crate::plan::{Cluster as Plan, ClusterTls, Discovery, InboundListener, InboundTarget, Protocol};

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
        Discovery::OriginalDestination => original_destination(&mut cluster),
    }
    cluster.metadata = plan.keeps_alpn.then(istio::keeping_alpn);
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
    let mut cluster = common(&plan.cluster, plan.protocol);
    match endpoint::application(&plan.target) {
        Some(application) => {
            cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into()));
            cluster.load_assignment = Some(ClusterLoadAssignment {
                cluster_name: plan.cluster.clone(),
                endpoints: vec![application],
                ..Default::default()
            });
        }
        None => original_destination(&mut cluster),
    }
    let sources = match plan.target {
        InboundTarget::Original { source, other_source } => Some((source, other_source)),
        InboundTarget::Own { source, .. } => Some((source, None)),
        InboundTarget::Socket(_) | InboundTarget::Unix(_) => None,
    };
    cluster.upstream_bind_config = sources.map(|(source, other)| BindConfig {
        source_address: Some(from(source)),
        extra_source_addresses: other
            .map(|other| ExtraSourceAddress { address: Some(from(other)), ..Default::default() })
            .into_iter()
            .collect(),
        ..Default::default()
    });
    cluster
}

/// Sends each connection to where it was going.
pub(super) fn passthrough(name: &str) -> Cluster {
    let mut cluster = common(name, Protocol::Undeclared);
    original_destination(&mut cluster);
    cluster
}

/// Has nobody behind it.
pub(super) fn black_hole(name: &str) -> Cluster {
    Cluster {
        name: name.to_owned(),
        connect_timeout: seconds(CONNECT_TIMEOUT_SECONDS),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
        ..Default::default()
    }
}

fn original_destination(cluster: &mut Cluster) {
    cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::OriginalDst.into()));
    cluster.lb_policy = LbPolicy::ClusterProvided.into();
}

fn from(address: IpAddr) -> SocketAddress {
    SocketAddress {
        address: address.to_string(),
        port_specifier: Some(PortSpecifier::PortValue(0)),
        ..Default::default()
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
    let explicit =
        |config| UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: Some(config) });
    let options = match protocol {
        Protocol::Http2 | Protocol::Grpc => explicit(ProtocolConfig::Http2ProtocolOptions(Default::default())),
        Protocol::Http | Protocol::HttpProxy => explicit(ProtocolConfig::HttpProtocolOptions(Default::default())),
        // What turns out to be HTTP goes on in the version in which it came.
        Protocol::Undeclared => UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
            http_protocol_options: Some(Default::default()),
            http2_protocol_options: Some(Default::default()),
            ..Default::default()
        }),
        Protocol::Tls | Protocol::Tcp => return None,
    };
    Some(any(&HttpProtocolOptions { upstream_protocol_options: Some(options), ..Default::default() }))
}

fn socket_match(name: &str, r#match: Struct, socket: TransportSocket) -> TransportSocketMatch {
    TransportSocketMatch { name: name.to_owned(), r#match: Some(r#match), transport_socket: Some(socket) }
}

fn raw_buffer() -> TransportSocket {
    transport_socket("envoy.transport_sockets.raw_buffer", &RawBuffer::default())
}
