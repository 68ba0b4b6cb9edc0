//! Clusters and listeners that live for a time only, unless the server says that they live on.

use std::time::Duration;

use countersign::lab::EnvoyProcess;
use countersign::lab::http;

use crate::harness::{LIMIT, Mesh, Setting, eventually, finish, on_envoys};

on_envoys!(what_a_proxy_hears_nothing_of_ends: delta_1_40, sotw_1_40, delta_1_36, sotw_1_36);

const TTL: Duration = Duration::from_secs(6);

async fn removed(envoy: &EnvoyProcess) -> u64 {
    let admin = envoy.admin();
    admin.stat("cluster_manager.cluster_removed").await.unwrap()
        + admin.stat("listener_manager.listener_removed").await.unwrap()
}

async fn succeeds(mesh: &Mesh) -> Option<()> {
    let (client, payment) = (&mesh.topology().client, &mesh.topology().payment);
    let answer = http::get_via_proxy(client.http_proxy(), &payment.url(8080, "/"), LIMIT).await;
    answer.is_ok_and(|answer| answer.status.is_success()).then_some(())
}

async fn what_a_proxy_hears_nothing_of_ends(setting: Setting) {
    let mut mesh = setting.mesh_with(&format!("xds: {{resourceTtl: {}s}}\n", TTL.as_secs()), |_| ()).await;

    // Heartbeats: for longer than anything lives by itself, nothing is lost and nothing is refused.
    let traffic = mesh.traffic();
    tokio::time::sleep(TTL * 2 + TTL / 2).await;
    finish(traffic).await;
    for envoy in &mesh.lab.envoys {
        assert_eq!(removed(envoy).await, 0);
        for stat in ["listener_manager.lds.update_rejected", "cluster_manager.cds.update_rejected"] {
            assert_eq!(envoy.admin().stat(stat).await.unwrap(), 0, "{stat}");
        }
    }

    // A server that is back in time: who comes back has everything, and is told at once that it lives on.
    let traffic = mesh.traffic();
    mesh.lab.control_plane.kill().await;
    mesh.lab.control_plane.start_again().await;
    tokio::time::sleep(TTL * 2).await;
    finish(traffic).await;
    for envoy in &mesh.lab.envoys {
        assert_eq!(removed(envoy).await, 0, "after a restart");
    }

    // A server that is away: what nobody speaks of ends.
    mesh.lab.control_plane.kill().await;
    assert!(succeeds(&mesh).await.is_some(), "not at once");
    eventually("clusters and listeners end", async || {
        let mut ended = true;
        for envoy in &mesh.lab.envoys {
            ended &= removed(envoy).await > 0;
        }
        ended.then_some(())
    })
    .await;
    assert!(succeeds(&mesh).await.is_none());

    mesh.lab.control_plane.start_again().await;
    eventually("everything is there again", async || succeeds(&mesh).await).await;
    mesh.stop().await;
}
