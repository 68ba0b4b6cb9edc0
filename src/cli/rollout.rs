//! `countersign rollout`: ports that a policy gives another mTLS mode, step by step.

use std::io::{self, Write};
use std::time::Duration;

use clap::Subcommand;

use super::CliError;
use super::rotate::Place;
use super::table::{Table, printable};
use crate::admin::api::{ModeChangeRequest, ModeChangeStatus, PortInTransit, WaitingFor};

/// How many ports the table shows; `-o json` has all.
const SHOWN: usize = 50;

/// What can be done with ports that are on their way.
#[derive(Debug, Subcommand)]
pub enum Rollout {
    /// Show the step, the ports, and who is waited for
    Status(Place),
    /// Take the next step now
    Advance(AdvanceArgs),
}

/// What `countersign rollout advance` takes.
#[derive(Debug, clap::Args)]
pub struct AdvanceArgs {
    /// Do not wait for anybody: requests from or to proxies that are late may fail
    #[arg(long)]
    pub force: bool,
    /// Where, and how to print.
    #[command(flatten)]
    pub place: Place,
}

/// Shows it, or takes a step.
pub(super) async fn command(command: Rollout, out: &mut dyn Write) -> Result<(), CliError> {
    let (status, place): (ModeChangeStatus, _) = match command {
        Rollout::Status(place) => (place.connection.client()?.get("/v1/rollout").await?, place),
        Rollout::Advance(AdvanceArgs { force, place }) => {
            let request = ModeChangeRequest { force };
            (place.connection.client()?.post("/v1/rollout", &request, Duration::ZERO).await?, place)
        }
    };
    Ok(place.format.print(&status, out, |out| write_table(&status, out))?)
}

pub(super) fn write_table(status: &ModeChangeStatus, out: &mut dyn Write) -> io::Result<()> {
    if status.step.is_empty() {
        return writeln!(out, "every port serves the mode that the policy has for it");
    }
    let mut table = Table::new(["MODE CHANGE", &status.step]);
    table.row(["since", &status.step_since]);
    table.row(["started", &status.started_at]);
    table.write(out)?;
    writeln!(out)?;
    let mut table = Table::new(["WORKLOAD", "PORT", "FROM", "TO", "STEP"]);
    for PortInTransit { workload, port, change } in status.ports.iter().take(SHOWN) {
        table.row([workload, &port.to_string(), &change.from, &change.to, &change.step]);
    }
    table.write(out)?;
    if status.ports.len() > SHOWN {
        writeln!(out, "and {} more", status.ports.len() - SHOWN)?;
    }
    if !status.waiting.is_empty() {
        writeln!(out, "\nwaiting for:")?;
        for WaitingFor { proxy, reason } in &status.waiting {
            writeln!(out, "  {}: {}", proxy.as_deref().unwrap_or("all"), printable(reason))?;
        }
    }
    Ok(())
}
