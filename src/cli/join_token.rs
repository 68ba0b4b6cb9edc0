//! `countersign token create|list|revoke`: join tokens. The bearer tokens beside them have a file of their own.

use std::io::Write;
use std::time::Duration;

use clap::Subcommand;

use super::table::Table;
use super::{CliError, Connection, Format, WorkloadName, bearer_token};
use crate::admin::api::{MAX_TOKEN_SECONDS, NewToken, RevokeTokenRequest, TokenRequest, TokenStatus};

/// What can be done with join tokens.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token with which one new node can become a workload, once. It is shown this one time.
    Create(CreateArgs),
    /// List the tokens: usable, used and expired.
    List(ListArgs),
    /// Make a token useless.
    Revoke(RevokeArgs),
    /// Make a bearer token, by which an xDS client is known instead of by a certificate.
    Bearer(bearer_token::Args),
}

/// What `countersign token create` takes.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// The workload that the node is for
    #[arg(value_name = "NAMESPACE/WORKLOAD")]
    pub workload: WorkloadName,
    /// How long it may be used, at most 24h
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = ttl)]
    pub ttl: Duration,
    /// How to print; as a table, only the token is on standard output
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub format: Format,
    /// Which server.
    #[command(flatten)]
    pub connection: Connection,
}

/// What `countersign token list` takes.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub format: Format,
    /// Which server.
    #[command(flatten)]
    pub connection: Connection,
}

/// What `countersign token revoke` takes.
#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    /// Which, as `countersign token list` shows it
    #[arg(value_name = "ID")]
    pub id: String,
    /// Which server.
    #[command(flatten)]
    pub connection: Connection,
}

fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|_| "expected a number and a unit, as in `10m`".to_owned())?;
    match (1..=MAX_TOKEN_SECONDS).contains(&ttl.as_secs()) {
        true => Ok(ttl),
        false => Err("1s to 24h".to_owned()),
    }
}

/// Makes, lists or revokes.
pub(super) async fn run(command: Token, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        Token::Create(args) => create(args, out).await,
        Token::List(args) => list(args, out).await,
        Token::Revoke(args) => {
            let request = RevokeTokenRequest { id: args.id };
            args.connection.client()?.post("/v1/tokens/revoke", &request, Duration::ZERO).await
        }
        Token::Bearer(args) => bearer_token::run(&args, out),
    }
}

async fn create(args: CreateArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let request = TokenRequest { workload: args.workload.to_string(), ttl_seconds: args.ttl.as_secs() };
    let made: NewToken = args.connection.client()?.post("/v1/tokens", &request, Duration::ZERO).await?;
    // Alone on its line, for `TOKEN=$(countersign token create …)`.
    Ok(args.format.print(&made, out, |out| writeln!(out, "{}", made.token))?)
}

async fn list(args: ListArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let tokens: Vec<TokenStatus> = args.connection.client()?.get("/v1/tokens").await?;
    Ok(args.format.print(&tokens, out, |out| {
        if tokens.is_empty() {
            return writeln!(out, "no join tokens");
        }
        let mut table = Table::new(["ID", "WORKLOAD", "IDENTITY", "STATE", "EXPIRES", "USED"]);
        for it in &tokens {
            let used = it.used_at.as_deref().unwrap_or_default();
            table.row([&it.id, &it.workload, &it.identity, it.state.label(), &it.expires_at, used]);
        }
        table.write(out)
    })?)
}
