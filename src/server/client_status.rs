//! `ClientStatusDiscoveryService`: the state of every client, for operators. It has names, versions and what clients said; no
//! resource's content, so no secret.

use std::pin::Pin;
use std::sync::Arc;

use envoy_types::pb::envoy::admin::v3::{ClientResourceStatus, UpdateFailureState};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::status::v3::client_config::GenericXdsConfig;
use envoy_types::pb::envoy::service::status::v3::client_status_discovery_service_server::ClientStatusDiscoveryService;
use envoy_types::pb::envoy::service::status::v3::{
    ClientConfig, ClientStatusRequest, ClientStatusResponse, ConfigStatus,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{NodeMatcher, StringMatcher, string_matcher::MatchPattern};
use futures_util::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::fleet::{Fleet, ResourceRecord, State, StreamRecord, TypeRecord};
use crate::xds::{ResourceType, Version};

/// The service.
pub(super) struct ClientStatus {
    fleet: Arc<Fleet>,
}

impl ClientStatus {
    pub(super) fn new(fleet: Arc<Fleet>) -> Self {
        Self { fleet }
    }
}

#[tonic::async_trait]
impl ClientStatusDiscoveryService for ClientStatus {
    type StreamClientStatusStream = Pin<Box<dyn Stream<Item = Result<ClientStatusResponse, Status>> + Send>>;

    async fn stream_client_status(
        &self,
        requests: Request<Streaming<ClientStatusRequest>>,
    ) -> Result<Response<Self::StreamClientStatusStream>, Status> {
        let fleet = Arc::clone(&self.fleet);
        let answers = requests.into_inner().map(move |request| answer(&fleet, &request?));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn fetch_client_status(
        &self,
        request: Request<ClientStatusRequest>,
    ) -> Result<Response<ClientStatusResponse>, Status> {
        answer(&self.fleet, request.get_ref()).map(Response::new)
    }
}

/// One entry for each client whose node fits one of the matchers, or for each if there is none.
fn answer(fleet: &Fleet, request: &ClientStatusRequest) -> Result<ClientStatusResponse, Status> {
    let matchers = &request.node_matchers;
    let config = fleet.look(|stream| {
        let id = &stream.description().node.id;
        let fitting = matchers.iter().map(|matcher| fits(matcher, id)).collect::<Result<Vec<_>, _>>();
        fitting
            .map(|fitting| fitting.is_empty() || fitting.contains(&true))
            .map(|is_asked| is_asked.then(|| client(&stream.record())))
            .transpose()
    });
    Ok(ClientStatusResponse { config: config.into_iter().collect::<Result<_, Status>>()? })
}

fn fits(matcher: &NodeMatcher, id: &str) -> Result<bool, Status> {
    let unsupported =
        || Status::invalid_argument("node_matchers: node_id exact, prefix, suffix and contains are supported");
    if !matcher.node_metadatas.is_empty() {
        return Err(unsupported());
    }
    match &matcher.node_id {
        None => Ok(true),
        Some(StringMatcher { ignore_case: false, match_pattern: Some(pattern) }) => match pattern {
            MatchPattern::Exact(text) => Ok(id == text),
            MatchPattern::Prefix(text) => Ok(id.starts_with(text)),
            MatchPattern::Suffix(text) => Ok(id.ends_with(text)),
            MatchPattern::Contains(text) => Ok(id.contains(text)),
            _ => Err(unsupported()),
        },
        Some(_) => Err(unsupported()),
    }
}

/// One client: a line for each type, and one for each resource that is not in sync.
fn client(stream: &StreamRecord) -> ClientConfig {
    let description = &stream.description;
    let node = Node {
        id: description.node.id.clone(),
        cluster: description.node.cluster.clone(),
        user_agent_name: description.node.user_agent.clone(),
        ..Node::default()
    };
    let mut generic_xds_configs = Vec::new();
    for ty in ResourceType::ALL {
        let record = stream.of(ty);
        generic_xds_configs.push(of_type(ty, record));
        let behind = record.resources.iter().filter(|(_, held)| held.state() != State::Synced);
        generic_xds_configs.extend(behind.map(|(name, held)| of_resource(ty, name, held)));
    }
    // Which workload, and who it was that came: the node's own words above prove nothing.
    let client_scope = match &description.identity {
        Some(identity) => format!("{} {identity}", description.workload),
        None => description.workload.clone(),
    };
    ClientConfig { node: Some(node), generic_xds_configs, client_scope, ..ClientConfig::default() }
}

fn of_type(ty: ResourceType, record: &TypeRecord) -> GenericXdsConfig {
    let state = record.state();
    let error = record.errors().next().map(|(name, error)| format!("{name}: {error}"));
    entry(ty, String::new(), record.version(), state, error, None)
}

fn of_resource(ty: ResourceType, name: &str, held: &ResourceRecord) -> GenericXdsConfig {
    let state = held.state();
    let rejected = held.rejected.as_ref().filter(|_| state == State::Rejected);
    let (version, error) = rejected.map(|refusal| (refusal.version, refusal.error.to_string())).unzip();
    entry(ty, name.to_owned(), held.acknowledged.as_ref().map(|event| event.version), state, error, version)
}

fn entry(
    ty: ResourceType,
    name: String,
    version: Option<Version>,
    state: State,
    error: Option<String>,
    rejected: Option<Version>,
) -> GenericXdsConfig {
    let text = |version: Option<Version>| version.map(|version| version.to_string()).unwrap_or_default();
    let (config_status, client_status) = match state {
        State::NotSent => (ConfigStatus::NotSent, ClientResourceStatus::Unknown),
        State::Synced => (ConfigStatus::Synced, ClientResourceStatus::Acked),
        State::Stale => (ConfigStatus::Stale, ClientResourceStatus::Requested),
        State::Rejected => (ConfigStatus::Error, ClientResourceStatus::Nacked),
    };
    let error_state = error.map(|details| UpdateFailureState {
        details,
        version_info: text(rejected),
        ..UpdateFailureState::default()
    });
    GenericXdsConfig {
        type_url: ty.url().to_owned(),
        name,
        version_info: text(version),
        config_status: config_status.into(),
        client_status: client_status.into(),
        error_state,
        ..GenericXdsConfig::default()
    }
}
