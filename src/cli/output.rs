//! `-o table|json|yaml`.

use std::io::{self, Write};

use serde::Serialize;

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns for a person.
    #[default]
    Table,
    /// The API's own JSON, indented.
    Json,
    /// The same as YAML.
    Yaml,
}

impl Format {
    /// Prints `value`, in the first format by means of `table`.
    pub(super) fn print<T: Serialize>(
        self,
        value: &T,
        out: &mut dyn Write,
        table: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        match self {
            Self::Table => table(out),
            Self::Json => {
                serde_json::to_writer_pretty(&mut *out, value)?;
                writeln!(out)
            }
            Self::Yaml => write!(out, "{}", serde_saphyr::to_string(value).map_err(io::Error::other)?),
        }
    }
}
