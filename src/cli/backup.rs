//! `countersign backup` and `countersign restore`: the arguments.

use std::path::PathBuf;

use super::place::Place;

/// What `countersign backup` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct BackupArgs {
    /// The file to write; it must not exist
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Which server; it may be running.
    #[command(flatten)]
    pub place: Place,
}

/// What `countersign restore` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Move a store that is there aside
    #[arg(long)]
    pub force: bool,
    /// Which server; it must not be running.
    #[command(flatten)]
    pub place: Place,
}
