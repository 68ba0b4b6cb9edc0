//! A server until a signal ends it.

use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use time::OffsetDateTime;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::config::Config;
use super::{Server, ServerError};

/// Serves until SIGTERM or SIGINT, then drains.
pub async fn run(config: Config) -> Result<(), ServerError> {
    // Before anything is started: a signal that comes while the server starts is to end it in order too.
    let mut terminate = signal(SignalKind::terminate()).map_err(ServerError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServerError::Signals)?;
    raise_descriptor_limit();
    let server = Server::start(config, Arc::new(OffsetDateTime::now_utc)).await?;
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    info!(signal = name, "asked to stop");
    server.stop().await;
    Ok(())
}

/// Each connection is a file descriptor, and the customary limit of 1024 is fewer than `xds.limits.connections`: whatever the
/// system allows is taken.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        warn!(%error, "the limit of file descriptors stays what it is");
    }
}
