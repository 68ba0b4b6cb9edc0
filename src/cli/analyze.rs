//! `countersign analyze [DIR]` and `countersign explain CODE`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use time::OffsetDateTime;

use super::policy::MeshArgs;
use super::table::{Table, printable};
use super::{CliError, Connection};
use crate::analysis::{self, Limits, Report, Severity, explain, refused, sarif};

/// What `countersign analyze` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory with the policies; without it, those of a running server
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub format: ReportFormat,
    /// From which severity on the exit status is 1
    #[arg(long, value_enum, default_value_t)]
    pub fail_on: FailOn,
    /// How long a PERMISSIVE policy may stand, for a directory
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "30days")]
    pub permissive_limit: Duration,
    /// How long before its end a certificate is reported, for a directory
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "14days")]
    pub expiry_limit: Duration,
    /// What the directory's set means.
    #[command(flatten)]
    pub mesh: MeshArgs,
    /// Which server.
    #[command(flatten)]
    pub connection: Connection,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ReportFormat {
    /// Columns for a person.
    #[default]
    Table,
    /// JSON, indented.
    Json,
    /// SARIF 2.1.0, for code hosts.
    Sarif,
}

/// When a report is a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum FailOn {
    /// With an error in it.
    #[default]
    Error,
    /// With an error or a warning.
    Warning,
    /// With anything at all.
    Note,
    /// Never.
    Never,
}

/// Analyzes a policy set.
pub(super) async fn run(args: Args, out: &mut dyn Write) -> Result<(), CliError> {
    let report = match &args.directory {
        Some(directory) => match args.mesh.read(directory)? {
            Ok(loaded) => {
                let limits =
                    Limits { permissive: args.permissive_limit, expiry: args.expiry_limit, ..Limits::default() };
                analysis::analyze(loaded.subject(), &limits, OffsetDateTime::now_utc())
            }
            Err(errors) => refused(&errors),
        },
        None => args.connection.client()?.get("/v1/findings").await?,
    };
    match args.format {
        ReportFormat::Table => write_table(&report, out)?,
        ReportFormat::Json => write_json(&report, out)?,
        ReportFormat::Sarif => write_json(&sarif(&report), out)?,
    }
    let fails = match args.fail_on {
        FailOn::Never => false,
        FailOn::Error => report.count(Severity::Error) > 0,
        FailOn::Warning => report.count(Severity::Error) + report.count(Severity::Warning) > 0,
        FailOn::Note => !report.findings.is_empty(),
    };
    if fails { Err(CliError::Incomplete(summary(&report))) } else { Ok(()) }
}

fn write_json(value: &impl serde::Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

fn write_table(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if report.findings.is_empty() {
        return writeln!(out, "nothing to report");
    }
    let mut table = Table::new(["SEVERITY", "CODE", "PLACE", "MESSAGE"]);
    for finding in &report.findings {
        let place = format!("{}:{}", finding.file, finding.line);
        table.row([finding.severity.label(), &finding.code, &place, &finding.message]);
    }
    table.write(out)?;
    for (code, count) in &report.left_out {
        writeln!(out, "and {count} more of {}", printable(code))?;
    }
    writeln!(out, "{}; `countersign explain CODE` says what each means and what to do", summary(report))
}

fn summary(report: &Report) -> String {
    let count = |severity, one: &str, many: &str| {
        let count = report.count(severity);
        format!("{count} {}", if count == 1 { one } else { many })
    };
    let errors = count(Severity::Error, "error", "errors");
    let warnings = count(Severity::Warning, "warning", "warnings");
    format!("{errors}, {warnings}, {}", count(Severity::Note, "note", "notes"))
}

/// What `countersign explain` takes.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// A code of `countersign analyze`, such as CS0101; without it, all are listed
    #[arg(value_name = "CODE", value_parser = known)]
    pub code: Option<&'static analysis::Rule>,
}

fn known(text: &str) -> Result<&'static analysis::Rule, String> {
    explain(text).ok_or_else(|| "there is no such code; `countersign explain` lists all".to_owned())
}

/// Explains a code.
pub(super) fn run_explain(args: &ExplainArgs, out: &mut dyn Write) -> Result<(), CliError> {
    match args.code {
        Some(rule) => writeln!(
            out,
            "{} ({}): {}\n\n{}\n\nWhat to do: {}",
            rule.code,
            rule.severity.label(),
            rule.title,
            rule.explanation,
            rule.fix
        )?,
        None => {
            let mut table = Table::new(["CODE", "SEVERITY", "MEANS"]);
            analysis::RULES.iter().for_each(|rule| table.row([rule.code, rule.severity.label(), rule.title]));
            table.write(out)?;
        }
    }
    Ok(())
}
