//! `countersign diff OLD NEW`: what a policy change does to every pair, before it is made.

use std::io::{self, Write};
use std::path::PathBuf;

use super::policy::MeshArgs;
use super::table::{Table, printable};
use super::tls_check::from;
use super::{CliError, Connection, Format};
use crate::analysis::{Change, Ends, Filter, diff, ways};

/// What `countersign diff` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directories; with one alone, it is compared with what a running server serves
    #[arg(value_name = "OLD] [NEW", required = true, num_args = 1..=2)]
    pub directories: Vec<PathBuf>,
    /// Show why, step by step
    #[arg(short = 'v', long)]
    pub verbose: bool,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub format: Format,
    /// What the directories' sets mean.
    #[command(flatten)]
    pub mesh: MeshArgs,
    /// Which server.
    #[command(flatten)]
    pub connection: Connection,
}

/// Compares, and fails if something would break.
pub(super) async fn run(args: Args, out: &mut dyn Write) -> Result<(), CliError> {
    let of_directory =
        |directory: &PathBuf| args.mesh.read_good(directory).map(|it| ways(&it.mesh, &Filter::default()));
    let (before, after) = match args.directories.as_slice() {
        [old, new] => (of_directory(old)?, of_directory(new)?),
        others => {
            let after = others.iter().map(of_directory).collect::<Result<Vec<_>, _>>()?.concat();
            (args.connection.client()?.get("/v1/tls-check").await?, after)
        }
    };
    let changes = diff(&before, &after);
    args.format.print(&changes, out, |out| write_table(&changes, args.verbose, out))?;
    match changes.iter().filter(|change| change.breaks).map(|change| change.clients.len()).sum::<usize>() {
        0 => Ok(()),
        1 => Err(CliError::Incomplete("1 pair would break".to_owned())),
        many => Err(CliError::Incomplete(format!("{many} pairs would break"))),
    }
}

fn write_table(changes: &[Change], verbose: bool, out: &mut dyn Write) -> io::Result<()> {
    if changes.is_empty() {
        return writeln!(out, "no pair changes");
    }
    let mut table = Table::new(["HOST:PORT", "FROM", "BEFORE", "AFTER", "BREAKS"]);
    for change in changes {
        let breaks = if change.breaks { "yes" } else { "no" };
        let (before, after) = (ends(change.before.as_ref()), ends(change.after.as_ref()));
        table.row([&destination(change), &from(&change.clients), &before, &after, breaks]);
    }
    table.write(out)?;
    for change in changes.iter().filter(|_| verbose) {
        writeln!(out, "\n{} from {}", printable(&destination(change)), printable(&from(&change.clients)))?;
        for reason in &change.reasons {
            writeln!(out, "  {}", printable(reason))?;
        }
    }
    Ok(())
}

fn destination(change: &Change) -> String {
    match change.subset.as_str() {
        "" => format!("{}:{}", change.host, change.port),
        subset => format!("{}:{} ({subset})", change.host, change.port),
    }
}

fn ends(ends: Option<&Ends>) -> String {
    match ends {
        None => "none".to_owned(),
        Some(Ends { status, client, server }) if server.is_empty() => format!("{status} {client}"),
        Some(Ends { status, client, server }) => format!("{status} {client} to {server}"),
    }
}
