//! `countersign rotate workload`.

use std::io::{self, Write};
use std::time::Duration;

use clap::Subcommand;

use super::table::Table;
use super::{CliError, Connection, Format, WorkloadName};
use crate::admin::api::{MAX_WAIT_SECONDS, RotateReport, RotateRequest};

/// What can be rotated.
#[derive(Debug, Subcommand)]
pub enum Rotate {
    /// Give workloads new certificates now.
    Workload(Args),
}

/// What `countersign rotate workload` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The workloads
    #[arg(value_name = "NAMESPACE/NAME", required_unless_present = "all", conflicts_with = "all")]
    pub workloads: Vec<WorkloadName>,
    /// Every connected workload
    #[arg(long)]
    pub all: bool,
    /// Wait this long for the proxies to acknowledge, at most 5m; exit with 1 if one has not by then
    #[arg(long, value_name = "DURATION", value_parser = wait)]
    pub wait: Option<Duration>,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub format: Format,
    /// Which server.
    #[command(flatten)]
    pub connection: Connection,
}

fn wait(text: &str) -> Result<Duration, String> {
    let wait = humantime::parse_duration(text).map_err(|_| "expected a number and a unit, as in `10s`".to_owned())?;
    match wait <= Duration::from_secs(MAX_WAIT_SECONDS) {
        true => Ok(wait),
        false => Err("at most 5m".to_owned()),
    }
}

/// Rotates; with `--wait` it fails if somebody has not acknowledged.
pub(super) async fn run(args: Args, out: &mut dyn Write) -> Result<(), CliError> {
    let request = RotateRequest {
        workloads: args.workloads.iter().map(ToString::to_string).collect(),
        all: args.all,
        wait_seconds: args.wait.map(|wait| wait.as_secs_f64().ceil() as u64),
    };
    let client = args.connection.client()?;
    let report: RotateReport = client.post("/v1/rotate/workload", &request, args.wait.unwrap_or_default()).await?;
    args.format.print(&report, out, |out| write_table(&report, args.wait.is_some(), out))?;
    let late = report.rotated.iter().filter(|w| !w.acknowledged).map(|w| w.workload.as_str()).collect::<Vec<_>>();
    match args.wait {
        Some(wait) if !late.is_empty() => Err(CliError::Incomplete(format!(
            "not acknowledged within {}: {}",
            humantime::format_duration(wait),
            late.join(", ")
        ))),
        _ => Ok(()),
    }
}

pub(super) fn write_table(report: &RotateReport, waited: bool, out: &mut dyn Write) -> io::Result<()> {
    if report.rotated.is_empty() {
        return writeln!(out, "nothing to rotate");
    }
    let mut table = Table::new(["WORKLOAD", "SERIAL", "ACKNOWLEDGED"]);
    for workload in &report.rotated {
        let acknowledged = match (workload.acknowledged, waited) {
            (true, _) => "yes",
            (false, true) => "no",
            (false, false) => "not waited for",
        };
        table.row([&workload.workload, &workload.serial, acknowledged]);
    }
    table.write(out)
}
