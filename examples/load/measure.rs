//! One run: a server, a fleet, and what happens to both.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::credentials;
use super::fleet::{CLUSTER, Fleet, Plan, SECRET, Tally, Transport};
use super::policy::Policy;
use super::process::Process;
use super::{Load, Wire};

/// Memory and processor time are read when nothing has happened for this long.
const SETTLE: Duration = Duration::from_secs(3);
/// How often each change is made.
const CHANGES: usize = 3;
/// How often one workload's certificate is replaced.
const ROTATIONS: usize = 100;

/// What one change did.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// From the rename of the file, in milliseconds: the median and the 99th percentile of all clients.
    pub from_file: (f64, f64),
    /// From the first client's response.
    pub fan_out: (f64, f64),
    /// Of the server, in seconds.
    pub cpu: f64,
    /// Of the messages to all clients.
    pub bytes: u64,
}

/// The figures of one run.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Resident KB without any client.
    pub base: u64,
    /// Resident KB with all clients idle.
    pub resident: u64,
    /// The same after each reconnect of the fleet.
    pub reconnected: Vec<u64>,
    /// Server processor time of connecting and the first full sync, in seconds, and how long it took.
    pub connect: (f64, f64),
    /// Seconds from the first connection until the last client had its first secrets.
    pub last_leaf: f64,
    /// The shared secret changed.
    pub secret: Option<Change>,
    /// A cluster changed.
    pub cluster: Change,
    /// One workload's certificate was replaced: milliseconds from the request to the arrival, median and 99th percentile.
    pub rotate: Option<(f64, f64)>,
}

/// Runs `load` once, with its files in `directory`.
pub async fn run(load: &Load, binary: &Path, directory: &Path) -> Result<Figures, Box<dyn Error>> {
    let policy = Policy::write(&directory.join("policy"), load.clusters, load.workloads())?;
    let server = Process::start(binary, directory, load.transport == Wire::Plaintext).await?;
    let transport = match load.transport {
        Wire::Mtls => Transport::Tls(credentials::fetch(&server, load.workloads()).await?),
        Wire::Plaintext => Transport::Plaintext(load.connections.unwrap_or(load.clients)),
    };
    let (clients, workloads, mode) = (load.clients, load.workloads(), load.mode);
    let plan = Arc::new(Plan { clients, workloads, mode, transport, server: server.xds });
    tokio::time::sleep(SETTLE).await;
    let mut figures = Figures { base: server.resident()?, ..Default::default() };

    let (cpu, from) = (server.cpu()?, Instant::now());
    let fleet = Fleet::connect(&plan).await?;
    let took = from.elapsed().as_secs_f64();
    let last = fleet.tally.arrivals(SECRET).into_iter().max().unwrap_or(from);
    figures.last_leaf = last.saturating_duration_since(from).as_secs_f64();
    tokio::time::sleep(SETTLE).await;
    figures.connect = ((server.cpu()? - cpu).as_secs_f64(), took);
    figures.resident = server.resident()?;

    if load.transport == Wire::Mtls {
        let mut changes = Vec::new();
        for _ in 0..CHANGES {
            changes.push(change(&server, &fleet.tally, SECRET, clients, || policy.change_secret()).await?);
        }
        figures.secret = Some(median(changes));
        // Of one workload for all, each rotation would be a change for the whole fleet.
        if workloads > 1 {
            figures.rotate = Some(rotate(&server, &fleet.tally, workloads, clients).await?);
        }
    }
    let mut changes = Vec::new();
    for step in 1..=CHANGES {
        changes.push(change(&server, &fleet.tally, CLUSTER, clients, || policy.change_cluster(step)).await?);
    }
    figures.cluster = median(changes);

    if fleet.failed() > 0 {
        return Err(format!("{} clients lost their stream", fleet.failed()).into());
    }
    let mut fleet = Some(fleet);
    for _ in 0..load.reconnects {
        drop(fleet.take());
        all_gone(&server).await?;
        fleet = Some(Fleet::connect(&plan).await?);
        tokio::time::sleep(SETTLE).await;
        figures.reconnected.push(server.resident()?);
    }
    if let Some(seconds) = load.hold {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
    Ok(figures)
}

async fn change(
    server: &Process,
    tally: &Tally,
    ty: &str,
    clients: usize,
    make: impl FnOnce() -> std::io::Result<()>,
) -> Result<Change, Box<dyn Error>> {
    tally.clear();
    let (cpu, from) = (server.cpu()?, Instant::now());
    make()?;
    let arrivals = tally.wait(ty, clients).await?;
    tokio::time::sleep(SETTLE).await;
    let first = arrivals.iter().min().copied().unwrap_or(from);
    Ok(Change {
        from_file: percentiles(&arrivals, from),
        fan_out: percentiles(&arrivals, first),
        cpu: (server.cpu()? - cpu).as_secs_f64(),
        bytes: tally.bytes(),
    })
}

async fn rotate(
    server: &Process,
    tally: &Tally,
    workloads: usize,
    clients: usize,
) -> Result<(f64, f64), Box<dyn Error>> {
    let streams = clients / workloads;
    let mut took = Vec::new();
    for index in 0..ROTATIONS {
        tally.clear();
        let from = Instant::now();
        server.rotate(Policy::workload(index % workloads)).await?;
        let arrivals = tally.wait(SECRET, streams).await?;
        took.extend(arrivals.iter().map(|at| (*at - from).as_secs_f64() * 1000.0));
    }
    Ok(quantiles(took))
}

async fn all_gone(server: &Process) -> Result<(), Box<dyn Error>> {
    for _ in 0..600 {
        if server.status().await?.proxies == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("the server still has streams, half a minute after the fleet left".into())
}

fn percentiles(arrivals: &[Instant], from: Instant) -> (f64, f64) {
    quantiles(arrivals.iter().map(|at| at.saturating_duration_since(from).as_secs_f64() * 1000.0).collect())
}

fn quantiles(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |share: usize| values.get((values.len() * share / 100).min(values.len().saturating_sub(1)));
    (at(50).copied().unwrap_or(f64::NAN), at(99).copied().unwrap_or(f64::NAN))
}

/// The change whose 99th percentile is in the middle.
fn median(mut changes: Vec<Change>) -> Change {
    changes.sort_by(|left, right| left.fan_out.1.total_cmp(&right.fan_out.1));
    let middle = changes.len() / 2;
    changes.swap_remove(middle)
}
