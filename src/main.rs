//! The `countersign` binary.

use std::process::ExitCode;

use clap::Parser;
use countersign::admin::api::{ImportAuthorityRequest, IntermediateReport};
use countersign::cli::{self, Cli, Command};
use countersign::server::AuthorityFiles;
use countersign::server::config::{Config, ConfigError, Overrides, SpireFile};
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
        Command::Agent(args) => finish(agent(args).await),
        Command::Backup(args) => finish(backup(&args)),
        Command::Restore(args) => finish(restore(&args)),
        Command::Ca(command) => finish(ca(command).await),
        Command::Operator(command) => cli::run(command).await,
    }
}

async fn serve(args: cli::serve::ServeArgs) -> Result<(), Box<dyn std::error::Error>> {
    let overrides = Overrides {
        policy: args.policy,
        data_dir: args.data_dir,
        xds: args.xds,
        admin: args.admin,
        trust_domain: args.trust_domain,
        insecure_plaintext: args.insecure_plaintext,
        spire: args.spire_config.map(|path| SpireFile { path, expand_env: args.expand_env }),
    };
    let config = Config::load(args.config.as_deref(), &overrides)?;
    telemetry::init(config.log_level())?;
    Ok(server::run(config).await?)
}

async fn agent(args: cli::agent::Args) -> Result<(), Box<dyn std::error::Error>> {
    telemetry::init(None)?;
    Ok(cli::agent::run(args).await?)
}

async fn ca(command: cli::ca::Ca) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        cli::ca::Ca::Csr(args) => {
            let config = config_of(&args.place)?;
            let csr = match cli::ca::request(&config.data_dir).await? {
                Some(request) => request.csr,
                None => server::authority_request(&config)?,
            };
            print!("{csr}");
        }
        cli::ca::Ca::Import(args) => {
            let files = match (args.cacerts, args.chain, args.root) {
                (Some(directory), ..) => AuthorityFiles::cacerts(&directory),
                (None, Some(chain), Some(root)) => AuthorityFiles { chain: vec![chain], root, key: args.key },
                _ => return Err("give --cacerts, or --chain and --root".into()),
            };
            let (config, texts) = (config_of(&args.place)?, files.read()?);
            let request = ImportAuthorityRequest {
                chain: texts.chain.clone(),
                root: texts.root.clone(),
                key: texts.key.as_ref().map(|key| key.to_string()),
            };
            match cli::ca::import(&config.data_dir, &request).await? {
                Some(IntermediateReport { waiting: true, .. }) => {
                    println!("it signs as soon as every proxy has its revocation list");
                }
                Some(IntermediateReport { intermediate, .. }) => {
                    println!("intermediate {} signs from now on, until {}", intermediate.serial, intermediate.not_after)
                }
                None => {
                    let taken = server::import_authority(&config, &texts)?;
                    println!(
                        "{} (serial {}) signs from the next start on, until {}",
                        taken.subject, taken.serial, taken.not_after
                    );
                }
            }
        }
    }
    Ok(())
}

/// The configuration of a server that is started with these flags.
fn config_of(place: &cli::place::Place) -> Result<Config, ConfigError> {
    let cli::place::Place { config, data_dir, policy, spire_config, expand_env } = place.clone();
    let spire = spire_config.map(|path| SpireFile { path, expand_env });
    Config::load(config.as_deref(), &Overrides { data_dir, policy, spire, ..Overrides::default() })
}

fn backup(args: &cli::backup::BackupArgs) -> Result<(), Box<dyn std::error::Error>> {
    Ok(server::backup(&config_of(&args.place)?, &args.file)?)
}

fn restore(args: &cli::backup::RestoreArgs) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(aside) = server::restore(&args.file, &config_of(&args.place)?, args.force)? {
        println!("the store that was there is now {}", aside.display());
    }
    Ok(())
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
