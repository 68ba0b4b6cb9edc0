//! The command line: one file a subcommand.
//!
//! `serve` and `lab` are arguments only; the binary runs them. Most others talk to a running server through its admin API
//! and print one table, or the same as JSON or YAML. Exit codes: 0 done, 1 it could not be done, 2 the command makes no sense.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod adoption;
pub mod analyze;
mod bearer_token;
pub mod bootstrap;
pub mod agent;
pub mod backup;
pub mod ca;
pub mod bundle;
pub mod cert;
mod cert_files;
mod client;
mod connection;
pub mod describe;
pub mod diff;
mod error;
pub mod lab;
mod join_token;
mod name;
mod output;
pub mod place;
pub mod policy;
mod proxy_status;
pub mod renew;
mod revoke;
mod rollout;
mod rotate;
mod secrets;
pub mod serve;
mod status;
mod table;
pub mod tls_check;
#[cfg(test)]
mod tests;

pub use client::Client;
pub use connection::{Connection, Server};
pub use error::CliError;
pub use name::WorkloadName;
pub use output::Format;

/// xDS/SDS for Envoy: mesh mTLS policy in, exact TLS contexts and rotating certificates out.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server.
    Serve(serve::ServeArgs),
    /// Run a small mesh of real Envoys on this machine and show rotation under traffic.
    Lab(lab::LabArgs),
    /// Keep a node's credentials fresh until stopped.
    Agent(agent::Args),
    /// Copy the store, while the server runs or not.
    Backup(backup::BackupArgs),
    /// Put a backup of the store in place, while no server runs.
    Restore(backup::RestoreArgs),
    /// Bring authorities from elsewhere, while the server runs or not.
    #[command(subcommand)]
    Ca(ca::Ca),
    /// A command to a running server.
    #[command(flatten)]
    Operator(Operator),
}

/// The subcommands of an operator. `explain` needs no server, and those about policy work on a directory too.
#[derive(Debug, Subcommand)]
pub enum Operator {
    /// Write an Envoy's bootstrap configuration and the credentials of its xDS connection.
    Bootstrap(bootstrap::Args),
    /// List the connected proxies and what each has acknowledged.
    ProxyStatus(proxy_status::Args),
    /// List the certificates that proxies hold.
    Secrets(secrets::Args),
    /// Say which connected proxies have acknowledged a secret, and which have not.
    Adoption(adoption::Args),
    /// Replace certificates before their time.
    #[command(subcommand)]
    Rotate(rotate::Rotate),
    /// Watch ports change their mTLS mode, step by step.
    #[command(subcommand)]
    Rollout(rollout::Rollout),
    /// Show the server: policy, authorities, proxies.
    Status(status::Args),
    /// Replace a node's own credentials now.
    Renew(renew::Args),
    /// Make certificates worthless before their end.
    Revoke(revoke::Args),
    /// Exchange trust bundles with other trust domains.
    #[command(subcommand)]
    Bundle(bundle::Bundle),
    /// Let new nodes in, and clients with bearer tokens.
    #[command(subcommand)]
    Token(join_token::Token),
    /// Find what is wrong or surprising in a policy set: a directory's, or a running server's.
    Analyze(analyze::Args),
    /// Say what a code of `analyze` means, and what to do.
    Explain(analyze::ExplainArgs),
    /// Show for each pair whether client and server agree on TLS, and why.
    TlsCheck(tls_check::Args),
    /// Show what governs a workload or a service.
    #[command(subcommand)]
    Describe(describe::Describe),
    /// Show which pairs a policy change would change, and which it would break.
    Diff(diff::Args),
    /// Show, renew and export the certificates of cert-manager's Certificates.
    #[command(subcommand)]
    Cert(cert::Cert),
}

/// Runs a command, with its answer on standard output and what went wrong on standard error.
pub async fn run(command: Operator) -> ExitCode {
    match execute(command, &mut std::io::stdout().lock()).await {
        Ok(()) => ExitCode::SUCCESS,
        // `countersign secrets | head`: nobody is left to tell.
        Err(CliError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            if let Some(help) = error.help() {
                eprintln!("help: {help}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}

/// Runs a command and writes its answer to `out`.
pub async fn execute(command: Operator, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        Operator::Bootstrap(args) => bootstrap::command(args, out).await,
        Operator::ProxyStatus(args) => proxy_status::run(args, out).await,
        Operator::Secrets(args) => secrets::run(args, out).await,
        Operator::Adoption(args) => adoption::run(args, out).await,
        Operator::Rotate(command) => rotate::command(command, out).await,
        Operator::Rollout(command) => rollout::command(command, out).await,
        Operator::Status(args) => status::run(args, out).await,
        Operator::Renew(args) => renew::run(args, out).await,
        Operator::Revoke(args) => revoke::run(args, out).await,
        Operator::Bundle(command) => bundle::run(command, out).await,
        Operator::Token(command) => join_token::run(command, out).await,
        Operator::Analyze(args) => analyze::run(args, out).await,
        Operator::Explain(args) => analyze::run_explain(&args, out),
        Operator::TlsCheck(args) => tls_check::run(args, out).await,
        Operator::Describe(what) => describe::run(what, out).await,
        Operator::Diff(args) => diff::run(args, out).await,
        Operator::Cert(command) => cert::run(command, out).await,
    }
}
