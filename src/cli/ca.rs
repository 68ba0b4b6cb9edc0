//! `countersign ca csr` and `countersign ca import`: the arguments, and the call to a server that runs. Without one, the binary works on
//! the data directory itself.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;

use super::place::Place;
use super::{CliError, Connection};
use crate::admin::api::{AuthorityRequest, ImportAuthorityRequest, IntermediateReport};

/// What can be done with authorities that come from elsewhere.
#[derive(Clone, Debug, Subcommand)]
pub enum Ca {
    /// Make the key of an intermediate for this cluster and print the request for its certificate, to be signed where the root's key is.
    Csr(CsrArgs),
    /// Take an intermediate into service: one that was signed for `ca csr`, or one with its key.
    Import(ImportArgs),
}

/// What `countersign ca csr` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct CsrArgs {
    /// Which server.
    #[command(flatten)]
    pub place: Place,
}

/// What `countersign ca import` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct ImportArgs {
    /// A directory with Istio's ca-cert.pem, ca-key.pem, cert-chain.pem and root-cert.pem
    #[arg(long, value_name = "DIR", conflicts_with_all = ["chain", "root", "key"])]
    pub cacerts: Option<PathBuf>,
    /// PEM: the intermediate, then those between it and the root; also tls.crt of a kubernetes.io/tls secret
    #[arg(long, value_name = "FILE", required_unless_present = "cacerts")]
    pub chain: Option<PathBuf>,
    /// PEM: the root; also ca.crt of a kubernetes.io/tls secret
    #[arg(long, value_name = "FILE", required_unless_present = "cacerts")]
    pub root: Option<PathBuf>,
    /// PEM: the intermediate's key, unless it was made by `ca csr`
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Which server.
    #[command(flatten)]
    pub place: Place,
}

/// Asks the server with this data directory for a request. `None`: no server runs there.
pub async fn request(data_dir: &Path) -> Result<Option<AuthorityRequest>, CliError> {
    let client = Connection::to_data_dir(data_dir).client()?;
    unless_none_runs(client.post("/v1/ca/csr", &(), Duration::ZERO).await)
}

/// Brings the server with this data directory an intermediate. `None`: no server runs there.
pub async fn import(data_dir: &Path, request: &ImportAuthorityRequest) -> Result<Option<IntermediateReport>, CliError> {
    let client = Connection::to_data_dir(data_dir).client()?;
    unless_none_runs(client.post("/v1/ca/import", request, Duration::ZERO).await)
}

fn unless_none_runs<T>(answer: Result<T, CliError>) -> Result<Option<T>, CliError> {
    match answer {
        Err(CliError::NoServer { source, .. })
            if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
        {
            Ok(None)
        }
        other => other.map(Some),
    }
}
