//! What issuing costs on one core: `cargo bench --bench issuance`.
//!
//! A request is parsed, its names, extensions and key are checked, its proof of possession is verified, and a leaf is signed and written
//! as PEM. A leaf with a key made here is that without the request, and with a new key; kept in SQLite (a thousand in one transaction),
//! or in nothing at all, to show what the disk is for.

use std::hint::black_box;
use std::time::Duration;

use countersign::identity::{SpiffeId, TrustDomain};
use countersign::trust::{
    AuthorityRecord, CertificateRecord, Change, Contents, CrlRecord, FederatedRecord, IssuedRecord, JoinTokenRecord,
    KeyAlgorithm, Lists, RevocationRecord, Serial, Settings, SqliteStore, Store, StoreError, Trust, WorkloadRecord,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// Keeps nothing.
#[derive(Debug)]
struct Nowhere;

impl Store for Nowhere {
    fn certificates(&self) -> Result<Vec<CertificateRecord>, StoreError> {
        Ok(Vec::new())
    }

    fn save_certificates(&self, _keep: &[CertificateRecord], _forget: &[String]) -> Result<(), StoreError> {
        Ok(())
    }

    fn load(&self) -> Result<Contents, StoreError> {
        Ok(Contents::default())
    }
    fn found(&self, _: &TrustDomain, _: &[AuthorityRecord]) -> Result<(), StoreError> {
        Ok(())
    }
    fn change(&self, _: &Change) -> Result<(), StoreError> {
        Ok(())
    }

    fn reserve(&self, _: &Serial, _: OffsetDateTime) -> Result<(), StoreError> {
        Ok(())
    }

    fn save_seen(&self, _: &[String], _: OffsetDateTime) -> Result<(), StoreError> {
        Ok(())
    }
    fn save_workloads(&self, _: &[WorkloadRecord], _: &[IssuedRecord]) -> Result<(), StoreError> {
        Ok(())
    }
    fn forget_expired(&self, _: OffsetDateTime, _: OffsetDateTime) -> Result<usize, StoreError> {
        Ok(0)
    }
    fn note_issued(&self, _: &[IssuedRecord]) -> Result<(), StoreError> {
        Ok(())
    }
    fn find_issued(&self, _: &Serial) -> Result<Option<IssuedRecord>, StoreError> {
        Ok(None)
    }
    fn issued_to(&self, _: &str) -> Result<Vec<IssuedRecord>, StoreError> {
        Ok(Vec::new())
    }
    fn revoke(&self, _: &[RevocationRecord]) -> Result<(), StoreError> {
        Ok(())
    }
    fn save_crls(&self, _: &[CrlRecord]) -> Result<(), StoreError> {
        Ok(())
    }
    fn save_federated(&self, _: &FederatedRecord) -> Result<(), StoreError> {
        Ok(())
    }
    fn remove_federated(&self, _: &TrustDomain) -> Result<bool, StoreError> {
        Ok(false)
    }
    fn add_join_token(&self, _: &JoinTokenRecord) -> Result<(), StoreError> {
        Ok(())
    }
    fn join_tokens(&self) -> Result<Vec<JoinTokenRecord>, StoreError> {
        Ok(Vec::new())
    }
    fn find_join_token(&self, _: &[u8; 32]) -> Result<Option<JoinTokenRecord>, StoreError> {
        Ok(None)
    }
    fn consume_join_token(&self, _: &[u8; 32], _: OffsetDateTime) -> Result<bool, StoreError> {
        Ok(false)
    }
    fn forget_seen(&self, _: OffsetDateTime) -> Result<usize, StoreError> {
        Ok(0)
    }
    fn forget_join_tokens(&self, _: OffsetDateTime) -> Result<usize, StoreError> {
        Ok(0)
    }
    fn remove_join_token(&self, _: &str) -> Result<bool, StoreError> {
        Ok(false)
    }
    fn keep_authority_request(&self, _: &str, _: &[u8], _: OffsetDateTime) -> Result<(), StoreError> {
        Ok(())
    }
    fn authority_request(&self, _: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        Ok(None)
    }
}

fn settings(authority_key: KeyAlgorithm) -> Settings {
    let day = Duration::from_secs(24 * 3600);
    Settings {
        trust_domain: "cluster.local".parse().unwrap(),
        cluster: "bench".into(),
        root_ttl: 3650 * day,
        intermediate_ttl: 30 * day,
        intermediate_prepare: 15 * day,
        intermediate_activate: 5 * day,
        workload_ttl: day,
        authority_key,
        authority_name: None,
        workload_key: KeyAlgorithm::P256,
        clock_skew: Duration::from_secs(120),
        renewal_grace: day,
        lists: Lists::Auto,
    }
}

fn request(key: &KeyPair, id: &SpiffeId) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(id.as_str().try_into().unwrap())];
    params.serialize_request(key).unwrap().pem().unwrap()
}

fn requests(c: &mut Criterion) {
    let id: SpiffeId = "spiffe://cluster.local/ns/production/sa/payment".parse().unwrap();
    let now = OffsetDateTime::now_utc();
    let mut group = c.benchmark_group("request");
    group.throughput(Throughput::Elements(1));
    let csr = request(&KeyPair::generate().unwrap(), &id);
    for authority in [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Rsa2048] {
        let trust = Trust::open(Box::new(Nowhere), settings(authority), now).unwrap();
        group.bench_function(format!("P-256, signed with {authority}"), |b| {
            b.iter(|| trust.sign_csr(black_box(&csr), &id, None, now).unwrap());
        });
    }
    group.finish();
}

fn leaves(c: &mut Criterion) {
    const BATCH: usize = 1000;
    let now = OffsetDateTime::now_utc();
    let workloads: Vec<(String, SpiffeId)> = (0..BATCH)
        .map(|n| (format!("production/w{n}"), format!("spiffe://cluster.local/ns/production/sa/w{n}").parse().unwrap()))
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let sqlite = SqliteStore::open(&directory.path().join("trust.db")).unwrap();
    let mut group = c.benchmark_group("leaf");
    group.throughput(Throughput::Elements(BATCH as u64)).sample_size(20);
    for (name, store) in [("kept nowhere", Box::new(Nowhere) as Box<dyn Store>), ("durable", Box::new(sqlite))] {
        let trust = Trust::open(store, settings(KeyAlgorithm::P256), now).unwrap();
        group.bench_function(name, |b| b.iter(|| trust.renew_workload_certificates(&workloads, now).unwrap()));
    }
    group.finish();
}

criterion_group!(benches, requests, leaves);
criterion_main!(benches);
