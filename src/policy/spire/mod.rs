//! SPIRE's `server.conf`: HCL or JSON, in a file of its own or in the ConfigMap `spire-server`.
//!
//! What a key means is SPIRE's own (doc/spire_server.md and cmd/spire-server/cli/run/run.go in github.com/spiffe/spire). A key that SPIRE
//! has and that changes nothing here is a warning that says what does it instead; a key that SPIRE does not know is an error, as there.

mod config_map;
mod expand;
mod kinds;
mod lifetimes;
mod plugins;
mod read;
mod scalar;
mod server;
mod template;
mod x509pop;

use std::time::Duration;

pub(super) use config_map::{CONFIG_MAP, is_server_conf, read as read_config_map};
pub use kinds::{
    ClusterFederatedTrustDomain, ClusterSpiffeId, ClusterStaticEntry, Requirements, Selector, is_leaf_name,
};
pub(super) use kinds::{RawFederated, RawSpiffeId, RawStatic, federated, spiffe_id, static_entry};
pub use plugins::{KeyManager, NodeAttestor, UpstreamDisk};
pub use read::{Environment, parse_spire_config};
pub use template::{Template, TemplateData};
pub use x509pop::{AgentPath, NodeFacts, X509Pop};

use super::{Located, Origin};

/// What a `server.conf` says, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpireServer {
    /// `server.bind_address`: an IP address, or a name that the system resolves. SPIRE's default is every address.
    pub bind_address: Option<Located<String>>,
    /// `server.bind_port`, 1 to 65535. SPIRE's default is 8081.
    pub bind_port: Option<Located<u16>>,
    /// `server.trust_domain`, a valid one.
    pub trust_domain: Located<String>,
    /// `server.data_dir`.
    pub data_dir: Located<String>,
    /// `server.log_level`.
    pub log_level: Option<Located<LogLevel>>,
    /// `server.ca_ttl`: how long the intermediate lives. SPIRE's default is 24 hours.
    pub ca_ttl: Option<Located<Duration>>,
    /// `server.default_x509_svid_ttl`: how long a workload's certificate lives. SPIRE's default is one hour.
    pub svid_ttl: Option<Located<Duration>>,
    /// `server.ca_key_type`.
    pub ca_key_type: Option<Located<CaKeyType>>,
    /// `server.ca_subject`.
    pub ca_subject: Option<Located<CaSubject>>,
    /// The trust domains of `server.federation.federates_with`.
    pub federates_with: Vec<Located<String>>,
    /// The path in the `connection_string` of the `DataStore "sql"`.
    pub store: Located<String>,
    /// The `KeyManager`.
    pub key_manager: Located<KeyManager>,
    /// The `UpstreamAuthority "disk"`, if there is one.
    pub upstream: Option<Located<UpstreamDisk>>,
    /// Each `NodeAttestor`.
    pub attestors: Vec<Located<NodeAttestor>>,
    /// Where the `server` block begins.
    pub at: Origin,
}

impl SpireServer {
    /// SPIRE's default of `bind_address`.
    pub const BIND_ADDRESS: &str = "0.0.0.0";
    /// SPIRE's default of `bind_port`.
    pub const BIND_PORT: u16 = 8081;
    /// SPIRE's default of `ca_ttl`.
    pub const CA_TTL: Duration = Duration::from_secs(24 * 3600);
    /// SPIRE's default of `default_x509_svid_ttl`.
    pub const SVID_TTL: Duration = Duration::from_secs(3600);

    /// How long the intermediate lives.
    pub fn ca_ttl(&self) -> Duration {
        self.ca_ttl.as_ref().map_or(Self::CA_TTL, |it| it.value)
    }

    /// How long a workload's certificate lives.
    pub fn svid_ttl(&self) -> Duration {
        self.svid_ttl.as_ref().map_or(Self::SVID_TTL, |it| it.value)
    }

    /// Where SPIRE's API would listen: `ADDRESS:PORT`.
    pub fn bind(&self) -> (&str, u16) {
        (
            self.bind_address.as_ref().map_or(Self::BIND_ADDRESS, |it| &it.value),
            self.bind_port.as_ref().map_or(Self::BIND_PORT, |it| it.value),
        )
    }
}

/// `server.log_level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// What helps to find a mistake.
    Debug,
    /// What happens.
    Info,
    /// What somebody should look at.
    Warn,
    /// What failed.
    Error,
}

/// `server.ca_key_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaKeyType {
    /// `ec-p256`
    EcP256,
    /// `ec-p384`
    EcP384,
    /// `rsa-2048`
    Rsa2048,
    /// `rsa-4096`
    Rsa4096,
}

/// `server.ca_subject`: the name of new authorities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaSubject {
    /// `country`
    pub country: Vec<String>,
    /// `organization`
    pub organization: Vec<String>,
    /// `common_name`
    pub common_name: String,
}
