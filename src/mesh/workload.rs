//! A workload: one address with one identity, and the policies that govern it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::linkerd::{Linkerd, Served};
use super::{Moving, Object, Origin, PortList, Ports, Protocol, Sidecar};
use crate::policy::linkerd::Annotations;
use crate::policy::{AuthorizationPolicy, PeerAuthentication};

/// The label by which Istio knows whether a workload has a proxy.
pub(super) const TLS_MODE_LABEL: &str = "security.istio.io/tlsMode";

/// A workload's name, unique in the mesh. Its text form is `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadKey {
    /// The namespace.
    pub namespace: String,
    /// The name in it.
    pub name: String,
}

impl WorkloadKey {
    /// The workload `name` of `namespace`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for WorkloadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Serialize for WorkloadKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A text that is not `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a workload name: write NAMESPACE/NAME")]
pub struct ParseWorkloadKeyError(String);

impl FromStr for WorkloadKey {
    type Err = ParseWorkloadKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self::new(namespace, name))
            }
            _ => Err(ParseWorkloadKeyError(text.to_owned())),
        }
    }
}

/// One workload. Outside Kubernetes that is one WorkloadEntry, and one proxy. Who it is, and the policies that hold for it.
#[derive(Debug)]
pub struct Workload {
    pub(super) registered: Arc<Registered>,
    pub(super) governance: Governance,
}

impl Deref for Workload {
    type Target = Registered;

    fn deref(&self) -> &Registered {
        &self.registered
    }
}

/// Who a workload is, whatever the policies say.
#[derive(Debug)]
pub struct Registered {
    /// Its name.
    pub key: WorkloadKey,
    /// Its address; `None` when the operator gave a DNS name, which a listener cannot bind.
    pub address: Option<IpAddr>,
    /// Its address of the other family, where it has both.
    pub other_address: Option<IpAddr>,
    /// The address as written.
    pub address_text: String,
    /// `metadata.labels`, with the spec's labels over them.
    pub labels: Arc<BTreeMap<String, String>>,
    /// The service account it runs as.
    pub service_account: String,
    /// `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`, or what it is registered as by one of SPIRE's kinds.
    pub spiffe_id: String,
    /// The same in every trust domain that counts as the mesh's own.
    pub(super) identities: Arc<[String]>,
    /// DNS names in its certificate beside its SPIFFE ID, in order, each once.
    pub dns_names: Arc<[String]>,
    /// Its certificate lives no longer than this.
    pub leaf_ttl: Option<Duration>,
    /// The SPIFFE IDs of the nodes that may become it, by `parentID` of the entries that give it its identity.
    pub nodes: Arc<[String]>,
    /// Whether a proxy stands before it. Label `security.istio.io/tlsMode: disabled` says no.
    pub meshed: bool,
    /// The ports that have names.
    pub ports: Ports,
    /// `region/zone/subzone`.
    pub locality: Option<String>,
    /// Its share of the load among its service's endpoints.
    pub weight: Option<u32>,
    /// Whether it takes connections now, as far as its Pod's status says.
    pub ready: bool,
    /// Where it was written.
    pub at: Origin,
    /// Linkerd's annotations: its own, its group's and its namespace's, the narrowest first.
    pub(super) annotations: Annotations,
}

/// What the policies say of a workload.
#[derive(Clone, Debug, Default)]
pub(super) struct Governance {
    /// What decides its inbound mode.
    pub(super) authentication: Authentication,
    /// Its ports that are on their way to another inbound mode.
    pub(super) moving: BTreeMap<u16, Moving>,
    pub(super) sidecar: Option<Arc<Object<Sidecar>>>,
    pub(super) access: Vec<Arc<Object<AuthorizationPolicy>>>,
    /// By port: Linkerd's Server that selects it. Of several the oldest.
    pub(super) servers: BTreeMap<u16, Arc<Served>>,
}

impl Governance {
    /// Whether it is by the very same policies.
    pub(super) fn is(&self, other: &Self) -> bool {
        fn same<T>(one: &[Arc<T>], other: &[Arc<T>]) -> bool {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other))
        }
        let Authentication { workload, namespace, mesh } = &self.authentication;
        let of = &other.authentication;
        same(workload.as_slice(), of.workload.as_slice())
            && same(namespace.as_slice(), of.namespace.as_slice())
            && same(mesh.as_slice(), of.mesh.as_slice())
            && same(self.sidecar.as_slice(), other.sidecar.as_slice())
            && same(&self.access, &other.access)
            && self.moving == other.moving
            && self.servers == other.servers
    }
}

impl Workload {
    /// The Sidecar that governs it: one that selects it before its namespace's, and that before the root namespace's;
    /// the oldest of each.
    pub fn sidecar(&self) -> Option<&Arc<Object<Sidecar>>> {
        self.governance.sidecar.as_ref()
    }

    /// Its identity, in every trust domain that counts as the mesh's own.
    pub fn identities(&self) -> &[String] {
        &self.identities
    }

    /// The AuthorizationPolicies that hold for it, ALLOW and DENY: the root namespace's first, and of each the oldest first.
    pub fn access(&self) -> &[Arc<Object<AuthorizationPolicy>>] {
        &self.governance.access
    }

    /// The ports to which it sends plaintext, whoever serves them: `config.linkerd.io/skip-outbound-ports` of its own, its group or its
    /// namespace.
    pub fn skipped_outbound(&self) -> Option<&PortList> {
        self.annotations.skip_outbound_ports.as_ref().map(|it| &it.value).filter(|it| !it.is_empty())
    }

    /// What Linkerd's policy says of it.
    pub(super) fn linkerd(&self) -> Linkerd<'_> {
        Linkerd { annotations: &self.annotations, servers: &self.governance.servers, ports: &self.ports }
    }

    /// What a port speaks to which no service leads.
    pub fn protocol(&self, port: u16) -> Protocol {
        self.spoken(port, Protocol::Undeclared)
    }

    /// What a port speaks of which a service or a Sidecar says that it is `declared`: that, unless it says nothing, or Linkerd's policy
    /// says that it carries bytes. What goes past the proxy is bytes to it, whatever its clients say.
    pub fn spoken(&self, port: u16, declared: Protocol) -> Protocol {
        if self.linkerd().is_skipped(port) {
            return Protocol::Tcp;
        }
        match self.linkerd().protocol(port) {
            Some(protocol) if declared == Protocol::Undeclared || !protocol.is_http() => protocol,
            _ => declared,
        }
    }
}

/// The winning PeerAuthentication of each scope, from narrow to wide.
#[derive(Clone, Debug, Default)]
pub(super) struct Authentication {
    pub(super) workload: Option<Arc<Object<PeerAuthentication>>>,
    pub(super) namespace: Option<Arc<Object<PeerAuthentication>>>,
    pub(super) mesh: Option<Arc<Object<PeerAuthentication>>>,
}
