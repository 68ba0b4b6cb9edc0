//! `countersign backup` and `countersign restore`: the arguments.

use std::path::PathBuf;

/// What `countersign backup` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct BackupArgs {
    /// The file to write; it must not exist
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The server's data directory; the server may be running
    #[arg(long, value_name = "DIR", default_value = "./data")]
    pub data_dir: PathBuf,
}

/// What `countersign restore` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The server's data directory; the server must not be running
    #[arg(long, value_name = "DIR", default_value = "./data")]
    pub data_dir: PathBuf,
    /// Move a store that is there aside
    #[arg(long)]
    pub force: bool,
}
