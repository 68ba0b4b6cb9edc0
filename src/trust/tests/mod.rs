//! The hierarchy over an injected clock, on a real store.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use time::OffsetDateTime;
use time::macros::datetime;

use super::*;

mod at_rest;
mod brought;
mod certificates;
mod federation;
mod following;
mod issuance;
mod requests;
mod revocation;
mod restart;
mod roots;
mod tls;
mod tokens;
mod upstream;

const NOW: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn settings() -> Settings {
    Settings {
        trust_domain: "cluster.local".parse().unwrap(),
        cluster: "one".into(),
        root_ttl: 3650 * DAY,
        intermediate_ttl: 30 * DAY,
        intermediate_prepare: 30 * DAY,
        intermediate_activate: 7 * DAY,
        workload_ttl: DAY,
        authority_key: KeyAlgorithm::P256,
        authority_name: None,
        workload_key: KeyAlgorithm::P256,
        clock_skew: Duration::from_secs(60),
        renewal_grace: DAY,
        lists: Lists::Auto,
    }
}

fn open(directory: &Path, settings: Settings, now: OffsetDateTime) -> Result<Trust, TrustError> {
    let store = SqliteStore::open(&directory.join("trust.db"))?;
    Trust::open(Box::new(store), settings, now)
}

fn fresh() -> (TempDir, Trust) {
    let directory = tempfile::tempdir().unwrap();
    let trust = open(directory.path(), settings(), NOW).unwrap();
    (directory, trust)
}

fn id(namespace: &str, service_account: &str) -> SpiffeId {
    SpiffeId::workload(&settings().trust_domain, namespace, service_account).unwrap()
}
