//! `countersign bootstrap NAMESPACE/WORKLOAD --output DIR`: all an Envoy needs to connect.
//!
//! ```text
//! DIR/envoy.yaml           the bootstrap: envoy -c DIR/envoy.yaml
//! DIR/sds-identity.yaml    file-based SDS for the certificate of the xDS connection
//! DIR/sds-roots.yaml       file-based SDS for the roots that the server is verified by
//! DIR/grpc.json            for an application that is a gRPC client without a proxy: GRPC_XDS_BOOTSTRAP=DIR/grpc.json
//! DIR/node.json            where the server is and who, for `countersign renew` and `agent`
//! DIR/credentials          -> .credentials-3, a private directory with cert.pem, key.pem, roots.pem
//! ```
//! Running it again swaps the link by one rename, which a running Envoy notices: the certificate of the xDS connection is
//! replaced without a restart. The key is made here and sent nowhere.

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use zeroize::Zeroizing;

use super::table::Table;
use super::{CliError, Connection, Format, WorkloadName};
use crate::admin::api::{BootstrapMaterial, BootstrapRequest};
use crate::enrollment::{Client, JoinToken, JoinTokenError, Joined};

mod attestation;
mod credentials;
mod endpoint;
mod envoy;
mod error;
mod file;
mod grpc;
mod key;
mod node;
#[cfg(test)]
mod tests;

pub use attestation::Attestation;
pub use credentials::Held;
pub use error::BootstrapError;
pub use key::Key;
pub use node::Node;

/// What `countersign bootstrap` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to write, and where.
    #[command(flatten)]
    pub options: Options,
    /// How to print what was done
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub format: Format,
    /// Which server.
    #[command(flatten)]
    pub connection: Connection,
}

/// What is written, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The workload that the Envoy is for
    #[arg(value_name = "NAMESPACE/WORKLOAD")]
    pub workload: WorkloadName,
    /// The directory to write to
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Which form of xDS the Envoy speaks
    #[arg(long, value_enum, default_value_t)]
    pub mode: Mode,
    /// Where the Envoy finds the xDS server [default: what the server says]
    #[arg(long, value_name = "HOST:PORT")]
    pub xds_address: Option<String>,
    /// Where the Envoy's own admin page listens
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub admin_address: IpAddr,
    /// The port of the Envoy's admin page; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 19000)]
    pub admin_port: u16,
    /// How connections come to the Envoy: by iptables, or not
    #[arg(long, value_enum, default_value_t)]
    pub interception: Interception,
    /// The Envoy is a gateway: it serves the Gateways that select the workload, in place of an application
    #[arg(long)]
    pub gateway: bool,
    /// What the Envoy calls itself [default: NAMESPACE/WORKLOAD]
    #[arg(long, value_name = "ID")]
    pub node_id: Option<String>,
    /// Where the Envoy will see DIR, if that is elsewhere, as in a container
    #[arg(long, value_name = "PATH")]
    pub mount_path: Option<PathBuf>,
    /// Join over the network with a token from `countersign token create`, without the admin API
    #[arg(
        long,
        value_name = "TOKEN",
        env = "COUNTERSIGN_JOIN_TOKEN",
        hide_env_values = true,
        requires = "xds_address"
    )]
    pub join_token: Option<JoinTokenText>,
    /// Or with a certificate that the node has.
    #[command(flatten)]
    pub attestation: Attestation,
}

impl Options {
    /// The defaults of the command line, for `workload` into `output`.
    pub fn new(workload: WorkloadName, output: impl Into<PathBuf>) -> Self {
        Self {
            workload,
            output: output.into(),
            mode: Mode::default(),
            xds_address: None,
            admin_address: Ipv4Addr::LOCALHOST.into(),
            admin_port: 19000,
            interception: Interception::default(),
            gateway: false,
            node_id: None,
            mount_path: None,
            join_token: None,
            attestation: Attestation::default(),
        }
    }
}

/// What was given for a join token. It is looked at later: a message of the command line's own would repeat a bad one, and one that
/// was cut off when it was copied still has its secret.
#[derive(Clone)]
pub struct JoinTokenText(Zeroizing<String>);

impl From<&str> for JoinTokenText {
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }
}

impl std::fmt::Debug for JoinTokenText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JoinTokenText")
    }
}

/// The two forms of xDS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Only what changed is sent.
    #[default]
    Delta,
    /// State of the world: each response has everything of its type.
    Sotw,
}

/// Istio's `INTERCEPTION_MODE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Interception {
    /// The Envoy binds the addresses that it serves.
    #[default]
    None,
    /// Rules of iptables with REDIRECT lead every connection to ports 15001 and 15006.
    Redirect,
    /// The same with TPROXY, which keeps a connection's addresses.
    Tproxy,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Written {
    /// The bootstrap configuration to start Envoy with.
    pub envoy_yaml: PathBuf,
    /// The link to the credentials.
    pub credentials: PathBuf,
    /// The SPIFFE ID in the certificate.
    pub identity: String,
    /// Where the Envoy will connect.
    pub xds_address: String,
    /// Whether `envoy.yaml` is another than before, so that a running Envoy needs a restart to have it.
    pub changed: bool,
}

/// Makes a key, has it certified, and writes everything.
pub async fn run(args: &Args) -> Result<Written, CliError> {
    let key = Key::generate()?;
    let material = match &args.options.join_token {
        _ if args.options.attestation.is_asked_for() => attest(&args.options, &key).await?,
        Some(text) => {
            let token = text.0.parse().map_err(|error: JoinTokenError| CliError::Incomplete(error.to_string()))?;
            // A token can be spent once, so what can fail here is to fail before.
            drop(prepare(&args.options.output)?);
            join(&args.options, &token, &key).await?
        }
        None => {
            let request = BootstrapRequest { workload: args.options.workload.to_string(), csr: key.csr()? };
            args.connection.client()?.post("/v1/bootstrap", &request, Duration::ZERO).await?
        }
    };
    Ok(write(&args.options, &material, &key)?)
}

/// Spends the token. It decides which workload this is; one that was not meant is an error before anything is written.
async fn join(options: &Options, token: &JoinToken, key: &Key) -> Result<BootstrapMaterial, CliError> {
    let address = options.xds_address.clone().unwrap_or_default();
    endpoint::parse(&address)?;
    let joined = Client::new(&address).join(token, &options.workload.to_string(), key.csr()?).await?;
    if joined.workload != options.workload.to_string() {
        let message = format!("the join token is for {}, and not for {}", joined.workload, options.workload);
        return Err(CliError::Incomplete(message));
    }
    Ok(material(options, address, joined))
}

/// Proves possession of the node's own certificate.
async fn attest(options: &Options, key: &Key) -> Result<BootstrapMaterial, CliError> {
    let address = options.xds_address.clone().unwrap_or_default();
    endpoint::parse(&address)?;
    let own = options.attestation.read()?;
    let (client, workload) = (Client::new(&address), options.workload.to_string());
    let joined = client.attest(&own.key, (&own.trust_domain, &own.roots), &workload, key.csr()?).await?;
    Ok(material(options, address, joined))
}

fn material(options: &Options, address: String, joined: Joined) -> BootstrapMaterial {
    BootstrapMaterial {
        workload: joined.workload,
        identity: joined.identity,
        trust_domain: joined.trust_domain,
        certificate_chain: joined.certificate_chain,
        roots: joined.roots,
        xds_address: address,
        server_identity: joined.server_identity,
        service_account: joined.service_account,
        namespace: options.workload.namespace().to_owned(),
        labels: joined.labels.into_iter().collect(),
    }
}

/// Writes the files of `material` and `key`. Nothing is touched before the material is found to be usable: a certificate for
/// this key, roots, the server's identity, an address to dial.
pub fn write(options: &Options, material: &BootstrapMaterial, key: &Key) -> Result<Written, BootstrapError> {
    key.check_chain(&material.certificate_chain)?;
    key::check_roots(&material.roots)?;
    let address = options.xds_address.as_deref().unwrap_or(&material.xds_address);
    let (endpoint, at) = (endpoint::parse(address)?, seen_at(options)?);
    let bootstrap = envoy::bootstrap(options, material, &endpoint, &at)?;
    let grpc = grpc::bootstrap(options, material, &endpoint, &at)?;

    let directory = &options.output;
    let lock = prepare(directory)?;
    credentials::swap(directory, &material.certificate_chain, &material.roots, key)?;
    Node { xds_address: address.to_owned(), server_identity: material.server_identity.clone() }.write(directory)?;
    file::replace_if_changed(&directory.join("sds-identity.yaml"), &bootstrap.identity)?;
    file::replace_if_changed(&directory.join("sds-roots.yaml"), &bootstrap.roots)?;
    file::replace_if_changed(&directory.join("grpc.json"), &grpc)?;
    let envoy_yaml = directory.join("envoy.yaml");
    let changed = file::replace_if_changed(&envoy_yaml, &bootstrap.envoy)?;
    drop(lock);
    Ok(Written {
        envoy_yaml,
        credentials: directory.join(credentials::LINK),
        identity: material.identity.clone(),
        xds_address: address.to_owned(),
        changed,
    })
}

/// Makes the directory, and keeps other bootstraps out of it while the answer lives.
fn prepare(directory: &Path) -> Result<File, BootstrapError> {
    std::fs::create_dir_all(directory).map_err(BootstrapError::at(directory))?;
    let lock = credentials::lock(directory)?;
    // That it can be written to is known now.
    tempfile::tempfile_in(directory).map_err(BootstrapError::at(directory))?;
    Ok(lock)
}

/// The directory as the Envoy will see it.
fn seen_at(options: &Options) -> Result<String, BootstrapError> {
    let path = match &options.mount_path {
        Some(path) => path.clone(),
        None => std::path::absolute(&options.output).map_err(BootstrapError::at(&options.output))?,
    };
    path.to_str().map(str::to_owned).ok_or_else(|| BootstrapError::Path { path: path.clone() })
}

pub(super) async fn command(args: Args, out: &mut dyn Write) -> Result<(), CliError> {
    let written = run(&args).await?;
    Ok(args.format.print(&written, out, |out| {
        let show = |path: &Path| path.display().to_string();
        let mut table = Table::new(["BOOTSTRAP", &show(&written.envoy_yaml)]);
        table.row(["identity", &written.identity]);
        table.row(["xds", &written.xds_address]);
        table.row(["credentials", &show(&written.credentials)]);
        table.row(["start with", &format!("envoy -c {}", show(&written.envoy_yaml))]);
        table.write(out)
    })?)
}
