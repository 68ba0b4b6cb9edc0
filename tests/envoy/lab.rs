//! `countersign lab --once`, as a newcomer runs it.

use std::process::Stdio;

use crate::harness::{Setting, countersign, on_envoys};

on_envoys!(the_lab_shows_what_it_promises: delta_1_40, delta_1_36);
on_envoys!(the_lab_shows_linkerds_policies: delta_1_40);

async fn the_lab_shows_linkerds_policies(setting: Setting) {
    let mut command = countersign();
    command.args(["lab", "--once", "--scenario", "linkerd"]).arg("--envoy").arg(setting.envoy().await);
    let run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(240), run).await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for promise in [
        "a Server without authorizations refuses everybody",
        "an identity that Linkerd's policy names is let in",
        "another identity is refused",
        "plaintext is refused",
        "an allowed network is let in, in plaintext too",
    ] {
        assert!(said.lines().any(|line| line.contains('✓') && line.contains(promise)), "{promise}: {said}");
    }
}

async fn the_lab_shows_what_it_promises(setting: Setting) {
    let keep = tempfile::tempdir().unwrap();
    let mut command = countersign();
    command.args(["lab", "--once"]).arg("--envoy").arg(setting.envoy().await).arg("--keep").arg(keep.path());
    let run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(180), run).await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for promise in [
        "plaintext to payment-service:8080 is refused",
        "plaintext to payment-service:9090 (metrics) is served",
        "an intruder without a certificate is refused",
        "no request was lost, every certificate arrived",
        "no request was lost, and the old root is trusted by nobody any more",
        "everything that was started has ended",
    ] {
        assert!(said.lines().any(|line| line.contains('✓') && line.contains(promise)), "{promise}: {said}");
    }
    // What it leaves behind can be looked at.
    assert!(keep.path().join("policies/istio.yaml").exists() && keep.path().join("data/trust.db").exists());
}

on_envoys!(the_scenario_of_cert_manager_shows_what_it_promises: delta_1_40);

async fn the_scenario_of_cert_manager_shows_what_it_promises(setting: Setting) {
    let keep = tempfile::tempdir().unwrap();
    let mut command = countersign();
    command.args(["lab", "--once", "--scenario", "cert-manager"]).arg("--envoy").arg(setting.envoy().await);
    let run = command.arg("--keep").arg(keep.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(180), run).await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for promise in [
        "the gateway shows my-service-tls, which ClusterIssuer istio-ca has signed",
        "the Certificate was issued again and again, and no request was lost",
        "no request was lost, and the old root is trusted by nobody any more",
        "everything that was started has ended",
    ] {
        assert!(said.lines().any(|line| line.contains('✓') && line.contains(promise)), "{promise}: {said}");
    }
}

on_envoys!(the_scenario_of_spire_shows_what_it_promises: delta_1_40, delta_1_36);
on_envoys!(all_four_seeds_at_once: delta_1_40);

const SPIRE: [&str; 5] = [
    "a request is served with mutual TLS, with secrets by the names of SPIRE's agent",
    "plaintext to it is refused",
    "its identity is that of the ClusterStaticEntry for its process",
    "the root is the upstream authority's",
    "its certificate was replaced again and again, and no request was lost",
];

const EVERY: [&str; 3] = [
    "plaintext to payment-service:8080 is refused",
    "no request was lost, every certificate arrived",
    "everything that was started has ended",
];

/// `countersign lab --once`, which has to end well and to promise all of these.
async fn shows(setting: Setting, scenario: &str, promises: &[&str]) {
    let mut command = countersign();
    command.args(["lab", "--once", "--scenario", scenario]).arg("--envoy").arg(setting.envoy().await);
    let run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(240), run).await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for promise in promises.iter().chain(&EVERY) {
        assert!(said.lines().any(|line| line.contains('✓') && line.contains(promise)), "{promise}: {said}");
    }
}

async fn the_scenario_of_spire_shows_what_it_promises(setting: Setting) {
    shows(setting, "spire", &SPIRE).await;
}

async fn all_four_seeds_at_once(setting: Setting) {
    let linkerd_and_cert_manager = [
        "the gateway shows my-service-tls, which ClusterIssuer istio-ca has signed",
        "the Certificate was issued again and again, and no request was lost",
        "Server external-api has no authorization, and refuses everybody",
        "with one, whom it names is let in, by mutual TLS",
        "and plaintext is refused",
    ];
    shows(setting, "mixed", &[&SPIRE[..], &linkerd_and_cert_manager[..]].concat()).await;
}
