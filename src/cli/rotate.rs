//! `countersign rotate workload`, `rotate intermediate` and `rotate root`.

use std::io::{self, Write};
use std::time::Duration;

use clap::Subcommand;

use super::table::{Table, printable};
use super::{CliError, Connection, Format, WorkloadName};
use crate::admin::api::{
    AuthorityStatus, IntermediateReport, MAX_WAIT_SECONDS, RootRotationAction, RootRotationRequest, RootRotationStatus,
    RotateReport, RotateRequest, RotatedWorkload, WaitingFor,
};

/// What can be rotated.
#[derive(Debug, Subcommand)]
pub enum Rotate {
    /// Give workloads new certificates now.
    Workload(Args),
    /// Let another intermediate sign; the workloads get their new certificates one after the other.
    Intermediate(Place),
    /// Replace the root, step by step.
    #[command(subcommand)]
    Root(Root),
}

/// What can be done with a root rotation.
#[derive(Debug, Subcommand)]
pub enum Root {
    /// Begin: a new root is made and, step by step, takes the old one's place
    Start(StartArgs),
    /// Show the step, and who is waited for
    Status(Place),
    /// Stay at this step
    Pause(Place),
    /// Go on
    Resume(RootArgs),
    /// Go back to the old root; possible until the old root is being taken out of the trust bundle
    Abort(RootArgs),
}

/// What `countersign rotate root start` takes.
#[derive(Debug, clap::Args)]
pub struct StartArgs {
    /// Only make the new root, and wait for `resume`
    #[arg(long)]
    pub paused: bool,
    /// The rest.
    #[command(flatten)]
    pub root: RootArgs,
}

/// What commands take that may be forced.
#[derive(Debug, clap::Args)]
pub struct RootArgs {
    /// Do not wait for proxies that are away, nor for certificates that may still be used
    #[arg(long)]
    pub force: bool,
    /// Where, and how to print.
    #[command(flatten)]
    pub place: Place,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub format: Format,
    /// Which server.
    #[command(flatten)]
    pub connection: Connection,
}

/// Rotates what is named.
pub(super) async fn command(command: Rotate, out: &mut dyn Write) -> Result<(), CliError> {
    let mut paused = false;
    let (action, force, place) = match command {
        Rotate::Workload(args) => return run(args, out).await,
        Rotate::Intermediate(place) => return intermediate(&place, out).await,
        Rotate::Root(Root::Status(place)) => {
            let status: RootRotationStatus = place.connection.client()?.get("/v1/rotate/root").await?;
            return Ok(place.format.print(&status, out, |out| write_root(&status, out))?);
        }
        Rotate::Root(Root::Start(StartArgs { paused: wait, root })) => {
            paused = wait;
            (RootRotationAction::Start, root.force, root.place)
        }
        Rotate::Root(Root::Pause(place)) => (RootRotationAction::Pause, false, place),
        Rotate::Root(Root::Resume(args)) => (RootRotationAction::Resume, args.force, args.place),
        Rotate::Root(Root::Abort(args)) => (RootRotationAction::Abort, args.force, args.place),
    };
    let request = RootRotationRequest { action, force, paused };
    let status: RootRotationStatus =
        place.connection.client()?.post("/v1/rotate/root", &request, Duration::ZERO).await?;
    Ok(place.format.print(&status, out, |out| write_root(&status, out))?)
}

async fn intermediate(place: &Place, out: &mut dyn Write) -> Result<(), CliError> {
    let client = place.connection.client()?;
    let report: IntermediateReport = client.post("/v1/rotate/intermediate", &(), Duration::ZERO).await?;
    let AuthorityStatus { serial, not_after } = &report.intermediate;
    Ok(place.format.print(&report, out, |out| match report.waiting {
        false => writeln!(out, "intermediate {serial} signs from now on, until {not_after}"),
        true => writeln!(
            out,
            "intermediate {serial} still signs: another one will as soon as every proxy has its revocation list"
        ),
    })?)
}

pub(super) fn write_root(status: &RootRotationStatus, out: &mut dyn Write) -> io::Result<()> {
    if status.step == "none" {
        return writeln!(out, "no root rotation so far");
    }
    let paused = if status.paused { " (paused)" } else { "" };
    let forced = if status.force { " (forced)" } else { "" };
    let mut table = Table::new(["ROOT ROTATION", &format!("{}{paused}{forced}", status.step)]);
    table.row(["old root", &status.old_root]);
    table.row(["new root", &status.new_root]);
    table.row(["since", &status.step_since]);
    table.row(["started", &status.started_at]);
    table.write(out)?;
    if !status.waiting.is_empty() {
        writeln!(out, "\nwaiting for:")?;
        for WaitingFor { proxy, reason } in &status.waiting {
            match proxy {
                Some(proxy) => writeln!(out, "  {proxy}: {}", printable(reason))?,
                None => writeln!(out, "  {}", printable(reason))?,
            }
        }
    }
    Ok(())
}

/// What `countersign rotate workload` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The workloads
    #[arg(value_name = "NAMESPACE/NAME", required_unless_present_any = ["all", "namespace"], conflicts_with = "all")]
    pub workloads: Vec<WorkloadName>,
    /// Every connected workload
    #[arg(long)]
    pub all: bool,
    /// Every connected workload of a namespace
    #[arg(long, value_name = "NAMESPACE", conflicts_with_all = ["all", "workloads"])]
    pub namespace: Option<String>,
    /// Hand the certificates out over this time, at most 5m, instead of at once
    #[arg(long, value_name = "DURATION", value_parser = wait)]
    pub spread: Option<Duration>,
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

pub(super) fn wait(text: &str) -> Result<Duration, String> {
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
        namespace: args.namespace.clone(),
        spread_seconds: args.spread.map(|spread| spread.as_secs_f64().ceil() as u64),
        wait_seconds: args.wait.map(|wait| wait.as_secs_f64().ceil() as u64),
    };
    let client = args.connection.client()?;
    let report: RotateReport = client
        .post("/v1/rotate/workload", &request, args.wait.unwrap_or_default() + args.spread.unwrap_or_default())
        .await?;
    args.format.print(&report, out, |out| write_table(&report, args.wait.is_some(), out))?;
    let Some(wait) = args.wait else { return Ok(()) };
    let (late, away): (Vec<_>, Vec<_>) =
        report.rotated.iter().filter(|it| !it.acknowledged).partition(|it| it.connected);
    let names = |of: &[&RotatedWorkload]| of.iter().map(|it| it.workload.as_str()).collect::<Vec<_>>().join(", ");
    let within = humantime::format_duration(wait);
    let late = (!late.is_empty()).then(|| format!("not acknowledged within {within}: {}", names(&late)));
    let away = (!away.is_empty())
        .then(|| format!("not connected, so they have the old one until they come: {}", names(&away)));
    match late.into_iter().chain(away).collect::<Vec<_>>() {
        none if none.is_empty() => Ok(()),
        some => Err(CliError::Incomplete(some.join("; "))),
    }
}

pub(super) fn write_table(report: &RotateReport, waited: bool, out: &mut dyn Write) -> io::Result<()> {
    if report.rotated.is_empty() {
        return writeln!(out, "nothing to rotate");
    }
    let mut table = Table::new(["WORKLOAD", "SERIAL", "ACKNOWLEDGED"]);
    for workload in &report.rotated {
        let acknowledged = match (workload.acknowledged, workload.connected, waited) {
            (true, ..) => "yes",
            (false, false, _) => "not connected",
            (false, true, true) => "no",
            (false, true, false) => "not waited for",
        };
        table.row([&workload.workload, &workload.serial, acknowledged]);
    }
    table.write(out)
}
