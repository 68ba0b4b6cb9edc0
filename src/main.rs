//! The `countersign` binary.

use std::process::ExitCode;

use clap::Parser;
use countersign::cli::{self, Cli, Command};
use countersign::server::config::{Config, Overrides};
use countersign::{server, telemetry};

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => finish(serve(args).await),
        Command::Lab(args) => server::lab(args).await,
        Command::Agent(args) => finish(agent(args).await),
        Command::Backup(args) => finish(server::backup(&args.data_dir, &args.file).map_err(Into::into)),
        Command::Restore(args) => finish(restore(&args)),
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

async fn agent(args: cli::agent::Args) -> Result<(), Box<dyn std::error::Error>> {
    telemetry::init()?;
    Ok(cli::agent::run(args).await?)
}

fn restore(args: &cli::backup::RestoreArgs) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(aside) = server::restore(&args.file, &args.data_dir, args.force)? {
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
