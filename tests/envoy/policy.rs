//! Policy that changes while traffic flows.

use countersign::lab::checks::{Peer, plaintext_refused, served_directly};
use countersign::lab::topology::SEED_POLICIES;

use crate::harness::{Setting, eventually, finish, on_envoys};

on_envoys!(strict_to_permissive_and_back: delta_1_40, sotw_1_40, delta_1_36, sotw_1_36);
on_envoys!(a_broken_file_changes_nothing: delta_1_40);

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
