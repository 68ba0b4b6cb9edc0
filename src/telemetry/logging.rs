//! The log: lines for a person on a terminal, JSON for whatever collects it otherwise.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// `RUST_LOG` is not a filter.
    #[error("RUST_LOG is not a log filter: {0}; an example is RUST_LOG=info,countersign::xds=debug")]
    Filter(String),
    /// Somebody has set up logging in this process before.
    #[error("logging is already set up in this process")]
    AlreadySet,
}

/// Starts logging to standard error: text if that is a terminal, else one JSON object a line. `RUST_LOG` filters; without it
/// everything from `level` up is written, or from `info` up. A bad `RUST_LOG` is an error and not silence.
pub fn init(level: Option<&str>) -> Result<(), LoggingError> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.trim().is_empty() => {
            EnvFilter::try_new(&text).map_err(|e| LoggingError::Filter(e.to_string()))?
        }
        _ => EnvFilter::new(level.unwrap_or("info")),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let done = if std::io::stderr().is_terminal() {
        builder.try_init()
    } else {
        builder.with_ansi(false).json().flatten_event(true).with_current_span(false).try_init()
    };
    done.map_err(|_| LoggingError::AlreadySet)
}
