//! Policy that changes while traffic flows.

use countersign::lab::checks::{Peer, plaintext_refused, served_by_proxy, served_directly};
use countersign::lab::topology::SEED_POLICIES;

use crate::harness::{Setting, eventually, finish, on_envoys};

on_envoys!(strict_to_permissive_and_back: delta_1_40, sotw_1_40, delta_1_36, sotw_1_36);
on_envoys!(a_broken_file_changes_nothing: delta_1_40);
on_envoys!(a_client_follows_a_plaintext_port: delta_1_40, sotw_1_40, delta_1_36, sotw_1_36);
on_envoys!(a_strict_client_fails_at_a_plaintext_port: delta_1_40, delta_1_36);

async fn strict_to_permissive_and_back(setting: Setting) {
    let mesh = setting.mesh().await;
    let (api, host) = (mesh.topology().payment.at(8080), mesh.topology().payment.host());
    let traffic = mesh.traffic();
    plaintext_refused(api, &host).await.expect("STRICT at first");

    let permissive = SEED_POLICIES.replace("    8080:\n      mode: STRICT", "    8080:\n      mode: PERMISSIVE");
    assert_ne!(permissive, SEED_POLICIES);
    for _ in 0..3 {
        mesh.write_policy("istio.yaml", &permissive);
        eventually("plaintext is served", async || served_directly(api, &host, Peer::Nobody).await.ok()).await;
        mesh.write_policy("istio.yaml", SEED_POLICIES);
        eventually("plaintext is refused", async || plaintext_refused(api, &host).await.ok()).await;
    }
    finish(traffic).await;
    // Only the one listener of the one workload was touched.
    let client = mesh.lab.admin(&mesh.topology().client).unwrap();
    assert_eq!(client.stat("listener_manager.listener_modified").await.unwrap(), 0);
    assert_eq!(client.stat("cluster_manager.cluster_modified").await.unwrap(), 0);
    mesh.stop().await;
}

async fn a_broken_file_changes_nothing(setting: Setting) {
    let mesh = setting.mesh().await;
    mesh.server().wait_synced(3).await;
    let before = mesh.server().status().await.policy;
    let traffic = mesh.traffic();
    let broken = SEED_POLICIES.replacen("mode: STRICT", "mode: STRIKT", 1);
    mesh.write_policy("istio.yaml", &broken);
    let after = eventually("the mistake is reported", async || {
        let policy = mesh.server().status().await.policy;
        (!policy.rejected.is_empty()).then_some(policy)
    })
    .await;
    assert_eq!(after.generation, before.generation, "the last good set is served");
    let told = &after.rejected[0];
    assert!(told.starts_with("istio.yaml:8: spec.mtls.mode") && told.contains("STRICT"), "{told}");
    assert_eq!(mesh.server().metric("countersign_policy_rejected").await, 1);
    assert!(mesh.server().log().contains("istio.yaml:8"), "{}", mesh.server().log());

    for garbage in ["\t{{{{", "kind: [", "apiVersion: v1\nkind: Secret\nmetadata: {name: 1\n", "\u{0}"] {
        mesh.write_policy("istio.yaml", garbage);
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        assert_eq!(mesh.server().status().await.policy.generation, before.generation, "{garbage:?}");
    }
    mesh.write_policy("istio.yaml", SEED_POLICIES);
    eventually("it is good again", async || mesh.server().status().await.policy.rejected.is_empty().then_some(()))
        .await;
    assert_eq!(mesh.server().metric("countersign_policy_rejected").await, 0);
    finish(traffic).await;
    for envoy in &mesh.lab.envoys {
        assert_eq!(envoy.admin().stat("listener_manager.listener_modified").await.unwrap(), 0, "{}", envoy.name());
        assert_eq!(envoy.admin().stat("listener_manager.listener_removed").await.unwrap(), 0, "{}", envoy.name());
    }
    mesh.stop().await;
}

/// The seed's own contradiction: `*.local` asks for ISTIO_MUTUAL, and payment-service's port 9090 is DISABLE.
async fn a_client_follows_a_plaintext_port(setting: Setting) {
    let mesh = setting.mesh().await;
    let (client, payment) = (mesh.topology().client.clone(), mesh.topology().payment.clone());
    let metrics = payment.url(9090, "/metrics");
    served_by_proxy(client.http_proxy(), &metrics, Peer::Nobody).await.expect("the client follows the port");
    let api = payment.url(8080, "/pay");
    served_by_proxy(client.http_proxy(), &api, Peer::Identity(&client.identity())).await.expect("and this one is mTLS");

    let told = "asks for ISTIO_MUTUAL to payment-service.production.svc.cluster.local port 9090";
    let warnings = eventually("the pair is reported", async || {
        let warnings = mesh.server().status().await.policy.warnings;
        warnings.iter().any(|it| it.contains(told)).then_some(warnings)
    })
    .await;
    let line = warnings.iter().find(|it| it.contains(told)).unwrap();
    assert!(line.starts_with("istio.yaml:45: ") && line.contains("istio.yaml:34"), "{line}");
    assert!(line.ends_with("[CS0102]"), "{line}");
    assert!(mesh.server().metric("countersign_policy_findings{severity=\"warning\"}").await > 0);
    assert_eq!(mesh.server().metric("countersign_policy_findings{severity=\"error\"}").await, 0);

    // A change about something else does not make the log say it again.
    let times = || mesh.server().log().matches(told).count();
    let before = times();
    assert_eq!(before, 1, "{}", mesh.server().log());
    let generation = mesh.server().status().await.policy.generation;
    let other = "apiVersion: v1\nkind: Namespace\nmetadata: {name: elsewhere}\n";
    mesh.write_policy("other.yaml", other);
    eventually("the change is served", async || {
        (mesh.server().status().await.policy.generation > generation).then_some(())
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(times(), before);

    // With the port STRICT the same cluster speaks mutual TLS to it.
    let strict = SEED_POLICIES.replace("mode: DISABLE # Metrics port, no mTLS", "mode: STRICT");
    assert_ne!(strict, SEED_POLICIES);
    mesh.write_policy("istio.yaml", &strict);
    eventually("mutual TLS follows", async || {
        served_by_proxy(client.http_proxy(), &metrics, Peer::Identity(&client.identity())).await.ok()
    })
    .await;
    mesh.stop().await;
}

async fn a_strict_client_fails_at_a_plaintext_port(setting: Setting) {
    let mesh = setting.mesh_with("istioCompatibility: strict\n", |_| ()).await;
    let (client, payment) = (mesh.topology().client.clone(), mesh.topology().payment.clone());
    let refused = served_by_proxy(client.http_proxy(), &payment.url(9090, "/metrics"), Peer::Nobody).await;
    let seen = refused.expect_err("the client speaks TLS to a plaintext port");
    assert!(seen.starts_with("503"), "{seen}");
    let cluster = format!("cluster.outbound|9090||{}.", payment.host());
    let admin = mesh.lab.admin(&client).unwrap();
    assert!(admin.stat(&format!("{cluster}ssl.connection_error")).await.unwrap() > 0, "it is TLS that failed");
    served_directly(payment.at(9090), &payment.host(), Peer::Nobody).await.expect("the port itself is well");
    eventually("the pair is an error", async || {
        let metric = "countersign_policy_findings{severity=\"error\"}";
        (mesh.server().metric(metric).await > 0).then_some(())
    })
    .await;
    mesh.stop().await;
}
