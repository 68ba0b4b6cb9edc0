//! `countersign secrets [NAMESPACE/NAME]`.

use std::io::{self, Write};

use super::table::Table;
use super::{CliError, Connection, Format, WorkloadName};
use crate::admin::api::SecretStatus;

/// What `countersign secrets` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this proxy
    #[arg(value_name = "NAMESPACE/NAME")]
    pub node: Option<WorkloadName>,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub format: Format,
    /// Which server.
    #[command(flatten)]
    pub connection: Connection,
}

/// Lists certificates.
pub(super) async fn run(args: Args, out: &mut dyn Write) -> Result<(), CliError> {
    let path = match &args.node {
        Some(node) => format!("/v1/secrets?node={node}"),
        None => "/v1/secrets".to_owned(),
    };
    let secrets: Vec<SecretStatus> = args.connection.client()?.get(&path).await?;
    Ok(args.format.print(&secrets, out, |out| write_table(&secrets, args.node.is_none(), out))?)
}

pub(super) fn write_table(secrets: &[SecretStatus], with_node: bool, out: &mut dyn Write) -> io::Result<()> {
    if secrets.is_empty() {
        return writeln!(out, "no secrets have been sent");
    }
    let head = ["NAME", "TYPE", "STATUS", "VALID", "SERIAL", "NOT-AFTER", "NOT-BEFORE"];
    let cells = |s: &SecretStatus| {
        let valid = s.valid.map_or("-", |valid| if valid { "true" } else { "false" });
        [&s.name, s.r#type.label(), s.status.label(), valid, &s.serial, &s.not_after, &s.not_before].map(str::to_owned)
    };
    if !with_node {
        let mut table = Table::new(head);
        secrets.iter().for_each(|s| table.row(cells(s).each_ref().map(String::as_str)));
        return table.write(out);
    }
    let [a, b, c, d, e, f, g] = head;
    let mut table = Table::new(["NODE", a, b, c, d, e, f, g]);
    for secret in secrets {
        let [a, b, c, d, e, f, g] = cells(secret);
        table.row([&secret.node, &a, &b, &c, &d, &e, &f, &g]);
    }
    table.write(out)
}
