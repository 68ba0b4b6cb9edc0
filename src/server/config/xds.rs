//! The port that Envoys connect to.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::access::{self, Token, Unix};
use super::limits::Limits;
use super::{loopback, value};
use crate::identity::SpiffeId;

/// The port that Envoys connect to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Xds {
    /// Where to listen.
    #[serde(deserialize_with = "value::address")]
    pub address: SocketAddr,
    /// DNS names and IP addresses in the server's own certificate.
    pub dns_names: Vec<String>,
    /// How long a proxy keeps a cluster or listener of which it hears nothing; 0: for ever.
    #[serde(deserialize_with = "value::resource_ttl")]
    pub resource_ttl: Duration,
    /// How long open streams may go on after a stop signal.
    #[serde(deserialize_with = "value::duration")]
    pub drain: Duration,
    /// Serve without TLS; loopback only.
    pub insecure_plaintext: bool,
    /// Bearer tokens.
    pub tokens: Vec<Token>,
    /// The identities that may see the state of every client (`ClientStatusDiscoveryService`).
    #[serde(deserialize_with = "access::spiffe_ids")]
    pub operators: Vec<SpiffeId>,
    /// The Unix socket for Envoys on this machine.
    pub unix: Unix,
    /// What clients may take.
    pub limits: Limits,
}

impl Default for Xds {
    fn default() -> Self {
        Self {
            address: loopback(15012),
            dns_names: vec!["localhost".into(), "127.0.0.1".into()],
            resource_ttl: Duration::ZERO,
            drain: Duration::from_secs(5),
            insecure_plaintext: false,
            tokens: Vec::new(),
            operators: Vec::new(),
            unix: Unix::default(),
            limits: Limits::default(),
        }
    }
}
