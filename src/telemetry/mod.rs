//! What the server says about itself: its log, and its metrics.

mod logging;
mod metrics;
#[cfg(test)]
mod tests;

pub use logging::{LoggingError, init};
pub use metrics::{ByType, Metrics, TypeLabel};
