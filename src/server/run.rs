//! A server until a signal ends it.

use std::sync::Arc;

use time::OffsetDateTime;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use super::config::Config;
use super::{Server, ServerError};

/// Serves until SIGTERM or SIGINT, then drains.
pub async fn run(config: Config) -> Result<(), ServerError> {
    // Before anything is started: a signal that comes while the server starts is to end it in order too.
    let mut terminate = signal(SignalKind::terminate()).map_err(ServerError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServerError::Signals)?;
    let server = Server::start(config, Arc::new(OffsetDateTime::now_utc)).await?;
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    info!(signal = name, "asked to stop");
    server.stop().await;
    Ok(())
}
