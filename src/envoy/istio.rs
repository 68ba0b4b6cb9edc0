//! What only Istio's build of Envoy has. An Envoy without it refuses the whole listener, so nobody gets it who has not said that he is one.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{HttpFilter, http_filter};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use prost::{Message, Name};

use super::message::any;

/// The configuration of the filter `istio.alpn`.
#[derive(Clone, PartialEq, Message)]
struct FilterConfig {
    #[prost(message, repeated, tag = "1")]
    alpn_override: Vec<AlpnOverride>,
}

#[derive(Clone, PartialEq, Message)]
struct AlpnOverride {
    #[prost(int32, tag = "1")]
    upstream_protocol: i32,
    #[prost(string, repeated, tag = "2")]
    alpn_override: Vec<String>,
}

impl Name for FilterConfig {
    const NAME: &'static str = "FilterConfig";
    const PACKAGE: &'static str = "istio.envoy.config.filter.http.alpn.v2alpha1";
}

/// HTTP/1.0, HTTP/1.1 and HTTP/2, and what is offered for each (istio/istio, pilot/pkg/xds/filters): the mesh's own word, by which the other
/// side knows requests from bytes on a port that declares neither; that of older proxies; and the one that servers outside the mesh know.
const OFFERS: [(i32, [&str; 3]); 3] = [
    (0, ["istio-http/1.0", "istio", "http/1.0"]),
    (1, ["istio-http/1.1", "istio", "http/1.1"]),
    (2, ["istio-h2", "istio", "h2"]),
];

/// Offers a server the version of HTTP that is going to be spoken to it.
pub(super) fn alpn() -> HttpFilter {
    let offer = |(upstream_protocol, words): (i32, [&str; 3])| AlpnOverride {
        upstream_protocol,
        alpn_override: words.map(str::to_owned).into(),
    };
    HttpFilter {
        name: "istio.alpn".to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(any(&FilterConfig {
            alpn_override: OFFERS.map(offer).into(),
        }))),
        ..Default::default()
    }
}

/// Of a cluster outside the mesh's TLS, whose servers know nothing of the words above: the filter is to leave alone what it offers.
pub(super) fn keeping_alpn() -> Metadata {
    let no = Value { kind: Some(Kind::StringValue("false".to_owned())) };
    let fields = HashMap::from([("alpn_override".to_owned(), no)]);
    Metadata { filter_metadata: HashMap::from([("istio".to_owned(), Struct { fields })]), ..Default::default() }
}
