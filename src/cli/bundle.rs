//! `countersign bundle`: the roots of our own trust domain for others, and those of others for us.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Subcommand, ValueEnum};

use super::table::{Table, printable};
use super::{CliError, Connection, Format};
use crate::admin::api::{BundleDocument, BundleStatus, ImportBundleRequest, RemoveBundleRequest};
use crate::identity::TrustDomain;

/// What can be done with trust bundles.
#[derive(Debug, Subcommand)]
pub enum Bundle {
    /// List the trust domains whose identities can be verified
    List(ListArgs),
    /// Show the roots of a trust domain
    Show(ShowArgs),
    /// Print a bundle for another trust domain to import
    Export(ExportArgs),
    /// Take in the bundle of another trust domain, in place of an older one of it
    Import(ImportArgs),
    /// Forget the bundle of another trust domain: nobody of it is verified any more
    Remove(RemoveArgs),
}

/// What `countersign bundle list` takes.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub format: Format,
    /// Which server.
    #[command(flatten)]
    pub connection: Connection,
}

/// What `countersign bundle show` takes.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// Whose roots [default: our own]
    #[arg(value_name = "TRUST-DOMAIN")]
    pub trust_domain: Option<TrustDomain>,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub format: Format,
    /// Which server.
    #[command(flatten)]
    pub connection: Connection,
}

/// How a bundle is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Document {
    /// A SPIFFE bundle: a JWK Set
    #[default]
    Spiffe,
    /// Certificates in PEM
    Pem,
}

/// What `countersign bundle export` takes.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// Whose bundle [default: our own]
    #[arg(value_name = "TRUST-DOMAIN")]
    pub trust_domain: Option<TrustDomain>,
    /// How it is written
    #[arg(long = "as", value_enum, default_value_t)]
    pub document: Document,
    /// Which server.
    #[command(flatten)]
    pub connection: Connection,
}

/// What `countersign bundle import` takes.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// Whose bundle it is; a bundle does not say that itself
    #[arg(value_name = "TRUST-DOMAIN")]
    pub trust_domain: TrustDomain,
    /// A SPIFFE bundle or PEM; `-` is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub format: Format,
    /// Which server.
    #[command(flatten)]
    pub connection: Connection,
}

/// What `countersign bundle remove` takes.
#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    /// Whose bundle
    #[arg(value_name = "TRUST-DOMAIN")]
    pub trust_domain: TrustDomain,
    /// Which server.
    #[command(flatten)]
    pub connection: Connection,
}

/// Does what is wanted.
pub(super) async fn run(command: Bundle, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        Bundle::List(args) => {
            let all: Vec<BundleStatus> = args.connection.client()?.get("/v1/bundles").await?;
            Ok(args.format.print(&all, out, |out| write_list(&all, out))?)
        }
        Bundle::Show(args) => {
            let all: Vec<BundleStatus> = args.connection.client()?.get("/v1/bundles").await?;
            let wanted = |it: &BundleStatus| match &args.trust_domain {
                Some(name) => it.trust_domain == name.as_str(),
                None => it.own,
            };
            let found = all.into_iter().find(wanted).ok_or_else(|| CliError::Refused {
                status: 404,
                error: match &args.trust_domain {
                    Some(name) => format!("there is no bundle of {name}"),
                    None => "the server has no bundle of its own".to_owned(),
                },
                help: "countersign bundle list shows those that there are".to_owned(),
            })?;
            Ok(args.format.print(&found, out, |out| write_roots(&found, out))?)
        }
        Bundle::Export(args) => {
            let path = match &args.trust_domain {
                // The name of a trust domain needs no escape in a query.
                Some(name) => format!("/v1/bundle?trustDomain={name}"),
                None => "/v1/bundle".to_owned(),
            };
            let bundle: BundleDocument = args.connection.client()?.get(&path).await?;
            let text = match args.document {
                Document::Spiffe => bundle.spiffe,
                Document::Pem => bundle.pem,
            };
            Ok(writeln!(out, "{}", text.trim_end())?)
        }
        Bundle::Import(args) => {
            let document = read(&args.file).map_err(|source| CliError::Read { path: args.file.clone(), source })?;
            let request = ImportBundleRequest { trust_domain: args.trust_domain.to_string(), document };
            let client = args.connection.client()?;
            let taken: BundleStatus = client.post("/v1/bundles/import", &request, Duration::ZERO).await?;
            args.format.print(&taken, out, |out| {
                write_roots(&taken, out)?;
                match taken.accepted {
                    true => Ok(()),
                    false => writeln!(
                        out,
                        "\n{} is not in federatesWith of the server's configuration: no proxy lets its identities in",
                        taken.trust_domain
                    ),
                }
            })?;
            Ok(())
        }
        Bundle::Remove(args) => {
            let request = RemoveBundleRequest { trust_domain: args.trust_domain.to_string() };
            let client = args.connection.client()?;
            let () = client.post("/v1/bundles/remove", &request, Duration::ZERO).await?;
            Ok(writeln!(out, "the bundle of {} is forgotten", args.trust_domain)?)
        }
    }
}

fn read(file: &Path) -> io::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(file)
}

pub(super) fn write_list(all: &[BundleStatus], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["TRUST-DOMAIN", "ROOTS", "ACCEPTED", "SEQUENCE", "FIRST-EXPIRY", "IMPORTED"]);
    for it in all {
        let sequence = it.sequence.map(|number| number.to_string()).unwrap_or_default();
        let first = it.roots.iter().map(|root| root.not_after.as_str()).min().unwrap_or_default();
        let imported = if it.own { "(own)" } else { it.imported_at.as_deref().unwrap_or_default() };
        let accepted = if it.accepted { "yes" } else { "no" };
        table.row([&it.trust_domain, &it.roots.len().to_string(), accepted, &sequence, first, imported]);
    }
    table.write(out)
}

pub(super) fn write_roots(bundle: &BundleStatus, out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["TRUST-DOMAIN", "SERIAL", "NOT-BEFORE", "NOT-AFTER", "SUBJECT"]);
    for root in &bundle.roots {
        table.row([&bundle.trust_domain, &root.serial, &root.not_before, &root.not_after, &*printable(&root.subject)]);
    }
    table.write(out)
}
