//! `countersign adoption SECRET`.

use std::io::{self, Write};
use std::time::Duration;

use super::rotate::wait;
use super::table::Table;
use super::{CliError, Connection, Format};
use crate::admin::api::AdoptionStatus;

/// What `countersign adoption` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The secret's name in SDS, such as ROOTCA or default
    #[arg(value_name = "SECRET")]
    pub secret: String,
    /// The version that every proxy should have; without it, each what it is served now
    #[arg(long, value_name = "VERSION")]
    pub expect: Option<String>,
    /// Wait until all have it, at most this long and at most 5m
    #[arg(long, value_name = "DURATION", value_parser = wait)]
    pub wait: Option<Duration>,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub format: Format,
    /// Which server.
    #[command(flatten)]
    pub connection: Connection,
}

/// Says who has acknowledged the secret; fails if somebody has not.
pub(super) async fn run(args: Args, out: &mut dyn Write) -> Result<(), CliError> {
    let path = "/v1/adoption?";
    let mut query = form_urlencoded::Serializer::for_suffix(path.to_owned(), path.len());
    let seconds = args.wait.map(|wait| wait.as_secs_f64().ceil().to_string());
    query.append_pair("secret", &args.secret);
    query.extend_pairs(args.expect.iter().map(|version| ("version", version)));
    query.extend_pairs(seconds.iter().map(|seconds| ("waitSeconds", seconds)));
    let client = args.connection.client()?;
    let status: AdoptionStatus = client.get_within(&query.finish(), args.wait.unwrap_or_default()).await?;
    args.format.print(&status, out, |out| write_table(&status, out))?;
    if status.complete {
        return Ok(());
    }
    let late: Vec<_> = status.missing.iter().map(|it| it.node.as_str()).collect();
    Err(CliError::Incomplete(format!("{} is not acknowledged by {}", status.secret, late.join(", "))))
}

pub(super) fn write_table(status: &AdoptionStatus, out: &mut dyn Write) -> io::Result<()> {
    let count = |count: usize, what: &str| format!("{count} {what}");
    let mut table = Table::new(["SECRET", &status.secret]);
    status.version.iter().for_each(|version| table.row(["version", version]));
    table
        .row(["acknowledged", &count(status.acknowledged, if status.acknowledged == 1 { "proxy" } else { "proxies" })]);
    table.row(["missing", &status.missing.len().to_string()]);
    if !status.unused.is_empty() {
        table.row(["not used by", &status.unused.join(", ")]);
    }
    if status.away > 0 {
        table.row(["not connected", &status.away.to_string()]);
    }
    table.write(out)?;
    if status.missing.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut table = Table::new(["NODE", "NODE-ID", "STATE", "HOLDS", "REASON"]);
    for it in &status.missing {
        let holds = it.serial.as_deref().or(it.version.as_deref()).unwrap_or_default();
        table.row([&it.node, &it.node_id, it.state.label(), holds, &it.reason]);
    }
    table.write(out)
}
