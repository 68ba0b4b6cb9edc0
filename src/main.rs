//! The `countersign` binary.

use std::process::ExitCode;

use clap::Parser;
use countersign::cli::{self, Cli, Command};
use countersign::server::config::{Config, Overrides};
use countersign::{server, telemetry};

/// Streams live long and are of many sizes, and a fleet that comes back must find the memory that it left. `.cargo/config.toml` says how
/// soon what is free goes back to the system; `docs/performance.md` has the figures of other allocators.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Threads for what waits for the disk. When a fleet comes at once, its orders wait for each other anyway and are filled together; each
/// thread more costs memory that stays.
const BLOCKING_THREADS: usize = 32;

fn main() -> ExitCode {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    match runtime.enable_all().max_blocking_threads(BLOCKING_THREADS).build() {
        Ok(runtime) => runtime.block_on(run()),
        Err(error) => finish(Err(error.into())),
    }
}

async fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => finish(serve(args).await),
        Command::Lab(args) => server::lab(args).await,
        Command::Operator(command) => cli::run(command).await,
    }
}

async fn serve(args: cli::serve::ServeArgs) -> Result<(), Box<dyn std::error::Error>> {
    telemetry::init()?;
    let overrides = Overrides {
        policy: args.policy,
        data_dir: args.data_dir,
        xds: args.xds,
        admin: args.admin,
        trust_domain: args.trust_domain,
        insecure_plaintext: args.insecure_plaintext,
    };
    let config = Config::load(args.config.as_deref(), &overrides)?;
    Ok(server::run(config).await?)
}

fn finish(result: Result<(), Box<dyn std::error::Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
