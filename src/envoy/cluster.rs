//! Clusters.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::LazyLock;

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
use prost::Message;

use super::endpoint::Localities;
use super::message::{self, any, number, seconds, transport_socket};
use super::{EncodedResource, endpoint, istio, sds, tls, wire};
use crate::plan::{Cluster as Plan, ClusterTls, Discovery, InboundListener, InboundTarget, Protocol};

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// Istio's default.
const CONNECT_TIMEOUT_SECONDS: i64 = 10;

/// What clusters of a class have alike, encoded once.
#[derive(Default)]
pub(super) struct Alike {
    /// By what is spoken and how endpoints are found.
    clusters: Vec<((Protocol, Discovery), Vec<u8>)>,
    contexts: tls::Alike,
}

impl Alike {
    fn cluster(&mut self, protocol: Protocol, discovery: Discovery) -> &[u8] {
        let of = (protocol, discovery);
        let known = self.clusters.iter().position(|(known, _)| *known == of);
        let position = known.unwrap_or_else(|| {
            self.clusters.push((of, discovered(protocol, discovery).encode_to_vec()));
            self.clusters.len() - 1
        });
        &self.clusters[position].1
    }
}

/// A cluster for the workload's own requests.
pub(super) fn outbound(plan: &Plan, alike: &mut Alike) -> EncodedResource {
    let name = wire::text(1, &plan.name);
    let endpoints = match plan.discovery {
        Discovery::Dns => wire::field(LOAD_ASSIGNMENT, &[&endpoint::assignment(plan, Localities::ByTls)]),
        Discovery::Endpoints | Discovery::OriginalDestination => Vec::new(),
    };
    let sockets = match &plan.tls {
        ClusterTls::Plaintext => Vec::new(),
        ClusterTls::Always(context) => wire::field(TRANSPORT_SOCKET, &[&tls::upstream(context, &mut alike.contexts)]),
        ClusterTls::PerEndpoint(context) => {
            let socket = wire::field(3, &[&tls::upstream(context, &mut alike.contexts)]);
            let mutual = wire::field(TRANSPORT_SOCKET_MATCHES, &[&MATCHES.mutual, &socket]);
            [mutual, wire::field(TRANSPORT_SOCKET_MATCHES, &[&MATCHES.plaintext])].concat()
        }
    };
    let metadata = match plan.keeps_alpn {
        true => wire::field(METADATA, &[&istio::keeping_alpn().encode_to_vec()]),
        false => Vec::new(),
    };
    let parts = [&name, alike.cluster(plan.protocol, plan.discovery), &sockets, &metadata, &endpoints];
    message::encoded::<Cluster>(&plan.name, &parts)
}

const TRANSPORT_SOCKET: u32 = 24;
const METADATA: u32 = 25;
pub(super) const LOAD_ASSIGNMENT: u32 = 33;
const TRANSPORT_SOCKET_MATCHES: u32 = 43;

/// Which endpoints get mutual TLS, as Istio has it: those that are labelled. The first match that fits counts.
struct Matches {
    /// Without its socket.
    mutual: Vec<u8>,
    plaintext: Vec<u8>,
}

static MATCHES: LazyLock<Matches> = LazyLock::new(|| {
    let is_mesh = Struct { fields: HashMap::from([endpoint::mtls_label()]) };
    let raw_buffer = transport_socket("envoy.transport_sockets.raw_buffer", &RawBuffer::default());
    Matches {
        mutual: socket_match("tlsMode-istio", is_mesh, None).encode_to_vec(),
        plaintext: socket_match("tlsMode-disabled", Struct::default(), Some(raw_buffer)).encode_to_vec(),
    }
});

/// A cluster without name, endpoints and TLS.
fn discovered(protocol: Protocol, discovery: Discovery) -> Cluster {
    let mut cluster = common("", protocol);
    match discovery {
        Discovery::Endpoints => {
            cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()));
            cluster.eds_cluster_config =
                Some(EdsClusterConfig { eds_config: Some(sds::ads()), service_name: String::new() });
            // An endpoint that the policy no longer has is gone at once.
            cluster.ignore_health_on_host_removal = true;
        }
        Discovery::Dns => {
            cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::StrictDns.into()));
            cluster.dns_lookup_family = DnsLookupFamily::V4Preferred.into();
        }
        Discovery::OriginalDestination => original_destination(&mut cluster),
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

fn socket_match(name: &str, r#match: Struct, transport_socket: Option<TransportSocket>) -> TransportSocketMatch {
    TransportSocketMatch { name: name.to_owned(), r#match: Some(r#match), transport_socket }
}
