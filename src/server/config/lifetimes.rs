//! How long certificates live, and when authorities follow one another.

use std::time::Duration;

use serde::Deserialize;

use super::value;
use crate::trust::{KeyAlgorithm, Lists};

/// How long certificates live.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Certificates {
    /// Lifetime of a workload certificate.
    #[serde(deserialize_with = "value::lifetime")]
    pub workload_ttl: Duration,
    /// Lifetime of the cluster's intermediate.
    #[serde(deserialize_with = "value::lifetime")]
    pub intermediate_ttl: Duration,
    /// Lifetime of the root.
    #[serde(deserialize_with = "value::lifetime")]
    pub root_ttl: Duration,
    /// How far `notBefore` is set back.
    #[serde(deserialize_with = "value::duration")]
    pub clock_skew: Duration,
    /// The keys of new authorities.
    #[serde(deserialize_with = "value::parsed")]
    pub authority_key: KeyAlgorithm,
    /// The keys of workload certificates.
    #[serde(deserialize_with = "value::parsed")]
    pub workload_key: KeyAlgorithm,
    /// How long after its end a client certificate may be renewed, and nothing else.
    #[serde(deserialize_with = "value::duration")]
    pub renewal_grace: Duration,
    /// Whether proxies are given revocation lists.
    #[serde(deserialize_with = "value::parsed")]
    pub revocation_lists: Lists,
}

/// How authorities follow one another.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rotation {
    /// How long before its end the root is rotated; at the earliest at two thirds of its life.
    #[serde(deserialize_with = "value::duration")]
    pub root_before: Duration,
    /// How long before the intermediate's end its successor is made; at the earliest at half of its life.
    #[serde(deserialize_with = "value::duration")]
    pub intermediate_prepare: Duration,
    /// How long before the intermediate's end its successor signs; at the earliest in the last sixth of its life.
    #[serde(deserialize_with = "value::duration")]
    pub intermediate_activate: Duration,
    /// Proxies that were connected within this time, and are not now, are waited for.
    #[serde(deserialize_with = "value::duration")]
    pub wait_for_absent: Duration,
    /// New leaves after a change of authority are handed out over this time.
    #[serde(deserialize_with = "value::duration")]
    pub spread: Duration,
}

impl Default for Certificates {
    fn default() -> Self {
        let hours = |n: u64| Duration::from_secs(n * 3600);
        Self {
            workload_ttl: hours(24),
            intermediate_ttl: hours(720),
            root_ttl: hours(87600),
            clock_skew: Duration::from_secs(120),
            authority_key: KeyAlgorithm::default(),
            workload_key: KeyAlgorithm::default(),
            renewal_grace: hours(24),
            revocation_lists: Lists::default(),
        }
    }
}

impl Default for Rotation {
    fn default() -> Self {
        let hours = |n: u64| Duration::from_secs(n * 3600);
        Self {
            root_before: hours(8760),
            intermediate_prepare: hours(720),
            intermediate_activate: hours(168),
            wait_for_absent: hours(24),
            spread: Duration::from_secs(30),
        }
    }
}
