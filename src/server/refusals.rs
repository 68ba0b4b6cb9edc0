//! What was refused, counted and written down. Strangers cause these lines, so each reason has one a second.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::telemetry::{Metrics, Throttle};

/// Why a connection or a request came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// `accept` failed: no file descriptors, say.
    Accept,
    /// There are as many connections as there may be.
    Connections,
    /// TLS was not finished in time.
    HandshakeTimeout,
    /// TLS was not finished when others needed the place.
    Displaced,
    /// No TLS connection came about.
    Tls,
    /// A verified certificate that names no workload.
    Certificate,
    /// A Unix socket's peer that the kernel does not tell of.
    Process,
    /// HTTP/2 that broke a rule or a limit.
    Http2,
    /// Connected, and asked for nothing in time.
    Idle,
    /// A request without a good proof of identity.
    Unauthenticated,
    /// Somebody who is no operator asked what operators may.
    NotOperator,
    /// A certificate that is revoked.
    Revoked,
    /// A certificate that has expired, and a request that is not to renew it.
    Expired,
    /// A request on an open stream that broke a rule or a limit.
    Stream,
}

const REASONS: usize = 14;

impl Refusal {
    /// The label in metrics and the log.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Connections => "connections",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::Displaced => "displaced",
            Self::Tls => "tls",
            Self::Certificate => "certificate",
            Self::Process => "process",
            Self::Http2 => "http2",
            Self::Idle => "idle",
            Self::Unauthenticated => "unauthenticated",
            Self::NotOperator => "not_operator",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Stream => "stream",
        }
    }
}

/// The count and the log of refusals.
pub(super) struct Refusals {
    metrics: Arc<Metrics>,
    throttles: [Throttle; REASONS],
}

impl Refusals {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, throttles: std::array::from_fn(|_| Throttle::new(Duration::from_secs(1))) }
    }

    /// Counts one, and writes a line if this reason's last is a second old.
    pub(super) fn note(&self, refusal: Refusal, from: &dyn Display, error: &dyn Display) {
        let reason = refusal.reason();
        self.metrics.refused.inc(reason);
        if let Some(held_back) = self.throttles[refusal as usize].pass(Instant::now()) {
            warn!(reason, %from, %error, held_back, "refused");
        }
    }
}
