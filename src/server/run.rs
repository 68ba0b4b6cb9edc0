//! A server until a signal ends it.

use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use time::OffsetDateTime;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use super::config::Config;
use super::{Server, ServerError};

/// Serves until SIGTERM or SIGINT, then drains.
pub async fn run(config: Config) -> Result<(), ServerError> {
    // Before anything is started: a signal that comes while the server starts is to end it in order too.
    let mut terminate = signal(SignalKind::terminate()).map_err(ServerError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServerError::Signals)?;
    raise_descriptor_limit();
    let mut server = tokio::select! {
        server = Server::start(config, Arc::new(OffsetDateTime::now_utc)) => server?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let ended = tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
        () = server.failed() => Err(ServerError::Task),
    };
    match &ended {
        Ok(signal) => info!(signal, "asked to stop"),
        Err(error) => error!(%error, "stopping"),
    }
    // Whoever asks a second time does not want to wait.
    tokio::select! {
        () = server.stop() => {}
        _ = terminate.recv() => warn!("asked again: the rest of the streams is cut off"),
        _ = interrupt.recv() => warn!("asked again: the rest of the streams is cut off"),
    }
    ended.map(drop)
}

/// Each connection is a file descriptor, and the customary limit of 1024 is fewer than `xds.limits.connections`: whatever the
/// system allows is taken.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        warn!(%error, "the limit of file descriptors stays what it is");
    }
}
