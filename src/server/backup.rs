//! Copies of the data directory's store, and back.

use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::lock::DataDirLock;
use super::{STORE, ServerError};
use crate::admin;
use crate::trust::{self, TrustError};

/// Copies the store in `data_dir` to `file`, whether a server runs or not.
pub fn backup(data_dir: &Path, file: &Path) -> Result<(), ServerError> {
    Ok(trust::backup(&data_dir.join(STORE), file).map_err(TrustError::from)?)
}

/// Puts the backup `file` into `data_dir`, which no server may have. With `force` a store that is there is moved aside; returns where
/// to.
pub fn restore(file: &Path, data_dir: &Path, force: bool) -> Result<Option<PathBuf>, ServerError> {
    admin::prepare_data_dir(data_dir)?;
    let _lock = DataDirLock::take(data_dir)?;
    let restored = trust::restore(file, &data_dir.join(STORE), force, OffsetDateTime::now_utc());
    Ok(restored.map_err(TrustError::from)?)
}
