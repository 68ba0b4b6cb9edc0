//! `countersign lab`: the arguments.

use std::path::PathBuf;

use clap::ValueEnum;

/// What the lab shows beside the mesh that it always runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Istio's policies
    #[default]
    Istio,
    /// cert-manager's, and a gateway that shows what they issue
    CertManager,
    /// Linkerd's policies, beside Istio's
    Linkerd,
    /// SPIRE's server.conf, and an Envoy that is configured for SPIRE's agent
    Spire,
    /// All of them at once, in one mesh
    Mixed,
}

/// What `countersign lab` takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct LabArgs {
    /// End with success when every step has been seen once, instead of going on until interrupted
    #[arg(long)]
    pub once: bool,
    /// The Envoy to run [default: found on PATH, else fetched]
    #[arg(long, value_name = "PATH", conflicts_with = "envoy_version")]
    pub envoy: Option<PathBuf>,
    /// Use this directory and leave everything in it [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// The first of a row of ports [default: free ones]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..65000))]
    pub port_base: Option<u16>,
    /// Fetch this version of Envoy, whatever is on PATH [default: 1.40.0 if there is none on PATH]
    #[arg(long, value_name = "VERSION", value_parser = ["1.40.0", "1.36.4"])]
    pub envoy_version: Option<String>,
    /// Whose policies are shown at work
    #[arg(long, value_enum, default_value_t)]
    pub scenario: Scenario,
}
