//! `countersign cert`: Certificates of operators' own issuers, as cert-manager's users know them.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::cert_files;
use super::table::{Table, printable};
use super::{CliError, Connection, Format, WorkloadName};
use crate::admin::api::{
    CertificateStatus, Condition, ExportCertificateRequest, ExportedCertificate, RenewCertificatesRequest,
};

/// What can be done with Certificates.
#[derive(Debug, Subcommand)]
pub enum Cert {
    /// List Certificates
    List(ListArgs),
    /// Show a Certificate: its conditions, its issuer, what has happened
    Show(ShowArgs),
    /// Issue another certificate now, for one Certificate or for many
    Renew(RenewArgs),
    /// Write tls.crt, tls.key and ca.crt into a directory, for programs that read files
    Export(ExportArgs),
}

/// What `countersign cert list` takes.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Those of this namespace only
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub format: Format,
    /// Which server.
    #[command(flatten)]
    pub connection: Connection,
}

/// What `countersign cert show` takes.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The Certificate
    #[arg(value_name = "NAMESPACE/NAME")]
    pub certificate: WorkloadName,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub format: Format,
    /// Which server.
    #[command(flatten)]
    pub connection: Connection,
}

/// What `countersign cert renew` takes.
#[derive(Debug, clap::Args)]
#[group(id = "which", required = true, multiple = true)]
pub struct RenewArgs {
    /// The Certificates
    #[arg(value_name = "NAMESPACE/NAME", group = "which", conflicts_with_all = ["namespace", "all"])]
    pub certificates: Vec<WorkloadName>,
    /// Every Certificate of this namespace
    #[arg(short, long, group = "which", conflicts_with = "all")]
    pub namespace: Option<String>,
    /// Every Certificate
    #[arg(long, group = "which")]
    pub all: bool,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub format: Format,
    /// Which server.
    #[command(flatten)]
    pub connection: Connection,
}

/// What `countersign cert export` takes.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// The Certificate
    #[arg(value_name = "NAMESPACE/NAME")]
    pub certificate: WorkloadName,
    /// Where to. The files are links that all change at once
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Which server.
    #[command(flatten)]
    pub connection: Connection,
}

/// Does what is wanted.
pub(super) async fn run(command: Cert, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        Cert::List(args) => {
            let mut all: Vec<CertificateStatus> = args.connection.client()?.get("/v1/certificates").await?;
            if let Some(namespace) = &args.namespace {
                all.retain(|it| it.name.split_once('/').is_some_and(|(of, _)| of == namespace));
            }
            Ok(args.format.print(&all, out, |out| write_list(&all, out))?)
        }
        Cert::Show(args) => {
            let all: Vec<CertificateStatus> = args.connection.client()?.get("/v1/certificates").await?;
            let name = args.certificate.to_string();
            let found = all.into_iter().find(|it| it.name == name).ok_or_else(|| CliError::Refused {
                status: 404,
                error: format!("there is no Certificate {name} in the policy"),
                help: "countersign cert list shows those that there are".to_owned(),
            })?;
            Ok(args.format.print(&found, out, |out| write_one(&found, out))?)
        }
        Cert::Renew(args) => {
            let request = RenewCertificatesRequest {
                certificates: args.certificates.iter().map(ToString::to_string).collect(),
                namespace: args.namespace,
                all: args.all,
            };
            let client = args.connection.client()?;
            // Each may be a large RSA key.
            let wait = Duration::from_secs(270);
            let renewed: Vec<CertificateStatus> = client.post("/v1/certificates/renew", &request, wait).await?;
            args.format.print(&renewed, out, |out| write_list(&renewed, out))?;
            let failed = renewed.iter().filter(|it| it.conditions.iter().any(|it| it.r#type == "Issuing")).count();
            match failed {
                0 => Ok(()),
                _ => Err(CliError::Incomplete(format!(
                    "{failed} of {} could not be issued: countersign cert show says why",
                    renewed.len()
                ))),
            }
        }
        Cert::Export(args) => {
            let request = ExportCertificateRequest { certificate: args.certificate.to_string() };
            let client = args.connection.client()?;
            let exported: ExportedCertificate =
                client.post("/v1/certificates/export", &request, Duration::ZERO).await?;
            let written = cert_files::write(&args.output, &exported)
                .map_err(|(path, source)| CliError::Write { path, source })?;
            match written {
                true => writeln!(out, "tls.crt, tls.key and ca.crt are in {}", args.output.display())?,
                false => writeln!(out, "{} has them already", args.output.display())?,
            }
            Ok(())
        }
    }
}

fn condition<'a>(it: &'a CertificateStatus, r#type: &str) -> Option<&'a Condition> {
    it.conditions.iter().find(|condition| condition.r#type == r#type)
}

pub(super) fn write_list(all: &[CertificateStatus], out: &mut dyn Write) -> io::Result<()> {
    if all.is_empty() {
        return writeln!(out, "there are no Certificates");
    }
    let mut table = Table::new([
        "CERTIFICATE",
        "READY",
        "REASON",
        "SECRET",
        "ISSUER",
        "REVISION",
        "SERIAL",
        "NOT-AFTER",
        "RENEWAL",
    ]);
    for it in all {
        let ready = condition(it, "Ready");
        let status = ready.map_or("Unknown", |ready| if ready.status { "True" } else { "False" });
        let reason = ready.map_or("", |ready| &ready.reason);
        let issuer = format!("{}/{}", it.issuer.kind, it.issuer.name);
        let not_after = it.not_after.as_deref().unwrap_or_default();
        let renewal = it.renewal_time.as_deref().unwrap_or_default();
        let revision = it.revision.to_string();
        table.row([&it.name, status, reason, &it.secret, &issuer, &revision, &it.serial, not_after, renewal]);
    }
    table.write(out)
}

pub(super) fn write_one(it: &CertificateStatus, out: &mut dyn Write) -> io::Result<()> {
    let (namespace, name) = it.name.split_once('/').unwrap_or_default();
    let label = |status| if status { "True" } else { "False" };
    writeln!(out, "Name: {name}\nNamespace: {namespace}\nWritten at: {}", printable(&it.at))?;
    writeln!(out, "Conditions:")?;
    for Condition { r#type, status, reason, message, last_transition_time } in &it.conditions {
        let status = label(*status);
        writeln!(
            out,
            "  {type}: {status}, Reason: {reason}, Since: {last_transition_time}, Message: {}",
            printable(message)
        )?;
    }
    if !it.common_name.is_empty() {
        writeln!(out, "Common Name: {}", printable(&it.common_name))?;
    }
    if !it.dns_names.is_empty() {
        writeln!(out, "DNS Names:")?;
        it.dns_names.iter().try_for_each(|name| writeln!(out, "- {}", printable(name)))?;
    }
    writeln!(
        out,
        "Issuer:\n  Name: {}\n  Kind: {}\n  Ready: {}",
        it.issuer.name,
        it.issuer.kind,
        label(it.issuer.ready)
    )?;
    if !it.issuer.message.is_empty() {
        writeln!(out, "  Message: {}", printable(&it.issuer.message))?;
    }
    writeln!(out, "Secret:\n  Name: {}", it.secret)?;
    if !it.serial.is_empty() {
        writeln!(out, "  Serial Number: {}", it.serial)?;
    }
    for (name, time) in
        [("Not Before", &it.not_before), ("Not After", &it.not_after), ("Renewal Time", &it.renewal_time)]
    {
        writeln!(out, "{name}: {}", time.as_deref().unwrap_or("<none>"))?;
    }
    writeln!(out, "Revision: {}", it.revision)?;
    if it.failures > 0 {
        writeln!(out, "Failed Issuance Attempts: {}", it.failures)?;
    }
    if it.events.is_empty() {
        return writeln!(out, "Events: <none>");
    }
    writeln!(out, "Events:")?;
    let mut table = Table::new(["TYPE", "REASON", "AT", "MESSAGE"]);
    for event in &it.events {
        let r#type = if event.warning { "Warning" } else { "Normal" };
        table.row([r#type, &event.reason, &event.at, &event.message]);
    }
    table.write(out)
}
