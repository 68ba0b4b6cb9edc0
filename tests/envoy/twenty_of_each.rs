//! Twenty Envoys of each release at once, half of them over each form of xDS.

use std::collections::HashMap;
use std::path::Path;

use countersign::lab::{App, EnvoyOptions, EnvoyProcess};
use serde_json::{Value, json};

use crate::harness::{LIMIT, Setting, eventually, finish};
use crate::root_rotation::{credentials, pairs};
use crate::ways_in::edited;

/// A caller and a server each.
const PAIRS: usize = 20;

/// The credentials for the connection to the server as plain files. An Envoy that watches its files takes four of the 128 inotify
/// instances that Linux gives a user, and this is about forty.
fn unwatched(config: &mut Value, credentials: &Path) {
    let pem = |name: &str| json!({ "filename": credentials.join(name) });
    let tls = &mut config["static_resources"]["clusters"][0]["transport_socket"]["typed_config"]["common_tls_context"];
    let tls = tls.as_object_mut().unwrap();
    tls.remove("tls_certificate_sds_secret_configs").unwrap();
    let mut validation = tls.remove("combined_validation_context").unwrap()["default_validation_context"].take();
    validation["trusted_ca"] = pem("roots.pem");
    tls.insert("validation_context".into(), validation);
    let certificate = json!({ "certificate_chain": pem("cert.pem"), "private_key": pem("key.pem") });
    tls.insert("tls_certificates".into(), json!([certificate]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_envoys_of_each_release_are_served_and_take_a_rotation() {
    let app = App::start("server", "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let mut mesh = Setting::delta_1_40().mesh_with("", |_| ()).await;
    let workloads = pairs(mesh.topology().client.address, &[app.address(); PAIRS]);
    assert_eq!(workloads.len(), 40);
    let mut yaml = String::new();
    workloads.iter().for_each(|it| it.documents(&mut yaml));
    mesh.write_policy("fleet.yaml", &yaml);
    eventually("the fleet is in the policy", async || (mesh.server().status().await.policy.files == 3).then_some(()))
        .await;
    let settings = [Setting::delta_1_40(), Setting::sotw_1_36(), Setting::sotw_1_40(), Setting::delta_1_36()];
    let mut envoys = Vec::new();
    for (workload, setting) in workloads.iter().zip(settings.into_iter().cycle()) {
        let home = mesh.directory.path().join(&workload.name);
        std::fs::create_dir_all(&home).unwrap();
        let admin = mesh.ports.free_address().unwrap();
        let config = credentials(mesh.server(), &workload.id(), &home, setting.mode, admin).await;
        let config = edited(&config, |config| unwatched(config, &home.join("credentials")));
        let log = home.join("envoy.log");
        let options = EnvoyOptions { name: workload.id(), binary: setting.envoy().await, config, admin, log };
        envoys.push(EnvoyProcess::start(options).unwrap());
    }
    for envoy in &mut envoys {
        envoy.wait_ready(LIMIT).await.unwrap();
    }
    let all = 3 + envoys.len();
    mesh.server().wait_synced(all).await;
    let traffic = mesh.traffic();

    let report = mesh.server().rotate().await;
    let serials: HashMap<_, _> = report.rotated.iter().map(|it| (it.workload.as_str(), it.serial.as_str())).collect();
    assert_eq!(serials.len(), all, "{report:?}");
    // Each Envoy's own word.
    for envoy in &envoys {
        let serial = serials[envoy.name()];
        eventually(&format!("{} has {serial}", envoy.name()), async || {
            envoy.admin().certs().await.ok()?.has_leaf(serial).then_some(())
        })
        .await;
    }
    mesh.server().wait_synced(all).await;
    finish(traffic).await;
    mesh.stop().await;
}
