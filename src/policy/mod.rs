//! The operator's kinds: parsed, validated, and each field traceable to its `file:line`.

mod destination_rule;
mod networking;
mod object;
mod origin;
mod peer_authentication;
mod secret;
mod set;

pub use destination_rule::{ClientTls, ClientTlsMode, DestinationRule, Subset, TrafficPolicy};
pub use networking::{
    EgressPort, Endpoint, Protocol, Resolution, Service, ServiceEntry, ServicePort, Sidecar, SidecarEgress,
    SidecarIngress, TargetPort, WorkloadEntry,
};
pub use object::{LabelSelector, Metadata, Object};
pub use origin::{Located, Origin};
pub use peer_authentication::{MtlsMode, PeerAuthentication};
pub use secret::{Namespace, Secret};
pub use set::PolicySet;
