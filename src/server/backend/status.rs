//! How the server stands, and each of its proxies.

use super::super::model::Model;
use super::{ServerBackend, rfc3339};
use crate::admin::Backend;
use crate::admin::api::{AuthorityStatus, PolicyStatus, ProxyStatus, ServerStatus, TypeState, TypeStatus};
use crate::fleet::{State, StreamRecord};
use crate::xds::ResourceType;

impl ServerBackend {
    /// Policy, authorities, proxies, and changes under way.
    pub(super) async fn server_status(&self) -> ServerStatus {
        let model = self.proxies.model.load_full();
        let state = self.policy.borrow().clone();
        let rejected = state.rejected.iter().flat_map(|rejected| &rejected.errors);
        let policy = PolicyStatus {
            generation: model.as_ref().map_or(0, |model| model.generation),
            files: state.current.as_ref().map_or(0, |update| update.files),
            objects: model.as_ref().map_or(0, |model| model.set.len()),
            warnings: model.as_ref().map(|model| self.warnings(model)).unwrap_or_default(),
            rejected: rejected.map(ToString::to_string).collect(),
        };
        let bundle = self.proxies.trust.bundle();
        let signing = self.proxies.trust.root();
        let root = bundle.roots().iter().find(|root| root.serial == signing);
        let intermediate = self.proxies.trust.intermediate();
        ServerStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            trust_domain: bundle.trust_domain().to_string(),
            ready: self.ready(),
            policy,
            root: root
                .map(|root| AuthorityStatus { serial: root.serial.to_string(), not_after: rfc3339(root.not_after) })
                .unwrap_or_default(),
            intermediate: AuthorityStatus {
                serial: intermediate.serial.to_string(),
                not_after: rfc3339(intermediate.not_after),
            },
            proxies: self.proxies.fleet.len(),
            xds_address: self.xds_address.to_string(),
            mode_change: self.mode_change_summary().await,
        }
    }

    /// What the analysis has found; before it is done, what was seen on the way to the model.
    fn warnings(&self, model: &Model) -> Vec<String> {
        let analysed = self.proxies.analysed.load();
        let found = analysed.as_ref().and_then(|analysed| analysed.lines(model.generation)).unwrap_or_else(|| {
            let (parsed, built) = &model.warnings;
            parsed.iter().map(ToString::to_string).chain(built.iter().map(ToString::to_string)).collect()
        });
        let without_lists = self.proxies.roots().without_lists();
        let without_lists = without_lists.map(|it| format!("what is revoked is refused by this server only: {it}"));
        without_lists.into_iter().chain(found).collect()
    }

    /// Each stream of each proxy that is connected.
    pub(super) fn proxy_statuses(&self) -> Vec<ProxyStatus> {
        self.proxies.fleet.look(|stream| Some(proxy_status(&stream.record())))
    }
}

fn proxy_status(stream: &StreamRecord) -> ProxyStatus {
    let description = &stream.description;
    let types = ResourceType::ALL.into_iter().map(|ty| {
        let record = stream.of(ty);
        TypeStatus {
            type_name: ty.short().to_owned(),
            state: match record.state() {
                State::NotSent => TypeState::NotSent,
                State::Synced => TypeState::Synced,
                State::Stale => TypeState::Stale,
                State::Rejected => TypeState::Rejected,
            },
            resources: record.resources.len(),
            version: record.version().map(|version| version.to_string()).unwrap_or_default(),
            error: record.errors().next().map(|(name, error)| format!("{name}: {error}")),
        }
    });
    let agent = &description.node.user_agent;
    ProxyStatus {
        name: description.workload.clone(),
        node_id: description.node.id.clone(),
        identity: description.identity.clone().unwrap_or_default(),
        cluster: description.node.cluster.clone(),
        version: agent.strip_prefix("envoy ").unwrap_or(agent).to_owned(),
        connected_since: rfc3339(description.connected_since),
        types: types.collect(),
    }
}
