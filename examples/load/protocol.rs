//! The two variants of the protocol, from the client's side.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use clap::ValueEnum;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::config::listener::v3::{Filter, Listener};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::google::protobuf::Any;
use prost::Message as _;

use super::grpc::Failure;

/// A variant of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Incremental.
    Delta,
    /// State of the world.
    Sotw,
}

impl Mode {
    /// The method.
    pub fn path(self) -> &'static str {
        match self {
            Self::Delta => "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
            Self::Sotw => "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
        }
    }

    /// A first request of a type; `node` goes with the stream's first.
    pub fn subscribe(self, type_url: &str, names: &[String], node: &[u8]) -> Vec<u8> {
        let (type_url, names) = (type_url.to_owned(), names.to_vec());
        let (field, rest) = match self {
            Self::Delta => {
                let request = DeltaDiscoveryRequest { type_url, resource_names_subscribe: names, ..Default::default() };
                (1, request.encode_to_vec())
            }
            Self::Sotw => {
                let request = DiscoveryRequest { type_url, resource_names: names, ..Default::default() };
                (2, request.encode_to_vec())
            }
        };
        if node.is_empty() {
            return rest;
        }
        let mut message = Vec::with_capacity(node.len() + rest.len() + 8);
        prost::encoding::encode_key(field, prost::encoding::WireType::LengthDelimited, &mut message);
        prost::encoding::encode_varint(node.len() as u64, &mut message);
        message.extend_from_slice(node);
        message.extend_from_slice(&rest);
        message
    }

    /// An acknowledgement. State-of-the-world clients repeat their list of names.
    pub fn acknowledge(self, response: &Response, names: &[String]) -> Vec<u8> {
        let (type_url, response_nonce) = (response.type_url.clone(), response.nonce.clone());
        match self {
            Self::Delta => DeltaDiscoveryRequest { type_url, response_nonce, ..Default::default() }.encode_to_vec(),
            Self::Sotw => DiscoveryRequest {
                type_url,
                response_nonce,
                version_info: response.version.clone(),
                resource_names: names.to_vec(),
                ..Default::default()
            }
            .encode_to_vec(),
        }
    }

    /// Reads a response.
    pub fn response(self, message: Bytes) -> Result<Response, Failure> {
        let size = message.len();
        Ok(match self {
            Self::Delta => {
                let response = DeltaDiscoveryResponse::decode(message)?;
                let resources = response.resources.into_iter().filter_map(|resource| resource.resource).collect();
                let (type_url, nonce) = (response.type_url, response.nonce);
                Response { type_url, nonce, version: String::new(), resources, size }
            }
            Self::Sotw => {
                let response = DiscoveryResponse::decode(message)?;
                let (type_url, nonce, version) = (response.type_url, response.nonce, response.version_info);
                Response { type_url, nonce, version, resources: response.resources, size }
            }
        })
    }
}

/// A response of either variant.
pub struct Response {
    pub type_url: String,
    pub nonce: String,
    pub version: String,
    pub resources: Vec<Any>,
    /// Encoded, in bytes.
    pub size: usize,
}

/// What resources refer to, remembered by content: five thousand clients get the same.
#[derive(Default)]
pub struct References(Mutex<HashMap<u64, Arc<[String]>>>);

impl References {
    /// The names that clusters (for endpoints) and listeners (for routes) refer to.
    pub fn of(&self, resources: &[Any]) -> Result<Vec<String>, Failure> {
        let mut all = Vec::new();
        for resource in resources {
            let mut hasher = DefaultHasher::new();
            resource.value.hash(&mut hasher);
            let hash = hasher.finish();
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).cloned();
            let names = match known {
                Some(names) => names,
                None => {
                    let names: Arc<[String]> = read(resource)?.into();
                    self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(hash, Arc::clone(&names));
                    names
                }
            };
            all.extend(names.iter().cloned());
        }
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }
}

fn read(resource: &Any) -> Result<Vec<String>, Failure> {
    if resource.type_url.ends_with(".Cluster") {
        let cluster = Cluster::decode(resource.value.as_slice())?;
        let eds = ClusterDiscoveryType::Type(DiscoveryType::Eds.into());
        return Ok((cluster.cluster_discovery_type == Some(eds)).then_some(cluster.name).into_iter().collect());
    }
    let listener = Listener::decode(resource.value.as_slice())?;
    let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
    chains.flat_map(|chain| &chain.filters).filter_map(|filter| route(filter).transpose()).collect()
}

fn route(filter: &Filter) -> Result<Option<String>, Failure> {
    let Some(ConfigType::TypedConfig(config)) = &filter.config_type else { return Ok(None) };
    if !config.type_url.ends_with(".HttpConnectionManager") {
        return Ok(None);
    }
    let manager = HttpConnectionManager::decode(config.value.as_slice())?;
    Ok(match manager.route_specifier {
        Some(RouteSpecifier::Rds(rds)) => Some(rds.route_config_name),
        _ => None,
    })
}
