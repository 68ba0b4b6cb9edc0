//! Threat 2: the authenticated identity decides, whatever a node says of itself.

use countersign::lab::{EnvoyOptions, EnvoyProcess};

use crate::harness::{Setting, eventually, on_envoys};

on_envoys!(threat_02_another_nodes_certificate: delta_1_40, sotw_1_36);

/// An Envoy with legacy's certificate that says it is payment-service, by its id and by its metadata.
async fn threat_02_another_nodes_certificate(setting: Setting) {
    let mut mesh = setting.mesh().await;
    mesh.server().wait_synced(3).await;
    let payment = mesh.topology().payment.clone();
    let home = mesh.directory.path().join("thief");
    std::fs::create_dir_all(&home).unwrap();
    let admin = mesh.ports.free_address().unwrap();
    let config = mesh.server().bootstrap_as("legacy-namespace/legacy", &home, admin, Some(&payment.id())).await;
    let honest = std::fs::read_to_string(&config).unwrap();
    let lies = honest
        .replace("NAMESPACE: 'legacy-namespace'", "NAMESPACE: 'production'")
        .replace("NAME: 'legacy'", "NAME: 'payment-service'");
    assert_ne!(lies, honest);
    std::fs::write(&config, lies).unwrap();

    let denied = mesh.server().metric("countersign_secrets_denied_total").await;
    let options =
        EnvoyOptions { name: "thief".into(), binary: mesh.envoy.clone(), config, admin, log: home.join("envoy.log") };
    let thief = EnvoyProcess::start(options).unwrap();
    eventually("the attempt is counted", async || {
        (mesh.server().metric("countersign_secrets_denied_total").await > denied).then_some(())
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    // Only the two certificates that it came with: its own for xDS, which is legacy's, and no cluster or listener of payment's.
    let dump = thief.admin().config_dump().await.unwrap().to_string();
    assert!(!dump.contains("inbound|") && !dump.contains("outbound|"), "{dump}");
    let held = thief.admin().certs().await.unwrap();
    let uris: Vec<_> = held.leaves.iter().flat_map(|leaf| &leaf.uris).collect();
    assert!(uris.iter().all(|uri| **uri == mesh.topology().legacy.identity()), "{uris:?}");
    let log = mesh.server().log();
    assert!(log.contains("this identity may not speak for this node"), "{log}");
    assert_eq!(mesh.server().proxies().await.len(), 3, "it is not among the connected");
    drop(thief);
    mesh.stop().await;
}
