//! `countersign revoke SERIAL|IDENTITY` and `revoke --list`.

use std::io::{self, Write};
use std::time::Duration;

use super::table::Table;
use super::{CliError, Connection, Format};
use crate::admin::api::{RevokeReport, RevokeRequest, RevokedCertificate};

/// What `countersign revoke` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The serial number of a certificate, or a SPIFFE ID for all certificates that it has
    #[arg(value_name = "SERIAL|IDENTITY", required_unless_present = "list", conflicts_with = "list")]
    pub target: Option<String>,
    /// Revoke nothing, and list what is revoked: what could still be believed, or renewed
    #[arg(long)]
    pub list: bool,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub format: Format,
    /// Which server.
    #[command(flatten)]
    pub connection: Connection,
}

/// Revokes, and says what.
pub(super) async fn run(args: Args, out: &mut dyn Write) -> Result<(), CliError> {
    let Some(target) = args.target else {
        let all: Vec<RevokedCertificate> = args.connection.client()?.get("/v1/revocations").await?;
        return Ok(args.format.print(&all, out, |out| write_list(&all, out))?);
    };
    let request = RevokeRequest { target };
    let report: RevokeReport = args.connection.client()?.post("/v1/revoke", &request, Duration::ZERO).await?;
    Ok(args.format.print(&report, out, |out| write_table(&report, out))?)
}

pub(super) fn write_list(all: &[RevokedCertificate], out: &mut dyn Write) -> io::Result<()> {
    if all.is_empty() {
        return writeln!(out, "nothing is revoked");
    }
    let mut table = Table::new(["SERIAL", "IDENTITY", "REVOKED-AT", "NOT-AFTER"]);
    for it in all {
        table.row([&it.serial, &it.identity, &it.revoked_at, &it.not_after]);
    }
    table.write(out)
}

pub(super) fn write_table(report: &RevokeReport, out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["REVOKED", "IDENTITY", "NOT-AFTER"]);
    for it in &report.revoked {
        table.row([&it.serial, &it.identity, &it.not_after]);
    }
    table.write(out)?;
    writeln!(out, "\n{} connections to the server were ended", report.connections_ended)?;
    match report.lists {
        true => Ok(()),
        false => writeln!(
            out,
            "proxies are given no revocation lists (certificates.revocationLists): among each other they believe these until they end"
        ),
    }
}
