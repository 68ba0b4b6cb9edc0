//! The seam between the transport and whoever composes the server.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::{Node, node::UserAgentVersionType};
use envoy_types::pb::google::protobuf::value::Kind;
use tokio::sync::watch;
use tonic::Status;

use super::limits::cut;
use super::{Holdings, Memory, Outcome, ResourceType, Response, View};

/// What is kept of a client's `Node`, of which a real one is some 60 KB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInfo {
    /// `node.id`.
    pub id: String,
    /// `node.cluster`.
    pub cluster: String,
    /// `node.user_agent_name` and its version, such as `envoy 1.40.0`.
    pub user_agent: String,
    /// Those `node.metadata` fields that say which workload it is, what kind of client, and how it is to be served:
    /// [`NodeInfo::METADATA`].
    pub metadata: BTreeMap<String, String>,
}

impl NodeInfo {
    /// The metadata that is kept.
    pub const METADATA: [&str; 6] =
        ["NAMESPACE", "NAME", "GENERATOR", "INTERCEPTION_MODE", "ISTIO_VERSION", "disable_spiffe_cert_validation"];
}

impl From<Node> for NodeInfo {
    fn from(node: Node) -> Self {
        let version = match node.user_agent_version_type {
            Some(UserAgentVersionType::UserAgentVersion(version)) => version,
            Some(UserAgentVersionType::UserAgentBuildVersion(build)) => {
                build.version.map(|v| format!("{}.{}.{}", v.major_number, v.minor_number, v.patch)).unwrap_or_default()
            }
            None => String::new(),
        };
        let metadata = node.metadata.map(|fields| fields.fields).unwrap_or_default();
        Self {
            id: cut(node.id),
            cluster: cut(node.cluster),
            user_agent: cut(format!("{} {version}", node.user_agent_name).trim().to_owned()),
            metadata: metadata
                .into_iter()
                .filter(|(key, _)| Self::METADATA.contains(&key.as_str()))
                .filter_map(|(key, value)| match value.kind {
                    Some(Kind::StringValue(text)) => Some((key, cut(text))),
                    Some(Kind::BoolValue(value)) => Some((key, value.to_string())),
                    _ => None,
                })
                .collect(),
        }
    }
}

/// Hears what one stream sends and what its client makes of it. Dropped when the stream ends.
pub trait StreamObserver: Send + 'static {
    /// What an earlier stream of the same client has left. Asked for once, at the beginning.
    fn recall(&mut self) -> Memory {
        Memory::default()
    }

    /// The stream ends because the client has broken a rule or a limit.
    fn refused(&mut self, _status: &Status) {}

    /// The stream ends, and leaves this to the client's next.
    fn remember(&mut self, memory: Memory) {
        let _ = memory;
    }

    /// A response is on its way.
    fn sent(&mut self, response: &Response);

    /// A request came in: a subscription, an acknowledgement or a refusal.
    fn answered(&mut self, ty: ResourceType, outcome: &Outcome);

    /// The client is in step with the newest view, and this is what it has.
    fn settled(&mut self, ty: ResourceType, holdings: &Holdings) {
        let _ = (ty, holdings);
    }

    /// The client asked by name for something it may not have, or that does not exist.
    fn unavailable(&mut self, ty: ResourceType, name: &str);

    /// The client sends requests faster than they are read; it is made to wait.
    fn throttled(&mut self) {}
}

/// What a stream is given when it is let in.
pub struct Attachment<O> {
    /// What the client may see, now and from now on. The stream ends when the sender is dropped.
    pub views: watch::Receiver<Arc<View>>,
    /// Who hears of it.
    pub observer: O,
}

/// Decides who may have which view.
pub trait ControlPlane: Send + Sync + 'static {
    /// The authenticated peer of a connection, put into each request's extensions by whoever accepted the connection.
    type Peer: Clone + Send + Sync + 'static;

    /// What hears of a stream.
    type Observer: StreamObserver;

    /// Lets a stream in, or refuses it. `peer` is `None` only where the connection carried none.
    ///
    /// # Errors
    /// The status that ends the stream, such as `PERMISSION_DENIED` for a node the peer may not speak for.
    fn attach(
        &self,
        peer: Option<Self::Peer>,
        node: NodeInfo,
    ) -> impl Future<Output = Result<Attachment<Self::Observer>, Status>> + Send;
}
