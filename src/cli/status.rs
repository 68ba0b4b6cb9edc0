//! `countersign status`.

use std::io::{self, Write};

use super::table::{Table, printable};
use super::{CliError, Connection, Format};
use crate::admin::api::{ModeChangeSummary, ServerStatus};

/// What `countersign status` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub format: Format,
    /// Which server.
    #[command(flatten)]
    pub connection: Connection,
}

/// Shows the server.
pub(super) async fn run(args: Args, out: &mut dyn Write) -> Result<(), CliError> {
    let status: ServerStatus = args.connection.client()?.get("/v1/status").await?;
    Ok(args.format.print(&status, out, |out| write_table(&status, out))?)
}

pub(super) fn write_table(status: &ServerStatus, out: &mut dyn Write) -> io::Result<()> {
    let ServerStatus { policy, root, intermediate, mode_change, .. } = status;
    let mut table = Table::new(["SERVER", &status.version]);
    table.row(["ready", if status.ready { "yes" } else { "no" }]);
    table.row(["trust domain", &status.trust_domain]);
    table.row(["xds", &status.xds_address]);
    table.row(["proxies", &status.proxies.to_string()]);
    table.row([
        "policy",
        &format!("generation {}, {} files, {} objects", policy.generation, policy.files, policy.objects),
    ]);
    if !mode_change.step.is_empty() {
        let ModeChangeSummary { step, ports, waiting } = mode_change;
        table.row([
            "mode change",
            &format!("{step}, {ports} ports, waits for {waiting} proxies: countersign rollout status"),
        ]);
    }
    table.row(["root", &format!("{} until {}", root.serial, root.not_after)]);
    table.row(["intermediate", &format!("{} until {}", intermediate.serial, intermediate.not_after)]);
    table.write(out)?;
    for (title, lines) in [("rejected, not served", &policy.rejected), ("warnings", &policy.warnings)] {
        if !lines.is_empty() {
            writeln!(out, "\n{title}:")?;
            for line in lines.iter().flat_map(|text| text.lines()) {
                writeln!(out, "  {}", printable(line))?;
            }
        }
    }
    Ok(())
}
