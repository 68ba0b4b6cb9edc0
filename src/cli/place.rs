//! Where a server keeps what it has, by the same flags as those it is started with.

use std::path::PathBuf;

/// Which server's store.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Server, as it is started")]
pub struct Place {
    /// The server's configuration file [default: config/countersign.yaml if there is one]
    #[arg(long, value_name = "FILE", env = "COUNTERSIGN_CONFIG")]
    pub config: Option<PathBuf>,
    /// The server's data directory [default: ./data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The server's policy directory, where a SPIRE server's ConfigMap may be [default: ./policy]
    #[arg(long, value_name = "DIR")]
    pub policy: Option<PathBuf>,
    /// The SPIRE server's configuration file, whose DataStore is the store
    #[arg(long, value_name = "FILE")]
    pub spire_config: Option<PathBuf>,
    /// Replace $VARIABLES in it by their values in the environment
    #[arg(long, requires = "spire_config")]
    pub expand_env: bool,
}
