//! Load: a server as a child process, and a fleet of clients on this machine that behave like Envoys.
//!
//! ```sh
//! cargo build --release && cargo run --release --example load -- --clients 5000 --clusters 10
//! ```
//! It writes policy for that many workloads and clusters, gets each client's certificate from the server's bootstrap API, connects
//! the fleet (a 60 KB node each, CDS, EDS, SDS, LDS, RDS in Envoy's order, every response acknowledged), changes a shared
//! secret, single certificates and a cluster, lets the fleet reconnect, and prints what the server used for it.
//! Everything stays on loopback. `docs/performance.md` has the figures and says how to read them.

mod credentials;
mod fleet;
mod grpc;
mod issuance;
mod measure;
mod node;
mod policy;
mod process;
mod protocol;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use issuance::Issued;
use measure::Figures;
use protocol::Mode;

/// Runs one load and prints its figures.
#[derive(Clone, Debug, Parser)]
struct Load {
    /// How many clients connect
    #[arg(long, default_value_t = 1000)]
    clients: usize,
    /// How many workloads they speak for; the server issues a certificate for each [default: one for each client]
    #[arg(long)]
    workloads: Option<usize>,
    /// The variant of the protocol
    #[arg(long, value_enum, default_value_t = Mode::Delta)]
    mode: Mode,
    /// What secures the connections
    #[arg(long, value_enum, default_value_t = Wire::Mtls)]
    transport: Wire,
    /// Without TLS: how many connections the clients share [default: one for each client]
    #[arg(long)]
    connections: Option<usize>,
    /// How many services, each a cluster, every client sees
    #[arg(long, default_value_t = 10)]
    clusters: usize,
    /// How often the whole fleet leaves and comes back
    #[arg(long, default_value_t = 0)]
    reconnects: usize,
    /// Keep the fleet connected for so many seconds at the end, to look at the server
    #[arg(long)]
    hold: Option<u64>,
    /// Instead of all else, ask for so many certificates for keys of nodes, over 8 connections, and print what that took
    #[arg(long)]
    issuance: Option<usize>,
    /// The server's binary [default: countersign of the same build]
    #[arg(long)]
    server: Option<PathBuf>,
}

/// Over so many connections certificates are asked for.
const ISSUANCE_CONNECTIONS: usize = 8;

/// What secures the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wire {
    /// TLS with client certificates.
    Mtls,
    /// Nothing; such streams are given no secret.
    Plaintext,
}

impl Load {
    fn workloads(&self) -> usize {
        self.workloads.unwrap_or(self.clients).clamp(1, self.clients.max(1))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Load::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(load: &Load) -> Result<(), Box<dyn Error>> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let binary = match &load.server {
        Some(path) => path.canonicalize()?,
        // target/release/examples/load has it two levels up.
        None => std::env::current_exe()?.ancestors().nth(2).ok_or("no target directory")?.join("countersign"),
    };
    let directory = tempfile::Builder::new().prefix("countersign-load-").tempdir()?;
    if let Some(count) = load.issuance {
        let issued = issuance::run(count, ISSUANCE_CONNECTIONS, &binary, directory.path()).await.inspect_err(|_| {
            eprintln!("{}", tail(&directory.path().join(process::LOG)));
        })?;
        print_issued(&issued);
        return Ok(());
    }
    let figures = measure::run(load, &binary, directory.path()).await.inspect_err(|_| {
        eprintln!("{}", tail(&directory.path().join(process::LOG)));
    })?;
    print(load, &figures);
    Ok(())
}

fn print_issued(issued: &Issued) {
    let Issued { count, took, cpu } = issued;
    println!("issued {count}");
    println!("issued_per_second {:.0}", *count as f64 / took.as_secs_f64());
    println!("server_cpu_us_each {:.1}", cpu.as_secs_f64() * 1e6 / *count as f64);
    println!("issued_per_second_and_core {:.0}", *count as f64 / cpu.as_secs_f64());
}

/// One figure a line, its name first, so that a script can read it.
fn print(load: &Load, figures: &Figures) {
    let Load { clients, clusters, .. } = load;
    println!("run {clients} clients, {} workloads, {clusters} clusters", load.workloads());
    let each = |kb: u64| kb.saturating_sub(figures.base) as f64 / *clients as f64;
    println!("base_kb {}", figures.base);
    println!("resident_kb {}", figures.resident);
    println!("kb_per_stream {:.1}", each(figures.resident));
    let (cpu, took) = figures.connect;
    println!("connect_seconds {took:.2}");
    println!("last_leaf_seconds {:.2}", figures.last_leaf);
    println!("connect_cpu_ms_per_stream {:.3}", cpu * 1000.0 / *clients as f64);
    let change = |name: &str, change: &measure::Change| {
        println!("{name}_p50_ms {:.1}", change.fan_out.0);
        println!("{name}_p99_ms {:.1}", change.fan_out.1);
        println!("{name}_from_file_p50_ms {:.1}", change.from_file.0);
        println!("{name}_from_file_p99_ms {:.1}", change.from_file.1);
        println!("{name}_cpu_s {:.2}", change.cpu);
        println!("{name}_bytes_per_client {}", change.bytes / *clients as u64);
    };
    if let Some(secret) = &figures.secret {
        change("secret", secret);
    }
    change("cluster", &figures.cluster);
    if let Some((p50, p99)) = figures.rotate {
        println!("rotate_one_p50_ms {p50:.1}");
        println!("rotate_one_p99_ms {p99:.1}");
    }
    for (index, resident) in figures.reconnected.iter().enumerate() {
        println!("reconnect_{}_kb_per_stream {:.1}", index + 1, each(*resident));
    }
    if let Some(last) = figures.reconnected.last() {
        println!("reconnect_ratio {:.2}", *last as f64 / figures.resident as f64);
    }
}

fn tail(log: &std::path::Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}
