//! What the server says about itself: its log, and its metrics.

mod logging;
mod metrics;
mod throttle;
#[cfg(test)]
mod tests;

pub use logging::{LoggingError, init};
pub use metrics::{ByReason, BySeverity, ByType, Metrics, ReasonLabel, SeverityLabel, TypeLabel};
pub use throttle::Throttle;
