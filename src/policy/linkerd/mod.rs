//! Linkerd's kinds (`policy.linkerd.io`) and annotations, in the meaning that its policy controller gives them (linkerd/linkerd2,
//! `policy-controller`). Who a name of Linkerd's means here is for the model to say; this module only reads what is written.

pub(super) mod annotations;
pub(super) mod authorization_policy;
pub(super) mod meshtls_authentication;
pub(super) mod network_authentication;
pub(super) mod server;
pub(super) mod server_authorization;

mod default_policy;
mod identity;
mod network;
mod ports;
mod reference;
mod selector;

pub use annotations::{Annotations, Injection, SKIP_OUTBOUND_PORTS};
pub use authorization_policy::{Authentication, AuthorizationPolicy, Target};
pub use default_policy::DefaultPolicy;
pub use identity::Identity;
pub use meshtls_authentication::MeshTlsAuthentication;
pub use network::ClientNetwork;
pub use network_authentication::NetworkAuthentication;
pub use ports::Ports;
pub use selector::{Expression, Operator, Selector};
pub use server::{PortRef, ProxyProtocol, Server};
pub use server_authorization::{ClientAuthentication, ServerAuthorization, ServerRef};
