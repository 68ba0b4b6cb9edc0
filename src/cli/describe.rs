//! `countersign describe workload NAMESPACE/NAME`, `countersign describe service HOST`.

use std::io::{self, Write};

use super::policy::Place;
use super::table::{Table, printable};
use super::{CliError, Format, WorkloadName, tls_check};
use crate::admin::api::is_host;
use crate::analysis::{PortDescription, ServiceDescription, WorkloadDescription, describe_service, describe_workload};

/// What `countersign describe` shows.
#[derive(Debug, clap::Subcommand)]
pub enum Describe {
    /// A workload: what its ports take, and how it reaches others
    Workload(WorkloadArgs),
    /// A service: who is behind it, and how clients reach it
    Service(ServiceArgs),
}

/// What `countersign describe workload` takes.
#[derive(Debug, clap::Args)]
pub struct WorkloadArgs {
    /// The workload
    #[arg(value_name = "NAMESPACE/NAME")]
    pub name: WorkloadName,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub format: Format,
    /// Where to ask.
    #[command(flatten)]
    pub place: Place,
}

/// What `countersign describe service` takes.
#[derive(Debug, clap::Args)]
pub struct ServiceArgs {
    /// The host, or a short name of a Service: NAME, NAME.NAMESPACE
    #[arg(value_name = "HOST", value_parser = host)]
    pub host: String,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub format: Format,
    /// Where to ask.
    #[command(flatten)]
    pub place: Place,
}

fn host(text: &str) -> Result<String, String> {
    is_host(text).then(|| text.to_owned()).ok_or_else(|| "not a host name".to_owned())
}

/// Describes one thing.
pub(super) async fn run(what: Describe, out: &mut dyn Write) -> Result<(), CliError> {
    match what {
        Describe::Workload(args) => workload(args, out).await,
        Describe::Service(args) => service(args, out).await,
    }
}

async fn workload(args: WorkloadArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let name = args.name.to_string();
    let unknown = || CliError::NoSuchThing(format!("there is no workload {name}"));
    let described = match args.place.directory()? {
        Some(loaded) => {
            let key = name.parse().map_err(|_| unknown())?;
            describe_workload(&loaded.mesh, &key).ok_or_else(unknown)?
        }
        None => args.place.connection.client()?.get(&format!("/v1/workload?name={name}")).await?,
    };
    Ok(args.format.print(&described, out, |out| write_workload(&described, out))?)
}

async fn service(args: ServiceArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let services = match args.place.directory()? {
        Some(loaded) => describe_service(&loaded.mesh, &args.host),
        None => args.place.connection.client()?.get(&format!("/v1/service?host={}", args.host)).await?,
    };
    if services.is_empty() {
        return Err(CliError::NoSuchThing(format!("there is no service {}", args.host)));
    }
    Ok(args.format.print(&services, out, |out| services.iter().try_for_each(|it| write_service(it, out)))?)
}

fn write_workload(it: &WorkloadDescription, out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["WORKLOAD", &it.name]);
    table.row(["at", &it.at]);
    table.row(["address", &it.address]);
    table.row(["identity", &it.identity]);
    table.row(["proxy", if it.meshed { "yes" } else { "no" }]);
    table.row(["sidecar", &it.sidecar]);
    table.row(["services", &it.services.join(", ")]);
    table.write(out)?;
    writeln!(out, "\nWhat its ports take:")?;
    write_ports(it.ports.iter(), out)?;
    writeln!(out, "\nHow it reaches others:")?;
    tls_check::write_table(&it.ways, false, out)
}

fn write_service(it: &ServiceDescription, out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["SERVICE", &it.host]);
    table.row(["at", &it.at]);
    table.row(["namespace", &it.namespace]);
    table.row(["location", if it.external { "outside the mesh" } else { "in the mesh" }]);
    table.row(["ports", &it.ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")]);
    table.write(out)?;
    for endpoint in &it.endpoints {
        let workload = if endpoint.workload.is_empty() { "no workload" } else { &endpoint.workload };
        writeln!(out, "\nEndpoint {} ({}):", printable(&endpoint.address), printable(workload))?;
        write_ports(endpoint.ports.iter(), out)?;
    }
    writeln!(out, "\nHow clients reach it:")?;
    tls_check::write_table(&it.ways, false, out)
}

fn write_ports<'a>(mut ports: impl Iterator<Item = &'a PortDescription>, out: &mut dyn Write) -> io::Result<()> {
    ports.try_for_each(|port| {
        writeln!(out, "  {} {}", port.port, port.mode)?;
        port.reasons.iter().try_for_each(|reason| writeln!(out, "    {}", printable(reason)))
    })
}
