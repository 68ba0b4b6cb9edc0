//! What an operator sets: `config/countersign.yaml`, and the flags of `countersign serve` on top of it.
//!
//! The annotated file in the repository is the reference; a test holds it to the defaults here. What one value alone can
//! violate is refused while parsing, so that the message has a line; what takes two values is refused by [`Config::check`].

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::identity::{SpiffeId, TrustDomain};
use crate::mesh::IstioCompatibility;
use crate::policy::{MeshConfig, PolicyError, SpireServer, Warning, written_at};
use crate::trust::{KeyAlgorithm, Lists};

mod access;
mod authority;
mod limits;
mod spire;
mod value;
#[cfg(test)]
mod tests;

pub use access::{Token, Unix, UnixIdentity};
pub use authority::Authorities;
pub use limits::Limits;
pub use spire::SpireFile;

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

/// The operator's port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Admin {
    /// Where to listen for probes and metrics, and on loopback for the API.
    #[serde(deserialize_with = "value::address")]
    pub address: SocketAddr,
}

/// How long certificates live.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Certificates {
    /// Lifetime of a workload certificate.
    #[serde(deserialize_with = "value::lifetime")]
    pub workload_ttl: Duration,
    /// Lifetime of the cluster's intermediate.
    #[serde(deserialize_with = "value::lifetime")]
    pub intermediate_ttl: Duration,
    /// Lifetime of the root.
    #[serde(deserialize_with = "value::lifetime")]
    pub root_ttl: Duration,
    /// How far `notBefore` is set back.
    #[serde(deserialize_with = "value::duration")]
    pub clock_skew: Duration,
    /// The keys of new authorities.
    #[serde(deserialize_with = "value::parsed")]
    pub authority_key: KeyAlgorithm,
    /// The keys of workload certificates.
    #[serde(deserialize_with = "value::parsed")]
    pub workload_key: KeyAlgorithm,
    /// How long after its end a client certificate may be renewed, and nothing else.
    #[serde(deserialize_with = "value::duration")]
    pub renewal_grace: Duration,
    /// Whether proxies are given revocation lists.
    #[serde(deserialize_with = "value::parsed")]
    pub revocation_lists: Lists,
}

/// What is the same in every proxy.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Proxy {
    /// Where a sidecar's outbound HTTP proxy listens, on the workload's own machine.
    #[serde(deserialize_with = "value::address")]
    pub http_proxy: SocketAddr,
}

/// How authorities follow one another.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rotation {
    /// How long before its end the root is rotated; at the earliest at two thirds of its life.
    #[serde(deserialize_with = "value::duration")]
    pub root_before: Duration,
    /// How long before the intermediate's end its successor is made; at the earliest at half of its life.
    #[serde(deserialize_with = "value::duration")]
    pub intermediate_prepare: Duration,
    /// How long before the intermediate's end its successor signs; at the earliest in the last sixth of its life.
    #[serde(deserialize_with = "value::duration")]
    pub intermediate_activate: Duration,
    /// Proxies that were connected within this time, and are not now, are waited for.
    #[serde(deserialize_with = "value::duration")]
    pub wait_for_absent: Duration,
    /// New leaves after a change of authority are handed out over this time.
    #[serde(deserialize_with = "value::duration")]
    pub spread: Duration,
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

    /// Refuses values that do not go together. [`Config::load`] has done this.
    pub fn check(&self) -> Result<(), ConfigError> {
        let invalid = |key, message: String| Err(ConfigError::Invalid { key, message });
        let Certificates { workload_ttl, intermediate_ttl, root_ttl, .. } = self.certificates;
        let show = humantime::format_duration;
        if workload_ttl > intermediate_ttl {
            return invalid(
                "certificates.workloadTtl",
                format!(
                    "{} is longer than certificates.intermediateTtl ({}): a certificate cannot outlive its issuer",
                    show(workload_ttl),
                    show(intermediate_ttl)
                ),
            );
        }
        if self.trust.issuer.is_some() && self.spire.as_ref().is_some_and(|spire| spire.upstream.is_some()) {
            let message = "the server.conf has an UpstreamAuthority, and there is one root: remove one of the two";
            return invalid("trust.issuer", message.to_owned());
        }
        if intermediate_ttl > root_ttl {
            return invalid(
                "certificates.intermediateTtl",
                format!(
                    "{} is longer than certificates.rootTtl ({}): a certificate cannot outlive its issuer",
                    show(intermediate_ttl),
                    show(root_ttl)
                ),
            );
        }
        if self.federates_with.contains(&self.trust_domain) {
            let message = format!("{} is our own trust domain: list the others only", self.trust_domain);
            return invalid("federatesWith", message);
        }
        if let Some(written) = &self.mesh_config.trust_domain
            && written.value != self.trust_domain.as_str()
        {
            return invalid(
                "meshConfig.trustDomain",
                format!(
                    "{} ({}) is not trustDomain, which is {}: make them the same",
                    written.value, written.at, self.trust_domain
                ),
            );
        }
        if self.xds.insecure_plaintext && !self.xds.address.ip().to_canonical().is_loopback() {
            return invalid(
                "xds.insecurePlaintext",
                format!("allowed on a loopback address only, and xds.address is {}", self.xds.address),
            );
        }
        if let Some((key, message)) = self.xds.limits.mistake() {
            return invalid(key, message.to_owned());
        }
        for name in &self.xds.dns_names {
            if name.parse::<IpAddr>().is_err() && value::check_name(name).is_err() {
                return invalid("xds.dnsNames", format!("`{name}` is neither a DNS name nor an IP address"));
            }
        }
        Ok(())
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

impl Default for Admin {
    fn default() -> Self {
        Self { address: loopback(15014) }
    }
}

impl Default for Certificates {
    fn default() -> Self {
        let hours = |n: u64| Duration::from_secs(n * 3600);
        Self {
            workload_ttl: hours(24),
            intermediate_ttl: hours(720),
            root_ttl: hours(87600),
            clock_skew: Duration::from_secs(120),
            authority_key: KeyAlgorithm::default(),
            workload_key: KeyAlgorithm::default(),
            renewal_grace: hours(24),
            revocation_lists: Lists::default(),
        }
    }
}

impl Default for Rotation {
    fn default() -> Self {
        let hours = |n: u64| Duration::from_secs(n * 3600);
        Self {
            root_before: hours(8760),
            intermediate_prepare: hours(720),
            intermediate_activate: hours(168),
            wait_for_absent: hours(24),
            spread: Duration::from_secs(30),
        }
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
