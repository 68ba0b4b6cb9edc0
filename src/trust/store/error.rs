//! What can go wrong with a store.

use std::path::{Path, PathBuf};

use super::{KEY_VARIABLE, SealError};

/// Why the store cannot be used, or why something could not be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// What is there is no store of ours, or is damaged. It is never replaced by a new one: a new root would cut the mesh.
    #[error(
        "{} cannot be used: {reason}. It holds the mesh's root and is never made anew over an old one: restore the file from a backup (with the \
         server stopped: `countersign restore FILE --data-dir DIR --force`), or start a new mesh with an empty data directory", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What is to be put in place is no backup, or is damaged.
    #[error(
        "{} is not put in place: {reason}. Nothing has been changed; name a file that `countersign backup` has written", path.display()
    )]
    NoBackup {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A later version has written it.
    #[error(
        "{} was written by a later countersign (its format is {found}, this one reads up to {known}): run that version, or a later one",
        path.display()
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// The format it has.
        found: i64,
        /// The newest format known here.
        known: i64,
    },
    /// Its keys are encrypted, and no key-encryption key is configured.
    #[error(
        "the keys in {} are encrypted, and there is no key-encryption key: set {KEY_VARIABLE}, or store.keyFile in the configuration", path.display()
    )]
    Encrypted {
        /// The file.
        path: PathBuf,
    },
    /// Its keys are encrypted with another key, or were moved between rows.
    #[error("the keys in {} cannot be decrypted: {reason}", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: SealError,
    },
    /// The system said no: no space, no permission.
    #[error("cannot {action} {}: {reason}", path.display())]
    Failed {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

impl StoreError {
    pub(super) fn failed(action: &'static str, path: &Path, reason: impl ToString) -> Self {
        Self::Failed { action, path: path.to_owned(), reason: reason.to_string() }
    }

    pub(super) fn damaged(path: &Path, reason: impl ToString) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.to_string() }
    }
}
