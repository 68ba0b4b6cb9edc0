//! Messages within messages.

use std::net::SocketAddr;

use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::config::core::v3::{Address, Pipe, SocketAddress, TransportSocket};
use envoy_types::pb::envoy::config::listener::v3::AdditionalAddress;
use envoy_types::pb::google::protobuf::{Any, Duration as ProtoDuration, UInt32Value};
use prost::{Message, Name};

use super::EncodedResource;

/// The four types that are resources, with their URLs.
pub(super) trait ResourceMessage: Message {
    const TYPE_URL: &'static str;
}

macro_rules! resource_message {
    ($($message:ty => $url:literal),* $(,)?) => {
        $(impl ResourceMessage for $message { const TYPE_URL: &'static str = $url; })*
    };
}

resource_message! {
    envoy_types::pb::envoy::config::cluster::v3::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment =>
        "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    envoy_types::pb::envoy::config::listener::v3::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
    envoy_types::pb::envoy::config::route::v3::RouteConfiguration =>
        "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
}

pub(super) fn resource<M: ResourceMessage>(name: &str, message: &M) -> EncodedResource {
    EncodedResource { type_url: M::TYPE_URL, name: name.to_owned(), value: message.encode_to_vec().into() }
}

/// The same, of a message that is encoded already.
pub(super) fn encoded<M: ResourceMessage>(name: &str, parts: &[&[u8]]) -> EncodedResource {
    EncodedResource { type_url: M::TYPE_URL, name: name.to_owned(), value: parts.concat().into() }
}

/// An extension's configuration.
pub(super) fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: format!("type.googleapis.com/{}", M::full_name()), value: message.encode_to_vec() }
}

pub(super) fn transport_socket<M: Message + Name>(name: &str, context: &M) -> TransportSocket {
    TransportSocket { name: name.to_owned(), config_type: Some(ConfigType::TypedConfig(any(context))) }
}

pub(super) fn seconds(seconds: i64) -> Option<ProtoDuration> {
    Some(ProtoDuration { seconds, nanos: 0 })
}

pub(super) fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

/// What a listener binds besides its first address.
pub(super) fn additional(address: Option<SocketAddr>) -> Vec<AdditionalAddress> {
    let one = |address| AdditionalAddress { address: Some(socket(address)), ..Default::default() };
    address.map(one).into_iter().collect()
}

pub(super) fn socket(address: SocketAddr) -> Address {
    named_socket(&address.ip().to_string(), address.port())
}

/// `host` is an address, or a name where Envoy resolves names.
pub(super) fn named_socket(host: &str, port: u16) -> Address {
    let socket = SocketAddress {
        address: host.to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(port.into())),
        ..Default::default()
    };
    Address { address: Some(AddressKind::SocketAddress(socket)) }
}

pub(super) fn unix(path: &str) -> Address {
    Address { address: Some(AddressKind::Pipe(Pipe { path: path.to_owned(), ..Default::default() })) }
}
