//! Envoys that have no client certificate: known by a bearer token, or by the user they run as; and connections that come of age.

use std::path::{Path, PathBuf};

use countersign::lab::{EnvoyOptions, EnvoyProcess, HeldCertificates};
use serde_json::{Value, json};

use crate::harness::{LIMIT, Mesh, Setting, eventually, finish, on_envoys};

on_envoys!(a_bearer_token_is_a_way_in: delta_1_40, sotw_1_36);
on_envoys!(the_unix_socket_is_a_way_in: delta_1_40, sotw_1_36);
on_envoys!(connections_of_age_are_replaced_under_traffic: delta_1_40, sotw_1_40);

/// Another bootstrap for legacy, changed by `edit`, and an Envoy that has started from it.
async fn envoy_with(mesh: &mut Mesh, edit: impl FnOnce(&mut Value)) -> EnvoyProcess {
    let home = mesh.directory.path().join("another");
    std::fs::create_dir_all(&home).unwrap();
    let admin = mesh.ports.free_address().unwrap();
    let written = mesh.server().bootstrap_as("legacy-namespace/legacy", &home, admin, None).await;
    let config = edited(&written, edit);
    let (name, log) = ("another".into(), home.join("envoy.log"));
    let mut envoy = EnvoyProcess::start(EnvoyOptions { name, binary: mesh.envoy.clone(), config, admin, log }).unwrap();
    envoy.wait_ready(LIMIT).await.unwrap();
    envoy
}

/// A copy of a bootstrap configuration, changed by `edit`.
pub fn edited(bootstrap: &Path, edit: impl FnOnce(&mut Value)) -> PathBuf {
    let mut config: Value = serde_saphyr::from_str(&std::fs::read_to_string(bootstrap).unwrap()).unwrap();
    edit(&mut config);
    let path = bootstrap.with_file_name("edited.json");
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

/// It has legacy's certificate from the server, under the identity it has come with.
async fn has_its_certificate(mesh: &Mesh, envoy: &EnvoyProcess) {
    let identity = mesh.topology().legacy.identity();
    let served = |held: &HeldCertificates| held.leaves.iter().any(|leaf| leaf.uris.contains(&identity));
    eventually("the certificate is there", async || {
        let held = envoy.admin().certs().await.unwrap();
        served(&held).then_some(())
    })
    .await;
    eventually("it has acknowledged everything", async || {
        let all = mesh.server().proxies().await;
        let mine: Vec<_> = all.iter().filter(|proxy| proxy.name == "legacy-namespace/legacy").collect();
        (mine.len() == 2 && mine.iter().all(|proxy| proxy.identity == identity)).then_some(())
    })
    .await;
}

async fn a_bearer_token_is_a_way_in(setting: Setting) {
    let token = countersign::identity::generate_token().unwrap();
    let hash = countersign::identity::TokenHash::of(&token);
    let identity = "spiffe://cluster.local/ns/legacy-namespace/sa/legacy";
    let config = format!("xds:\n  tokens:\n    - sha256: {hash}\n      identity: {identity}\n");
    let mut mesh = setting.mesh_with(&config, |_| ()).await;
    let envoy = envoy_with(&mut mesh, |config| {
        let metadata = json!([{ "key": "authorization", "value": format!("Bearer {}", *token) }]);
        config["dynamic_resources"]["ads_config"]["grpc_services"][0]["initial_metadata"] = metadata;
        let tls = &mut config["static_resources"]["clusters"][0]["transport_socket"]["typed_config"];
        let removed = tls["common_tls_context"].as_object_mut().unwrap().remove("tls_certificate_sds_secret_configs");
        assert!(removed.is_some());
    })
    .await;
    has_its_certificate(&mesh, &envoy).await;
    assert!(!mesh.server().log().contains(&**token));
    drop(envoy);
    mesh.stop().await;
}

async fn the_unix_socket_is_a_way_in(setting: Setting) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("xds.sock");
    let uid = rustix::process::geteuid().as_raw();
    let config = format!(
        "xds:\n  unix:\n    path: {}\n    identities:\n    - uid: {uid}\n      identity: \
         spiffe://cluster.local/ns/legacy-namespace/sa/legacy\n",
        socket.display()
    );
    let mut mesh = setting.mesh_with(&config, |_| ()).await;
    let envoy = envoy_with(&mut mesh, |config| {
        let cluster = &mut config["static_resources"]["clusters"][0];
        assert!(cluster.as_object_mut().unwrap().remove("transport_socket").is_some());
        let endpoint = &mut cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
        endpoint["address"] = json!({ "pipe": { "path": socket } });
        cluster["type"] = json!("STATIC");
    })
    .await;
    has_its_certificate(&mesh, &envoy).await;
    drop(envoy);
    mesh.stop().await;
}

async fn connections_of_age_are_replaced_under_traffic(setting: Setting) {
    let config = "xds:\n  limits:\n    maxConnectionAge: 2s\n    maxConnectionAgeJitter: 500ms\n";
    let mesh = setting.mesh_with(config, |_| ()).await;
    mesh.server().wait_synced(3).await;
    let traffic = mesh.traffic();
    let connected = mesh.lab.envoys[0].admin();
    let modified = connected.stat("cluster_manager.cluster_modified").await.unwrap();
    let lines = || mesh.server().log().matches("a proxy is here").count();
    let before = lines();
    eventually("each proxy has come back twice", async || (lines() >= before + 6).then_some(())).await;
    mesh.server().wait_synced(3).await;
    // What they had they have still, and what is new reaches them.
    assert_eq!(connected.stat("cluster_manager.cluster_modified").await.unwrap(), modified);
    mesh.server().rotate().await;
    finish(traffic).await;
    mesh.stop().await;
}
