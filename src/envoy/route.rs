//! Routes.

use std::sync::LazyLock;

use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::route::v3::retry_policy::{RetryHostPredicate, retry_host_predicate};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, RetryPolicy, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::google::protobuf::BoolValue;
use prost::Message;

use super::message::{self, any, number, seconds};
use super::{EncodedResource, wire};
use crate::plan::{InboundListener, RouteTable};

/// What went wrong before the server can have seen the request, and refusals that say so. Anything else might be done twice.
const RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled,reset-before-request";
/// Istio's default.
const RETRIES: u32 = 2;

/// A table of hosts. What is not among them goes where the plan says, or is answered with 502: the mesh does not know it.
pub(super) fn table(plan: &RouteTable) -> EncodedResource {
    let known = plan.virtual_hosts.iter().map(|it| {
        let mut known = wire::text(1, &it.name);
        it.domains.iter().for_each(|domain| known.extend(wire::text(2, domain)));
        let action = wire::field(2, &[&wire::text(1, &it.cluster), &ALIKE.action]);
        known.extend(wire::field(3, &[&ALIKE.route, &action]));
        wire::field(2, &[&known])
    });
    let (name, route) = match &plan.unknown {
        Some(cluster) => ("allow_any", Route { name: "allow_any".to_owned(), ..to_cluster(cluster, None) }),
        None => ("block_all", refusal()),
    };
    let unknown =
        VirtualHost { name: name.to_owned(), domains: vec!["*".to_owned()], routes: vec![route], ..Default::default() };
    let rest = RouteConfiguration {
        name: plan.name.clone(),
        virtual_hosts: vec![unknown],
        validate_clusters: Some(BoolValue { value: false }),
        ..Default::default()
    };
    let known: Vec<u8> = known.flatten().collect();
    message::encoded::<RouteConfiguration>(&plan.name, &[&known, &rest.encode_to_vec()])
}

/// What the routes to all clusters have alike, encoded once.
struct Alike {
    /// Without its action.
    route: Vec<u8>,
    /// Without its cluster.
    action: Vec<u8>,
}

static ALIKE: LazyLock<Alike> = LazyLock::new(|| {
    let mut route = to_cluster("", Some(retries()));
    let action = match route.action.take() {
        Some(Action::Route(action)) => RouteAction { cluster_specifier: None, ..action },
        _ => RouteAction::default(),
    };
    Alike { route: route.encode_to_vec(), action: action.encode_to_vec() }
});

/// Everything to the application.
pub(super) fn inbound(plan: &InboundListener) -> RouteConfiguration {
    let everything = VirtualHost {
        name: format!("inbound|http|{}", plan.bind.port()),
        domains: vec!["*".to_owned()],
        routes: vec![to_cluster(&plan.cluster, None)],
        ..Default::default()
    };
    RouteConfiguration {
        name: plan.cluster.clone(),
        virtual_hosts: vec![everything],
        validate_clusters: Some(BoolValue { value: false }),
        ..Default::default()
    }
}

fn to_cluster(cluster: &str, retry_policy: Option<RetryPolicy>) -> Route {
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        // How long a request may take is the application's business; Envoy's own limit is 15 s.
        timeout: seconds(0),
        retry_policy,
        ..Default::default()
    };
    Route {
        name: "default".to_owned(),
        r#match: Some(every_path()),
        action: Some(Action::Route(action)),
        ..Default::default()
    }
}

fn refusal() -> Route {
    let text = "countersign: no service of the mesh has this host and port\n";
    let body = DataSource { specifier: Some(Specifier::InlineString(text.to_owned())), ..Default::default() };
    let response = DirectResponseAction { status: 502, body: Some(body), ..Default::default() };
    Route {
        name: "block_all".to_owned(),
        r#match: Some(every_path()),
        action: Some(Action::DirectResponse(response)),
        ..Default::default()
    }
}

fn every_path() -> RouteMatch {
    RouteMatch { path_specifier: Some(PathSpecifier::Prefix("/".to_owned())), ..Default::default() }
}

pub(super) fn retries() -> RetryPolicy {
    let elsewhere = RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(retry_host_predicate::ConfigType::TypedConfig(any(&PreviousHostsPredicate::default()))),
    };
    RetryPolicy {
        retry_on: RETRY_ON.to_owned(),
        num_retries: number(RETRIES),
        retry_host_predicate: vec![elsewhere],
        host_selection_retry_max_attempts: 5,
        ..Default::default()
    }
}
