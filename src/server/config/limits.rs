//! What strangers and clients may take. Every number can be lived with; none has to be set.

use std::time::Duration;

use serde::Deserialize;

use super::value;
use crate::xds;

/// Limits of the xDS listeners.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Open connections on all xDS listeners.
    pub connections: usize,
    /// Connections that have not finished TLS yet.
    pub handshakes: usize,
    /// What a connection may take to finish TLS while others wait for its place.
    #[serde(deserialize_with = "value::duration")]
    pub handshake_grace: Duration,
    /// What a connection may take to finish TLS, and then to send its first authenticated request.
    #[serde(deserialize_with = "value::duration")]
    pub handshake_timeout: Duration,
    /// Streams open at once on a connection.
    pub streams_per_connection: u32,
    /// The largest list of request headers, in bytes.
    pub header_bytes: u32,
    /// The largest request message, in bytes.
    pub request_bytes: usize,
    /// Names in one subscription.
    pub names: usize,
    /// Requests a second that are read from one stream.
    pub requests_per_second: u32,
    /// Requests read at once from a stream that was quiet.
    pub request_burst: u32,
    /// Streams between their first request and their first acknowledgement.
    pub first_pushes: usize,
    /// Of these, those of one identity.
    pub first_pushes_per_identity: usize,
    /// After this time a stream gives up its place among the first pushes.
    #[serde(deserialize_with = "value::duration")]
    pub first_push_time: Duration,
    /// A connection is ended after this time; zero for never.
    #[serde(deserialize_with = "value::duration")]
    pub max_connection_age: Duration,
    /// The age varies by up to this time in either direction.
    #[serde(deserialize_with = "value::duration")]
    pub max_connection_age_jitter: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let xds::Limits { request_bytes, names, requests_per_second, request_burst } = xds::Limits::default();
        Self {
            connections: 30_000,
            handshakes: 1024,
            handshake_grace: Duration::from_secs(1),
            handshake_timeout: Duration::from_secs(10),
            streams_per_connection: 1024,
            header_bytes: 16 * 1024,
            request_bytes,
            names,
            requests_per_second,
            request_burst,
            first_pushes: 256,
            first_pushes_per_identity: 64,
            first_push_time: Duration::from_secs(2),
            max_connection_age: Duration::ZERO,
            max_connection_age_jitter: Duration::ZERO,
        }
    }
}

impl Limits {
    /// Those of one stream.
    pub fn stream(&self) -> xds::Limits {
        xds::Limits {
            request_bytes: self.request_bytes,
            names: self.names,
            requests_per_second: self.requests_per_second,
            request_burst: self.request_burst,
        }
    }

    /// The key and the mistake of a value that would lock everybody out.
    pub(super) fn mistake(&self) -> Option<(&'static str, &'static str)> {
        let zero = "0 would let nobody in";
        let numbers = [
            ("xds.limits.connections", self.connections),
            ("xds.limits.handshakes", self.handshakes),
            ("xds.limits.streamsPerConnection", self.streams_per_connection as usize),
            ("xds.limits.names", self.names),
            ("xds.limits.requestsPerSecond", self.requests_per_second as usize),
            ("xds.limits.requestBurst", self.request_burst as usize),
            ("xds.limits.firstPushes", self.first_pushes),
            ("xds.limits.firstPushesPerIdentity", self.first_pushes_per_identity),
        ];
        if let Some((key, _)) = numbers.into_iter().find(|(_, value)| *value == 0) {
            return Some((key, zero));
        }
        if self.header_bytes < 4096 {
            return Some(("xds.limits.headerBytes", "below 4096 the headers of real clients do not fit"));
        }
        if self.request_bytes < 128 * 1024 {
            return Some(("xds.limits.requestBytes", "below 131072 an Envoy's first request, some 60 KB, may not fit"));
        }
        if self.handshake_timeout.is_zero() {
            return Some(("xds.limits.handshakeTimeout", "0 would let nobody in"));
        }
        if self.max_connection_age_jitter > self.max_connection_age {
            return Some(("xds.limits.maxConnectionAgeJitter", "longer than xds.limits.maxConnectionAge"));
        }
        None
    }
}
