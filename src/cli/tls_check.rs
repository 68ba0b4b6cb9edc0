//! `countersign tls-check [NAMESPACE/WORKLOAD] [HOST[:PORT]]`.

use std::io::{self, Write};
use std::str::FromStr;

use super::policy::Place;
use super::table::{Table, printable};
use super::{CliError, Format, WorkloadName};
use crate::admin::api::is_host;
use crate::analysis::{Filter, Status, Way, ways};

/// What `countersign tls-check` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this client, only this service: NAMESPACE/WORKLOAD, HOST or HOST:PORT
    #[arg(value_name = "NAMESPACE/WORKLOAD] [HOST[:PORT]", num_args = 0..=2)]
    pub what: Vec<Word>,
    /// Show why, step by step
    #[arg(short = 'v', long)]
    pub verbose: bool,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub format: Format,
    /// Where to ask.
    #[command(flatten)]
    pub place: Place,
}

/// A client or a destination; the slash tells them apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// `NAMESPACE/WORKLOAD`.
    Client(WorkloadName),
    /// `HOST[:PORT]`.
    Destination(String, Option<u16>),
}

impl FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return text.parse().map(Self::Client);
        }
        let (host, port) = match text.split_once(':') {
            None => (text, None),
            Some((host, port)) => (host, Some(port.parse().map_err(|_| format!("`{port}` is not a port"))?)),
        };
        match is_host(host) {
            true => Ok(Self::Destination(host.to_owned(), port)),
            false => Err("expected NAMESPACE/WORKLOAD, HOST or HOST:PORT".to_owned()),
        }
    }
}

/// Lists ways, and fails if one of them is a conflict.
pub(super) async fn run(args: Args, out: &mut dyn Write) -> Result<(), CliError> {
    let ways = find(&args).await?;
    args.format.print(&ways, out, |out| write_table(&ways, args.verbose, out))?;
    match ways.iter().filter(|way| way.status == Status::Conflict).count() {
        0 => Ok(()),
        1 => Err(CliError::Incomplete("1 conflict: its connections fail".to_owned())),
        many => Err(CliError::Incomplete(format!("{many} conflicts: their connections fail"))),
    }
}

async fn find(args: &Args) -> Result<Vec<Way>, CliError> {
    let (mut filter, mut parameters) = (Filter::default(), Vec::new());
    for word in &args.what {
        match word {
            Word::Client(name) => {
                filter.workload = name.to_string().parse().ok();
                parameters.push(format!("workload={name}"));
            }
            Word::Destination(host, port) => {
                (filter.host, filter.port) = (Some(host.clone()), *port);
                parameters.push(format!("host={host}"));
                parameters.extend(port.map(|port| format!("port={port}")));
            }
        }
    }
    match args.place.directory()? {
        Some(loaded) => Ok(ways(&loaded.mesh, &filter)),
        None => args.place.connection.client()?.get(&format!("/v1/tls-check?{}", parameters.join("&"))).await,
    }
}

pub(super) fn write_table(ways: &[Way], verbose: bool, out: &mut dyn Write) -> io::Result<()> {
    if ways.is_empty() {
        return writeln!(out, "no client reaches such a service");
    }
    let mut table = Table::new(["HOST:PORT", "STATUS", "SERVER", "CLIENT", "AUTHN POLICY", "DESTINATION RULE", "FROM"]);
    for way in ways {
        let status = way.status.to_string();
        let cells = [&status, &way.server, &way.client, &way.authn_policy, &way.destination_rule, &from(&way.clients)];
        let [status, server, client, policy, rule, from] = cells.map(String::as_str);
        table.row([&destination(way), status, server, client, policy, rule, from]);
    }
    table.write(out)?;
    for way in ways.iter().filter(|_| verbose) {
        writeln!(out, "\n{} from {}", printable(&destination(way)), printable(&from(&way.clients)))?;
        for reason in &way.reasons {
            writeln!(out, "  {}", printable(reason))?;
        }
    }
    Ok(())
}

/// `HOST:PORT`, with the subset behind it if it is one.
fn destination(way: &Way) -> String {
    match way.subset.as_str() {
        "" => format!("{}:{}", way.host, way.port),
        subset => format!("{}:{} ({subset})", way.host, way.port),
    }
}

/// The first of alike clients stands for all.
pub(super) fn from(clients: &[String]) -> String {
    match clients {
        [] => String::new(),
        [one] => one.clone(),
        [one, rest @ ..] => format!("{one} and {} more", rest.len()),
    }
}
