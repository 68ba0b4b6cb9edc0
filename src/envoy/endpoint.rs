//! Endpoints.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use envoy_types::pb::envoy::config::core::v3::{Address, Locality, Metadata};
use envoy_types::pb::envoy::config::endpoint::v3::endpoint::AdditionalAddress;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use prost::Message;

use super::message::{self, named_socket, number, socket, unix};
use super::{EncodedResource, wire};
use crate::plan::{Cluster as Plan, ClusterEndpoint, ClusterTls, Discovery, EndpointAddress, InboundTarget};

/// Where Envoy looks for what `transport_socket_matches` compares.
const SOCKET_MATCH: &str = "envoy.transport_socket_match";

/// The label of an endpoint that accepts mutual TLS, as Istio has it.
pub(super) fn mtls_label() -> (String, Value) {
    ("tlsMode".to_owned(), Value { kind: Some(Kind::StringValue("istio".to_owned())) })
}

/// The endpoints of a cluster that asks for them; one that has them from the DNS does not ask.
pub(super) fn assignment_resource(plan: &Plan) -> Option<EncodedResource> {
    let assignment = || message::encoded::<ClusterLoadAssignment>(&plan.name, &[&assignment(plan, Localities::ByTls)]);
    (plan.discovery == Discovery::Endpoints).then(assignment)
}

/// What localities tell.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Localities {
    /// Envoy where endpoints are. Where some of them get mutual TLS and some do not, the latter have localities of their own.
    ///
    /// Envoy 1.36 keeps its connections to an endpoint of which it hears no more than that it is to get mutual TLS from now on, or none
    /// any more, and goes on using them. One whose locality is another is another endpoint to it: the connections to the one before end when
    /// their requests have.
    ByTls,
    /// gRPC where they are, and how many: it takes a locality without a weight for empty, and one without a name for none.
    Weighted,
}

/// Endpoints by locality: a `ClusterLoadAssignment`, encoded.
pub(super) fn assignment(plan: &Plan, tell: Localities) -> Vec<u8> {
    let by_tls = tell == Localities::ByTls && matches!(plan.tls, ClusterTls::PerEndpoint(_));
    let mut localities: BTreeMap<(Option<&str>, bool), (Vec<u8>, u32)> = BTreeMap::new();
    for it in &plan.endpoints {
        let (encoded, weight) = localities.entry((it.locality.as_deref(), by_tls && !it.mtls)).or_default();
        encoded.extend(wire::field(2, &[&endpoint(it)]));
        *weight = weight.saturating_add(it.weight.unwrap_or(1));
    }
    let mut assignment = wire::text(1, &plan.name);
    for ((place, plain), (endpoints, weight)) in localities {
        let locality = if plain { Some(plaintext(place)) } else { place.map(locality) };
        let (locality, weight) = match tell {
            Localities::ByTls => (locality, None),
            Localities::Weighted => (Some(locality.unwrap_or_default()), number(weight)),
        };
        let locality = locality.map(|it| wire::field(1, &[&it.encode_to_vec()])).unwrap_or_default();
        let weight = weight.map(|it| wire::field(3, &[&it.encode_to_vec()])).unwrap_or_default();
        assignment.extend(wire::field(2, &[&locality, &endpoints, &weight]));
    }
    assignment
}

/// Where an application listens; `None`: where each connection was going.
pub(super) fn application(target: &InboundTarget) -> Option<LocalityLbEndpoints> {
    let address = match target {
        InboundTarget::Socket(address) | InboundTarget::Own { address, .. } => socket(*address),
        InboundTarget::Unix(path) => unix(path),
        InboundTarget::Original { .. } => return None,
    };
    Some(LocalityLbEndpoints { lb_endpoints: vec![at(address)], ..Default::default() })
}

/// An `LbEndpoint`, encoded.
fn endpoint(plan: &ClusterEndpoint) -> Vec<u8> {
    let address = match &plan.address {
        EndpointAddress::Ip(ip) => named_socket(&ip.to_string(), plan.port),
        EndpointAddress::Dns(name) => named_socket(name, plan.port),
    };
    let other = plan.other_address.map(|other| named_socket(&other.to_string(), plan.port));
    let other = other.map(|address| AdditionalAddress { address: Some(address) });
    let endpoint =
        Endpoint { address: Some(address), additional_addresses: other.into_iter().collect(), ..Default::default() };
    let mut encoded = wire::field(1, &[&endpoint.encode_to_vec()]);
    if plan.mtls {
        encoded.extend_from_slice(&MTLS);
    }
    if let Some(weight) = plan.weight.and_then(number) {
        encoded.extend(wire::field(4, &[&weight.encode_to_vec()]));
    }
    encoded
}

/// What marks an endpoint that accepts mutual TLS.
static MTLS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let label = Struct { fields: HashMap::from([mtls_label()]) };
    let metadata =
        Metadata { filter_metadata: HashMap::from([(SOCKET_MATCH.to_owned(), label)]), ..Default::default() };
    wire::field(3, &[&metadata.encode_to_vec()])
});

fn at(address: Address) -> LbEndpoint {
    let endpoint = Endpoint { address: Some(address), ..Default::default() };
    LbEndpoint { host_identifier: Some(HostIdentifier::Endpoint(endpoint)), ..Default::default() }
}

/// `region/zone/subzone`, the later parts optional.
fn locality(text: &str) -> Locality {
    let mut parts = text.splitn(3, '/').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    Locality { region: next(), zone: next(), sub_zone: next() }
}

/// The part of a place where mutual TLS is not spoken.
fn plaintext(place: Option<&str>) -> Locality {
    let of = place.map(locality).unwrap_or_default();
    let sub_zone = if of.sub_zone.is_empty() { "plaintext".to_owned() } else { format!("{}/plaintext", of.sub_zone) };
    Locality { sub_zone, ..of }
}
