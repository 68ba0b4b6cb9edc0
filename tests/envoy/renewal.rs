//! Certificates that live for seconds.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::harness::{Setting, finish, on_envoys};

on_envoys!(p_384_keys: delta_1_40, delta_1_36);
on_envoys!(rsa_keys: delta_1_40);

on_envoys!(three_lifetimes_of_short_certificates: delta_1_40, sotw_1_36);

/// Ten seconds each, so that every one is replaced after about five: by the clock alone, with nobody asking.
async fn three_lifetimes_of_short_certificates(setting: Setting) {
    let mesh = setting.mesh_with("certificates:\n  workloadTtl: 10s\n", |_| ()).await;
    let traffic = mesh.traffic();
    let payment = mesh.lab.admin(&mesh.topology().payment).unwrap();
    let mut seen = BTreeSet::new();
    let end = Instant::now() + Duration::from_secs(31);
    while Instant::now() < end {
        let held = payment.certs().await.unwrap();
        let own = held.leaves.into_iter().filter(|leaf| leaf.uris == [mesh.topology().payment.identity()]);
        seen.extend(own.map(|leaf| leaf.serial));
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let report = finish(traffic).await;
    // Half of ten seconds, give or take a tenth: between five and seven renewals in thirty-one.
    assert!(report.client_certificates >= 5, "{report:?}");
    assert!(seen.len() >= 5, "{seen:?}");
    mesh.stop().await;
}

async fn p_384_keys(setting: Setting) {
    keys_of(setting, "P-384", "P-384").await;
}

async fn rsa_keys(setting: Setting) {
    keys_of(setting, "RSA-2048", "RSA-2048").await;
}

/// Authorities and workloads with these keys: Envoys take them, and handshakes between them do not fail.
async fn keys_of(setting: Setting, authority: &str, workload: &str) {
    let config = format!("certificates:\n  authorityKey: {authority}\n  workloadKey: {workload}\n");
    let mesh = setting.mesh_with(&config, |_| ()).await;
    mesh.server().wait_synced(3).await;
    let traffic = mesh.traffic();
    for _ in 0..3 {
        mesh.server().rotate().await;
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    finish(traffic).await;
    mesh.stop().await;
}
