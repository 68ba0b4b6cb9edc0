//! A small hierarchy for the fuzz targets in `fuzz/`.

use std::time::Duration;

use tempfile::TempDir;
use time::OffsetDateTime;
use time::macros::datetime;

use super::{KeyAlgorithm, Lists, Settings, SqliteStore, Trust, crl};
use crate::identity::SpiffeId;

/// The time in it.
pub const NOW: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);

/// A hierarchy of cluster.local, in a directory of its own.
#[derive(Debug)]
pub struct Hierarchy {
    /// At work.
    pub trust: Trust,
    /// Some caller.
    pub id: SpiffeId,
    /// What it was opened with.
    pub settings: Settings,
    _directory: TempDir,
}

impl Default for Hierarchy {
    fn default() -> Self {
        Self::new()
    }
}

impl Hierarchy {
    /// A new one.
    pub fn new() -> Self {
        let day = Duration::from_secs(24 * 3600);
        let settings = Settings {
            trust_domain: "cluster.local".parse().expect("a constant"),
            cluster: "fuzz".into(),
            root_ttl: 3650 * day,
            intermediate_ttl: 30 * day,
            intermediate_prepare: 30 * day,
            intermediate_activate: 7 * day,
            workload_ttl: day,
            authority_key: KeyAlgorithm::P256,
            authority_name: None,
            workload_key: KeyAlgorithm::P256,
            clock_skew: Duration::from_secs(60),
            renewal_grace: day,
            lists: Lists::Auto,
        };
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = SqliteStore::open(&directory.path().join("trust.db")).expect("a new store");
        let trust = Trust::open(Box::new(store), settings.clone(), NOW).expect("a new hierarchy");
        let id = "spiffe://cluster.local/ns/a/sa/b".parse().expect("a constant");
        Self { trust, id, settings, _directory: directory }
    }

    /// Whether this is taken for a revocation list of the intermediate.
    pub fn takes_list(&self, der: &[u8]) -> bool {
        crl::read(&self.trust.hierarchy().signer, der).is_ok()
    }
}
