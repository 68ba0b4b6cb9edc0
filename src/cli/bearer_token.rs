//! `countersign token bearer`: a bearer token for a client, and the entry by which the server knows it.

use std::io::Write;

use serde::Serialize;

use super::table::Table;
use super::{CliError, Format};
use crate::identity::{SpiffeId, TokenHash, generate_token};

/// What `countersign token bearer` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Whose token it is to be
    #[arg(value_name = "SPIFFE-ID")]
    pub identity: SpiffeId,
    /// How to print it
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub format: Format,
}

/// One token.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made<'a> {
    /// For the client; it is printed once and kept nowhere.
    token: &'a str,
    /// For `xds.tokens`.
    sha256: String,
    identity: String,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), CliError> {
    let token = generate_token().map_err(CliError::Output)?;
    let made = Made { token: &token, sha256: TokenHash::of(&token).to_string(), identity: args.identity.to_string() };
    Ok(args.format.print(&made, out, |out| {
        let mut table = Table::new(["TOKEN", made.token]);
        table.row(["identity", &made.identity]);
        table.row(["sha256", &made.sha256]);
        table.write(out)?;
        writeln!(
            out,
            "\nThe client sends `authorization: Bearer TOKEN`. For the server's configuration, under xds.tokens:"
        )?;
        writeln!(out, "    - sha256: {}\n      identity: {}", made.sha256, made.identity)
    })?)
}
