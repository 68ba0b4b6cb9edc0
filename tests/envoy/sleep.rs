//! A machine that was asleep for longer than its certificates live comes back by itself, and so does a rotation's last step.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use countersign::admin::api::{RootRotationAction, RootRotationRequest, RootRotationStatus};
use countersign::lab::EnvoyProcess;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use crate::harness::{LIMIT, Mesh, Setting, countersign, eventually, finish, on_envoys};

on_envoys!(a_node_that_was_asleep_heals_within_a_minute: delta_1_40, sotw_1_36);
on_envoys!(a_root_rotation_ends_by_itself: delta_1_40);

/// Agents for every node; that of a workload's comes first.
fn agents(mesh: &Mesh) -> Vec<(PathBuf, Child)> {
    let homes = std::fs::read_dir(mesh.directory.path().join("envoys")).unwrap();
    let homes = homes.map(|home| home.unwrap().path());
    let start = |home: PathBuf| {
        let log = std::fs::File::create(home.join("agent.log")).unwrap();
        let mut command = countersign();
        command.arg("agent").arg("--dir").arg(&home).stdout(Stdio::null()).stderr(log);
        (home, command.spawn().unwrap())
    };
    homes.map(start).collect()
}

fn signal(id: Option<u32>, signal: Signal) {
    kill_process(id.and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs"), signal).unwrap();
}

/// Certificates of ten seconds, and half a minute of sleep: those of the Envoy, and those of its connection to the server, are over.
async fn a_node_that_was_asleep_heals_within_a_minute(setting: Setting) {
    let mesh = setting.mesh_with("certificates:\n  workloadTtl: 10s\n", |_| ()).await;
    let agents = agents(&mesh);
    mesh.server().wait_synced(3).await;
    let legacy = mesh.topology().legacy.clone();
    let envoy: &EnvoyProcess = mesh.lab.envoy(&legacy).unwrap();
    let node = format!("{}.{}", legacy.name, legacy.namespace);
    let agent = agents.iter().find(|(home, _)| home.ends_with(&node)).unwrap().1.id();
    let traffic = mesh.traffic();
    for id in [envoy.id(), agent] {
        signal(id, Signal::STOP);
    }
    // What a sleeping machine's connection comes to in the end.
    tokio::time::sleep(Duration::from_secs(60)).await;
    eventually("the server has noticed", async || (mesh.server().proxies().await.len() == 2).then_some(())).await;
    // The Envoy is back first, with what has expired, and must not stay with it.
    signal(envoy.id(), Signal::CONT);
    let woken = Instant::now();
    tokio::time::sleep(Duration::from_secs(3)).await;
    signal(agent, Signal::CONT);
    loop {
        let back = mesh.server().proxies().await.len() == 3;
        let leaves = envoy.admin().certs().await.unwrap().leaves;
        let fresh = mesh.server().secrets().await.into_iter().find(|it| it.node == legacy.id() && it.name == "default");
        let has = fresh.is_some_and(|fresh| leaves.iter().any(|leaf| leaf.serial == fresh.serial));
        if back && has {
            break;
        }
        assert!(woken.elapsed() < Duration::from_secs(60), "not back: {}", mesh.server().log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("back after {:?}", woken.elapsed());
    finish(traffic).await;
    mesh.stop().await;
}

/// Nobody forces anything: agents renew the nodes' credentials, the proxies acknowledge, and the old certificates end.
async fn a_root_rotation_ends_by_itself(setting: Setting) {
    let config = "certificates:\n  workloadTtl: 15s\nrotation:\n  spread: 1s\n  waitForAbsent: 1h\n";
    let mesh = setting.mesh_with(config, |_| ()).await;
    let _agents = agents(&mesh);
    mesh.server().wait_synced(3).await;
    let traffic = mesh.traffic();
    let before = mesh.server().status().await.root.serial;
    let start = RootRotationRequest { action: RootRotationAction::Start, force: false, paused: false };
    let _: RootRotationStatus = mesh.server().client().post("/v1/rotate/root", &start, LIMIT).await.unwrap();
    let begun = Instant::now();
    let status = loop {
        let status: RootRotationStatus = mesh.server().client().get("/v1/rotate/root").await.unwrap();
        if status.step == "done" {
            break status;
        }
        assert!(begun.elapsed() < 4 * LIMIT, "{status:#?}\n{}", mesh.server().log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    println!("done after {:?}", begun.elapsed());
    // Half of fifteen seconds is more than six: nobody renews in a hurry.
    let renewed = mesh.server().log().matches("a key that its holder has made").count() as u64;
    assert!(renewed <= 3 * (begun.elapsed().as_secs() / 5 + 3), "{renewed} renewals in {:?}", begun.elapsed());
    assert!(!status.force && status.old_root == before);
    assert_eq!(mesh.server().status().await.root.serial, status.new_root);
    mesh.server().wait_synced(3).await;
    finish(traffic).await;
    mesh.stop().await;
}
