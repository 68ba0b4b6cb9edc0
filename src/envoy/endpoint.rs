//! Endpoints.

use std::collections::{BTreeMap, HashMap};

use envoy_types::pb::envoy::config::core::v3::{Address, Locality, Metadata};
use envoy_types::pb::envoy::config::endpoint::v3::endpoint::AdditionalAddress;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};

use super::EncodedResource;
use super::message::{named_socket, number, resource, socket, unix};
use crate::plan::{Cluster as Plan, ClusterEndpoint, ClusterTls, Discovery, EndpointAddress, InboundTarget};

/// Where Envoy looks for what `transport_socket_matches` compares.
const SOCKET_MATCH: &str = "envoy.transport_socket_match";

/// The label of an endpoint that accepts mutual TLS, as Istio has it.
pub(super) fn mtls_label() -> (String, Value) {
    ("tlsMode".to_owned(), Value { kind: Some(Kind::StringValue("istio".to_owned())) })
}

/// The endpoints of a cluster that asks for them; one that has them from the DNS does not ask.
pub(super) fn assignment_resource(plan: &Plan) -> Option<EncodedResource> {
    (plan.discovery == Discovery::Endpoints).then(|| resource(&plan.name, &assignment(plan)))
}

/// Endpoints by locality. Where some get mutual TLS and some do not, the latter have localities of their own.
///
/// Envoy 1.36 keeps its connections to an endpoint of which it hears no more than that it is to get mutual TLS from now on, or none
/// any more, and goes on using them. One whose locality is another is another endpoint to it: the connections to the one before end when their requests have.
pub(super) fn assignment(plan: &Plan) -> ClusterLoadAssignment {
    let by_endpoint = matches!(plan.tls, ClusterTls::PerEndpoint(_));
    let plain = |it: &ClusterEndpoint| by_endpoint && !it.mtls;
    by_locality(&plan.name, plan.endpoints.iter().map(|it| (it, plain(it))))
}

/// Endpoints by locality.
pub(super) fn assignment_of(name: &str, endpoints: &[ClusterEndpoint]) -> ClusterLoadAssignment {
    by_locality(name, endpoints.iter().map(|it| (it, false)))
}

fn by_locality<'a>(name: &str, endpoints: impl Iterator<Item = (&'a ClusterEndpoint, bool)>) -> ClusterLoadAssignment {
    let mut localities: BTreeMap<(Option<&str>, bool), Vec<LbEndpoint>> = BTreeMap::new();
    for (it, plain) in endpoints {
        localities.entry((it.locality.as_deref(), plain)).or_default().push(endpoint(it));
    }
    let endpoints = localities.into_iter().map(|((place, plain), lb_endpoints)| LocalityLbEndpoints {
        locality: if plain { Some(plaintext(place)) } else { place.map(locality) },
        lb_endpoints,
        ..Default::default()
    });
    ClusterLoadAssignment { cluster_name: name.to_owned(), endpoints: endpoints.collect(), ..Default::default() }
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

fn endpoint(plan: &ClusterEndpoint) -> LbEndpoint {
    let address = match &plan.address {
        EndpointAddress::Ip(ip) => named_socket(&ip.to_string(), plan.port),
        EndpointAddress::Dns(name) => named_socket(name, plan.port),
    };
    let metadata = plan.mtls.then(|| Metadata {
        filter_metadata: HashMap::from([(SOCKET_MATCH.to_owned(), Struct { fields: HashMap::from([mtls_label()]) })]),
        ..Default::default()
    });
    let other = plan.other_address.map(|other| named_socket(&other.to_string(), plan.port));
    let other = other.map(|address| AdditionalAddress { address: Some(address) });
    let endpoint =
        Endpoint { address: Some(address), additional_addresses: other.into_iter().collect(), ..Default::default() };
    LbEndpoint {
        metadata,
        load_balancing_weight: plan.weight.and_then(number),
        host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
        ..Default::default()
    }
}

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
