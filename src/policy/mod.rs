//! The operator's kinds: parsed, validated, and each field traceable to its `file:line`.
//!
//! Text becomes a tree of nodes that know their place (`document`, where all limits on hostile input are), a serde
//! deserializer over that tree (`decode`) fills one raw struct a kind, and the kind's own file checks it. [`parse_set`] does it
//! for a whole set of files and returns all errors there are; [`parse_config`] lends the same messages to the server's own
//! configuration file. Nothing here reads a clock, a file or a lock.

pub mod linkerd;

mod access_condition;
mod authorization_policy;
mod certificate;
mod certificate_names;
mod certificate_subject;
mod config;
mod config_map;
mod decode;
mod decode_error;
mod decode_key;
mod destination_rule;
mod document;
mod endpoint_slice;
mod error;
mod fields;
mod gateway;
mod go_duration;
mod hcl;
mod host;
mod issuer;
mod key_usage;
mod kind;
mod mesh_config;
mod nearest;
mod networking;
mod object;
mod objects;
mod origin;
mod parse;
mod pattern;
mod peer_authentication;
mod pod;
mod private_key;
mod protocol;
mod reference_grant;
mod regex;
mod report;
mod secret;
mod server_tls;
mod service;
mod service_entry;
mod set;
mod sidecar;
mod spire;
mod virtual_service;
mod workload_entry;
mod workload_group;
#[cfg(test)]
mod tests;

pub use access_condition::{Condition, Matcher};
pub use authorization_policy::{AccessAction, AccessRule, AuthorizationPolicy};
pub use certificate::{Certificate, IssuerKind, IssuerRef, OutputFormat, RenewBefore, SecretTemplate};
pub use certificate_names::{CertificateNames, NameConstraints, Subtrees};
pub use certificate_subject::CertificateSubject;
pub use config::{parse_config, parse_mesh_config, written_at};

pub use destination_rule::{ClientTls, ClientTlsMode, DestinationRule, Subset, TrafficPolicy};
pub use document::MAX_FILE_BYTES;
pub use endpoint_slice::{EndpointSlice, SliceEndpoint};
pub use error::{PolicyError, Topic, Warning};
pub use gateway::{Gateway, Server, ServerProtocol};
pub use issuer::{CaIssuer, Issuer};
pub use key_usage::KeyUsage;
pub use mesh_config::{CaCertificate, MeshConfig, OutboundTrafficPolicy, PathNormalization, TlsSettings, TlsVersion};
pub use networking::{
    CaptureMode, EgressPort, Endpoint, IpFamily, Protocol, Resolution, Service, ServiceEntry, ServicePort, Sidecar,
    SidecarEgress, SidecarIngress, TargetPort, WorkloadEntry,
};
pub use object::{LabelSelector, Metadata, Object};
pub use objects::Objects;
pub use origin::{Located, Origin};
pub use parse::{parse_set, parse_set_after};
pub use pattern::{Network, Pattern};
pub use peer_authentication::{MtlsMode, PeerAuthentication};
pub use pod::Pod;
pub use private_key::{PrivateKey, PrivateKeyAlgorithm, PrivateKeyEncoding, RotationPolicy};
pub use reference_grant::{ReferenceGrant, secret_named};
pub use secret::{Namespace, Secret};
pub use server_tls::{ServerCertificate, ServerTls, ServerTlsMode};
pub use set::PolicySet;
pub use spire::{
    AgentPath, CaKeyType, CaSubject, ClusterFederatedTrustDomain, ClusterSpiffeId, ClusterStaticEntry, Environment,
    KeyManager, LogLevel, NodeAttestor, NodeFacts, Requirements, Selector, SpireServer, Template, TemplateData,
    UpstreamDisk, X509Pop, is_leaf_name, parse_spire_config,
};
pub use virtual_service::{
    HttpMatch, HttpRoute, TcpRoute, Through, TlsMatch, TlsRoute, UriMatch, VirtualService, WeightedDestination,
};
pub use workload_group::WorkloadGroup;
