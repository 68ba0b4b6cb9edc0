//! What an operator sets: `config/countersign.yaml`, and the flags of `countersign serve` on top of it.
//!
//! The annotated file in the repository is the reference; a test holds it to the defaults here. What one value alone can
//! violate is refused while parsing, so that the message has a line; what takes two values is refused by [`Config::check`].

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::identity::TrustDomain;
use crate::mesh::IstioCompatibility;
use crate::policy::{MeshConfig, PolicyError, SpireServer, Warning, written_at};

mod access;
mod authority;
mod check;
mod lifetimes;
mod limits;
mod spire;
mod value;
mod xds;
#[cfg(test)]
mod tests;

pub use access::{Token, Unix, UnixIdentity};
pub use authority::Authorities;
pub use lifetimes::{Certificates, Rotation};
pub use limits::Limits;
pub use spire::SpireFile;
pub use xds::Xds;

/// Where the configuration is looked for when no `--config` says otherwise.
pub const DEFAULT_FILE: &str = "config/countersign.yaml";

/// The shortest lifetime that leaves time to renew: 10 seconds.
pub const MINIMUM_TTL: Duration = Duration::from_secs(10);

/// Why the server cannot start with this configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file named with `--config` (or the default one) is there but cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a configuration: bad YAML, an unknown key, a value that is out of range.
    #[error("{}", lines(.0))]
    Parse(Vec<PolicyError>),
    /// Values that are fine one by one and do not go together, or a flag with a bad value.
    #[error("configuration: {key}: {message}")]
    Invalid {
        /// The key as written in the file, dots between the levels.
        key: &'static str,
        /// What is wrong and what would be right.
        message: String,
    },
}

fn lines(errors: &[PolicyError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The server's configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// The SPIFFE trust domain of every identity.
    #[serde(deserialize_with = "value::trust_domain")]
    pub trust_domain: TrustDomain,
    /// The cluster that this server's intermediate belongs to.
    #[serde(deserialize_with = "value::name")]
    pub cluster: String,
    /// Other trust domains, whose identities may connect, and be connected to where a policy names them.
    #[serde(deserialize_with = "value::trust_domains")]
    pub federates_with: Vec<TrustDomain>,
    /// The namespace whose policies are the whole mesh's.
    #[serde(deserialize_with = "value::name")]
    pub root_namespace: String,
    /// The DNS suffix of services.
    #[serde(deserialize_with = "value::name")]
    pub cluster_domain: String,
    /// What happens where Istio would break a connection.
    pub istio_compatibility: IstioCompatibility,
    /// Where policy comes from.
    pub policy: Policy,
    /// Keys, state, and the admin socket.
    pub data_dir: PathBuf,
    /// The port that Envoys connect to.
    pub xds: Xds,
    /// The operator's port.
    pub admin: Admin,
    /// How long certificates live.
    pub certificates: Certificates,
    /// What is the same in every proxy.
    pub proxy: Proxy,
    /// Where the root comes from.
    pub trust: Authorities,
    /// How authorities follow one another.
    pub rotation: Rotation,
    /// How keys are kept.
    pub store: Store,
    /// Istio's MeshConfig.
    #[serde(deserialize_with = "value::read_apart")]
    pub mesh_config: MeshConfig,
    /// What of it has no effect.
    #[serde(skip)]
    pub warnings: Vec<Warning>,
    /// The SPIRE `server.conf` that is applied.
    #[serde(skip)]
    pub spire: Option<SpireServer>,
    /// Whether `--spire-config` has named it: what it speaks of has to be there at the start, as in SPIRE.
    #[serde(skip)]
    pub spire_is_named: bool,
}

/// How keys are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Store {
    /// A file with the key that the keys in the store are encrypted with.
    pub key_file: Option<PathBuf>,
}

/// Where policy comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policy {
    /// The directory that is read and watched.
    pub directory: PathBuf,
    /// Whether ports change their mode in steps.
    pub staged: bool,
    /// The namespace in which cert-manager's ClusterIssuers have their Secrets.
    #[serde(deserialize_with = "value::name")]
    pub cluster_resource_namespace: String,
}

/// The operator's port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Admin {
    /// Where to listen for probes and metrics, and on loopback for the API.
    #[serde(deserialize_with = "value::address")]
    pub address: SocketAddr,
}

/// What is the same in every proxy.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Proxy {
    /// Where a sidecar's outbound HTTP proxy listens, on the workload's own machine.
    #[serde(deserialize_with = "value::address")]
    pub http_proxy: SocketAddr,
}

/// What the flags of `countersign serve` change; `None` leaves what the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--policy`.
    pub policy: Option<PathBuf>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--xds`.
    pub xds: Option<SocketAddr>,
    /// `--admin`.
    pub admin: Option<SocketAddr>,
    /// `--trust-domain`.
    pub trust_domain: Option<TrustDomain>,
    /// `--insecure-plaintext`: can only turn it on.
    pub insecure_plaintext: bool,
    /// `--spire-config` and `--expand-env`.
    pub spire: Option<SpireFile>,
}

impl Config {
    /// Reads `file`, or [`DEFAULT_FILE`] if there is one, or takes the defaults; then applies `overrides` and checks the whole.
    pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigError> {
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        let (mut config, written) = match std::fs::read_to_string(path) {
            Ok(text) => {
                let name = path.display().to_string();
                (Self::parse(&name, &text)?, written_at(&name, &text, &spire::SHARED))
            }
            Err(e) if file.is_none() && e.kind() == std::io::ErrorKind::NotFound => Default::default(),
            Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
        };
        config.apply(overrides);
        config.take_spire(overrides, &written)?;
        config.check()?;
        Ok(config)
    }

    /// The defaults with `overrides`, and what a ConfigMap in the policy directory says.
    pub fn without_file(overrides: &Overrides) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        config.apply(overrides);
        config.take_spire(overrides, &spire::Places::default())?;
        config.check()?;
        Ok(config)
    }

    /// Parses a configuration; `file` is what messages call it. Keys that are left out have their defaults.
    /// What takes more than one value is not looked at before [`Config::check`].
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let mut config: Self = crate::policy::parse_config(file, text).map_err(ConfigError::Parse)?;
        (config.mesh_config, config.warnings) =
            crate::policy::parse_mesh_config(file, text).map_err(ConfigError::Parse)?;
        Ok(config)
    }

    /// Puts the flags over what the file said.
    pub fn apply(&mut self, overrides: &Overrides) {
        let Overrides { policy, data_dir, xds, admin, trust_domain, insecure_plaintext, spire: _ } = overrides.clone();
        self.policy.directory = policy.unwrap_or_else(|| std::mem::take(&mut self.policy.directory));
        self.data_dir = data_dir.unwrap_or_else(|| std::mem::take(&mut self.data_dir));
        self.xds.address = xds.unwrap_or(self.xds.address);
        self.admin.address = admin.unwrap_or(self.admin.address);
        self.trust_domain = trust_domain.unwrap_or_else(|| self.trust_domain.clone());
        self.xds.insecure_plaintext |= insecure_plaintext;
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            trust_domain: "cluster.local".parse().expect("a constant"),
            cluster: "local".into(),
            federates_with: Vec::new(),
            root_namespace: "istio-system".into(),
            cluster_domain: "cluster.local".into(),
            istio_compatibility: IstioCompatibility::default(),
            policy: Policy::default(),
            data_dir: "./data".into(),
            xds: Xds::default(),
            admin: Admin::default(),
            certificates: Certificates::default(),
            proxy: Proxy::default(),
            trust: Authorities::default(),
            rotation: Rotation::default(),
            store: Store::default(),
            mesh_config: MeshConfig::default(),
            warnings: Vec::new(),
            spire: None,
            spire_is_named: false,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        let cluster_resource_namespace = "cert-manager".to_owned();
        Self { directory: "./policy".into(), staged: true, cluster_resource_namespace }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: loopback(15014) }
    }
}

impl Default for Proxy {
    fn default() -> Self {
        Self { http_proxy: loopback(15001) }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
}
