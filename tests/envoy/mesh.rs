//! The seed policies on real Envoys, as a user would look at them.

use countersign::admin::api::SecretState;
use countersign::lab::{Progress, RotationPlan, checks, rotate_under_traffic};

use crate::harness::{Setting, on_envoys};

on_envoys!(seed_policies: delta_1_40, sotw_1_40, delta_1_36, sotw_1_36);

/// Who can reach whom, which identity and TLS version was seen, who is refused; then every certificate is replaced under traffic.
async fn seed_policies(setting: Setting) {
    let mesh = setting.mesh().await;
    mesh.server().wait_synced(3).await;
    let mut progress = Progress::to(std::io::sink());
    let payment = mesh.lab.admin(&mesh.topology().payment).unwrap();
    checks::run(&mut progress, mesh.topology(), payment).await;
    assert!(progress.failures().is_empty(), "{:#?}", progress.failures());

    let plan = RotationPlan { rounds: 5, ..RotationPlan::default() };
    let result = rotate_under_traffic(&mesh.lab, &plan).await.unwrap();
    assert!(result.problems.is_empty(), "{:#?}", result.problems);
    assert_eq!((result.traffic.failures, result.replaced), (0, 15));
    assert!(result.traffic.client_certificates >= 5, "{:?}", result.traffic);
    assert_eq!(result.traffic.reconnects, 0, "kept connections live through a rotation");

    for envoy in &mesh.lab.envoys {
        // Trap 8: what Envoy has deprecated is not used.
        assert_eq!(envoy.admin().stat("runtime.deprecated_feature_use").await.unwrap(), 0, "{}", envoy.name());
        for stat in ["cluster_manager.cds.update_rejected", "listener_manager.lds.update_rejected"] {
            assert_eq!(envoy.admin().stat(stat).await.unwrap(), 0, "{} {stat}", envoy.name());
        }
        // A rotation touches no listener and no cluster.
        assert_eq!(envoy.admin().stat("listener_manager.listener_modified").await.unwrap(), 0, "{}", envoy.name());
        assert_eq!(envoy.admin().stat("cluster_manager.cluster_modified").await.unwrap(), 0, "{}", envoy.name());
    }

    // What the server says everyone holds is what everyone holds.
    let rows = mesh.server().secrets().await;
    for workload in mesh.topology().workloads() {
        let held = mesh.lab.admin(workload).unwrap().certs().await.unwrap();
        let of_workload = rows.iter().filter(|row| row.node == workload.id());
        let leaf = of_workload.clone().find(|row| row.name == "default").expect("a row for the leaf");
        assert!(held.has_leaf(&leaf.serial), "{leaf:?} {held:?}");
        assert!(leaf.valid == Some(true) && leaf.status == SecretState::Active, "{leaf:?}");
        let root = of_workload.clone().find(|row| row.name == "ROOTCA").expect("a row for the root");
        assert!(held.roots.iter().any(|it| it.serial == root.serial), "{root:?} {held:?}");
        assert!(held.leaves.iter().any(|it| it.uris == [workload.identity()]), "{held:?}");
    }
    mesh.stop().await;
}
