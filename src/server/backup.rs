//! Copies of the store, and back.

use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::config::Config;
use super::lock::DataDirLock;
use super::{STORE, ServerError};
use crate::admin;
use crate::trust::{self, TrustError};

/// Copies the store of a server with this configuration to `file`, whether it runs or not.
pub fn backup(config: &Config, file: &Path) -> Result<(), ServerError> {
    Ok(trust::backup(&config.store_file(STORE), file).map_err(TrustError::from)?)
}

/// Puts the backup `file` where a server with this configuration, which must not run, has its store. With `force` a store that is there is
/// moved aside; returns where to.
pub fn restore(file: &Path, config: &Config, force: bool) -> Result<Option<PathBuf>, ServerError> {
    admin::prepare_data_dir(&config.data_dir)?;
    let _lock = DataDirLock::take(&config.data_dir)?;
    let restored = trust::restore(file, &config.store_file(STORE), force, OffsetDateTime::now_utc());
    Ok(restored.map_err(TrustError::from)?)
}
