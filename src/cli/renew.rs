//! `countersign renew --dir DIR`: new credentials for a node, made on the node.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::bootstrap::{Held, Key, Node};
use super::table::Table;
use super::{CliError, Format};
use crate::enrollment::{Client, Credentials};
use crate::identity::SpiffeId;

/// What `countersign renew` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The directory that `countersign bootstrap` has written
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// How to print what was done
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub format: Format,
}

/// New credentials that are in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Renewed {
    /// The new certificate's serial number.
    pub serial: String,
    /// End of its validity.
    pub not_after: String,
}

/// Makes a key, has it certified over the connection that the present credentials open, and puts certificate, key and roots in place by
/// one rename. After an error everything is as it was.
pub async fn renew(directory: &Path) -> Result<Renewed, CliError> {
    let node = Node::read(directory)?;
    let held = Held::read(directory)?;
    let server = server(&node)?;
    let credentials = Credentials { chain: &held.chain, key: &held.key, roots: &held.roots, server: &server };
    let key = Key::generate()?;
    let mut blocks = Client::new(&node.xds_address).renew(&credentials, key.csr()?).await?;
    let roots = blocks.pop().unwrap_or_default();
    let fresh = Held::replace(directory, &blocks.concat(), &roots, &key)?;
    Ok(Renewed { serial: fresh.serial, not_after: fresh.not_after.format(&Rfc3339).unwrap_or_default() })
}

/// Whether the server shows other roots than those at hand.
pub(super) async fn roots_have_changed(directory: &Path) -> Result<bool, CliError> {
    let node = Node::read(directory)?;
    let held = Held::read(directory)?;
    let server = server(&node)?;
    let credentials = Credentials { chain: &held.chain, key: &held.key, roots: &held.roots, server: &server };
    Ok(Client::new(&node.xds_address).roots(&credentials).await? != held.roots)
}

fn server(node: &Node) -> Result<SpiffeId, CliError> {
    node.server_identity.parse().map_err(|error| {
        CliError::Incomplete(format!("{} is not the identity of a server: {error}", node.server_identity))
    })
}

pub(super) async fn run(args: Args, out: &mut dyn Write) -> Result<(), CliError> {
    let renewed = renew(&args.dir).await?;
    Ok(args.format.print(&renewed, out, |out| {
        let mut table = Table::new(["SERIAL", "NOT-AFTER"]);
        table.row([&renewed.serial, &renewed.not_after]);
        table.write(out)
    })?)
}

/// When credentials are renewed: at half of their life, up to a tenth of that earlier or later, so that nodes which were bootstrapped
/// together do not come back together. `spread` is 0 to 1.
pub(super) fn due(since: OffsetDateTime, not_after: OffsetDateTime, spread: f64) -> OffsetDateTime {
    let half = (not_after - since) / 2;
    since + half * (0.9 + 0.2 * spread)
}
