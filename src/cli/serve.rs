//! `countersign serve`: the arguments.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::identity::TrustDomain;

/// What `countersign serve` takes. Flags go before the configuration file.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServeArgs {
    /// The configuration file [default: config/countersign.yaml if there is one]
    #[arg(long, value_name = "FILE", env = "COUNTERSIGN_CONFIG")]
    pub config: Option<PathBuf>,
    /// The directory with the policy documents [default: ./policy]
    #[arg(long, value_name = "DIR")]
    pub policy: Option<PathBuf>,
    /// The directory for keys and state [default: ./data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where Envoys connect [default: 127.0.0.1:15012]
    #[arg(long, value_name = "ADDR")]
    pub xds: Option<SocketAddr>,
    /// Where probes, metrics and (on loopback) the admin API are [default: 127.0.0.1:15014]
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<SocketAddr>,
    /// The SPIFFE trust domain [default: cluster.local]
    #[arg(long, value_name = "NAME")]
    pub trust_domain: Option<TrustDomain>,
    /// A SPIRE server's configuration file (HCL or JSON): what it sets, this server takes over
    #[arg(long, value_name = "FILE")]
    pub spire_config: Option<PathBuf>,
    /// Replace $VARIABLES in the SPIRE configuration file by their values in the environment
    #[arg(long, requires = "spire_config")]
    pub expand_env: bool,
    /// Serve xDS without TLS, on loopback only; such streams get no secrets
    #[arg(long)]
    pub insecure_plaintext: bool,
}
