//! Servers and proxies that are killed.

use countersign::lab::checks::{Peer, served_by_proxy};

use crate::harness::{LIMIT, Mesh, Setting, eventually, finish, on_envoys};

on_envoys!(the_server_is_killed_under_traffic: delta_1_40, sotw_1_40, delta_1_36, sotw_1_36);
on_envoys!(an_envoy_is_killed_and_comes_back: delta_1_40, sotw_1_36);

/// What each Envoy has counted of configuration that it took.
async fn taken(mesh: &Mesh) -> Vec<(String, [u64; 4])> {
    let mut all = Vec::new();
    for envoy in &mesh.lab.envoys {
        let stat = async |name: &str| envoy.admin().stat(name).await.unwrap();
        let counts = [
            stat("cluster_manager.cds.update_success").await,
            stat("listener_manager.lds.update_success").await,
            stat("cluster_manager.cluster_modified").await,
            stat("listener_manager.listener_modified").await,
        ];
        all.push((envoy.name().to_owned(), counts));
    }
    all
}

async fn serials(mesh: &Mesh) -> Vec<(Vec<String>, Vec<String>)> {
    let mut all = Vec::new();
    for envoy in &mesh.lab.envoys {
        let held = envoy.admin().certs().await.unwrap();
        let serials = |certificates: &[countersign::lab::HeldCertificate]| {
            let mut serials: Vec<_> = certificates.iter().map(|it| it.serial.clone()).collect();
            serials.sort();
            serials.dedup();
            serials
        };
        all.push((serials(&held.leaves), serials(&held.roots)));
    }
    all
}

async fn the_server_is_killed_under_traffic(setting: Setting) {
    let mut mesh = setting.mesh().await;
    mesh.server().wait_synced(3).await;
    let traffic = mesh.traffic();
    for round in 0..3 {
        let (status, secrets) = (mesh.server().status().await, mesh.server().secrets().await);
        let (counts, held) = (taken(&mesh).await, serials(&mesh).await);
        mesh.lab.control_plane.kill().await;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        mesh.lab.control_plane.start_again().await;
        mesh.server().wait_synced(3).await;

        let after = mesh.server().status().await;
        assert_eq!((after.root, after.intermediate), (status.root, status.intermediate), "round {round}");
        let shown = |rows: &[countersign::admin::api::SecretStatus]| {
            rows.iter().map(|row| (row.node.clone(), row.name.clone(), row.serial.clone())).collect::<Vec<_>>()
        };
        assert_eq!(shown(&mesh.server().secrets().await), shown(&secrets), "round {round}");
        assert_eq!(serials(&mesh).await, held, "round {round}: the Envoys hold what they held");
        assert_eq!(taken(&mesh).await, counts, "round {round}: no listener or cluster came again");
        // The stream that came back is a good one.
        mesh.server().rotate().await;
    }
    finish(traffic).await;
    mesh.stop().await;
}

async fn an_envoy_is_killed_and_comes_back(setting: Setting) {
    let mut mesh = setting.mesh().await;
    let (client, payment) = (mesh.topology().client.clone(), mesh.topology().payment.clone());
    let identity = client.identity();
    let reach = async || served_by_proxy(client.http_proxy(), &payment.url(8080, "/"), Peer::Identity(&identity)).await;
    reach().await.unwrap();
    let id = payment.id();
    let envoy = mesh.lab.envoys.iter_mut().find(|envoy| envoy.name() == id).unwrap();
    envoy.kill().await.unwrap();
    reach().await.unwrap_err();
    envoy.start_again().unwrap();
    envoy.wait_ready(LIMIT).await.unwrap();
    eventually("requests are served again", async || reach().await.ok()).await;
    mesh.server().wait_synced(3).await;
    mesh.stop().await;
}
