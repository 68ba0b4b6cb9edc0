//! `countersign proxy-status`.

use std::io::{self, Write};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::table::{Table, printable};
use super::{CliError, Connection, Format};
use crate::admin::api::ProxyStatus;

/// What `countersign proxy-status` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub format: Format,
    /// Which server.
    #[command(flatten)]
    pub connection: Connection,
}

/// Lists the connected proxies.
pub(super) async fn run(args: Args, out: &mut dyn Write) -> Result<(), CliError> {
    let proxies: Vec<ProxyStatus> = args.connection.client()?.get("/v1/proxies").await?;
    let now = OffsetDateTime::now_utc();
    Ok(args.format.print(&proxies, out, |out| write_table(&proxies, now, out))?)
}

pub(super) fn write_table(proxies: &[ProxyStatus], now: OffsetDateTime, out: &mut dyn Write) -> io::Result<()> {
    if proxies.is_empty() {
        return writeln!(out, "no proxies are connected");
    }
    let mut table = Table::new(["NAME", "CLUSTER", "VERSION", "CDS", "LDS", "EDS", "RDS", "SDS", "CONNECTED"]);
    for proxy in proxies {
        let state =
            |name: &str| proxy.types.iter().find(|t| t.type_name == name).map_or("NOT SENT", |t| t.state.label());
        table.row([
            &proxy.name,
            &proxy.cluster,
            &proxy.version,
            state("CDS"),
            state("LDS"),
            state("EDS"),
            state("RDS"),
            state("SDS"),
            &age(&proxy.connected_since, now),
        ]);
    }
    table.write(out)?;
    for proxy in proxies {
        for of_type in &proxy.types {
            if let Some(error) = &of_type.error {
                writeln!(out, "\n{} refused {}: {}", printable(&proxy.name), of_type.type_name, printable(error))?;
            }
        }
    }
    Ok(())
}

/// The two largest units of the time since: `3h 12m`.
fn age(since: &str, now: OffsetDateTime) -> String {
    let Ok(since) = OffsetDateTime::parse(since, &Rfc3339) else {
        return since.to_owned();
    };
    let seconds = (now - since).whole_seconds().max(0).unsigned_abs();
    let text = humantime::format_duration(std::time::Duration::from_secs(seconds)).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}
