//! Who has acknowledged a secret, and who has not.

use std::collections::BTreeSet;
use std::process::Output;
use std::time::Duration;

use countersign::admin::api::{AdoptionState, AdoptionStatus, RotateReport, RotateRequest};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{LIMIT, Mesh, Setting, countersign, eventually, finish, on_envoys};

on_envoys!(who_is_stuck_is_named: delta_1_40, sotw_1_36);
on_envoys!(a_rotation_goes_on_without_whoever_asked_for_it: delta_1_40);

async fn adoption(mesh: &Mesh, arguments: &[&str]) -> Output {
    let run = countersign().arg("adoption").args(arguments).arg("--data-dir").arg(mesh.server().data_dir()).output();
    tokio::time::timeout(LIMIT, run).await.expect("it ends").unwrap()
}

async fn who_is_stuck_is_named(setting: Setting) {
    let mesh = setting.mesh().await;
    mesh.server().wait_synced(3).await;
    let traffic = mesh.traffic();
    let legacy = mesh.topology().legacy.clone();
    let signal = |signal| {
        let id = mesh.lab.envoy(&legacy).unwrap().id().and_then(|id| Pid::from_raw(id.cast_signed()));
        kill_process(id.expect("it runs"), signal).unwrap();
    };
    for secret in ["default", "ROOTCA"] {
        let all = adoption(&mesh, &[secret]).await;
        assert!(all.status.success(), "{all:?}");
    }
    signal(Signal::STOP);
    let request = RotateRequest { all: true, ..RotateRequest::default() };
    let rotated: RotateReport = mesh.server().client().post("/v1/rotate/workload", &request, LIMIT).await.unwrap();
    let ask = async || -> AdoptionStatus { mesh.server().client().get("/v1/adoption?secret=default").await.unwrap() };
    let status = eventually("the others have acknowledged", async || {
        let status = ask().await;
        (status.acknowledged == 2).then_some(status)
    })
    .await;
    let [missing] = status.missing.as_slice() else { panic!("{status:?}") };
    assert_eq!((missing.node.as_str(), &missing.identity), (legacy.id().as_str(), &legacy.identity()), "{status:?}");
    assert_eq!(missing.state, AdoptionState::Waiting, "{status:?}");
    assert!(!status.complete && status.unused.is_empty() && status.away == 0, "{status:?}");

    // The same on the command line: waiting does not help, and the exit status says so.
    let late = adoption(&mesh, &["default", "--wait", "1s"]).await;
    let (out, error) = (String::from_utf8_lossy(&late.stdout), String::from_utf8_lossy(&late.stderr));
    assert_eq!(late.status.code(), Some(1), "{late:?}");
    assert!(out.contains(&legacy.id()) && out.contains("WAITING"), "{out}");
    assert!(error.contains(&format!("default is not acknowledged by {}", legacy.id())), "{error}");
    // Another secret is no matter of his.
    assert!(adoption(&mesh, &["ROOTCA"]).await.status.success());
    let none = adoption(&mesh, &["nothing"]).await;
    assert!(
        String::from_utf8_lossy(&none.stderr).contains("no connected proxy is served a secret nothing"),
        "{none:?}"
    );

    signal(Signal::CONT);
    let all = adoption(&mesh, &["default", "--wait", "20s"]).await;
    assert!(all.status.success(), "{all:?}");
    let held = mesh.lab.envoy(&legacy).unwrap().admin().certs().await.unwrap();
    let serial = &rotated.rotated.iter().find(|it| it.workload == legacy.id()).unwrap().serial;
    assert!(held.has_leaf(serial), "{held:?}");
    finish(traffic).await;
    mesh.stop().await;
}

async fn a_rotation_goes_on_without_whoever_asked_for_it(setting: Setting) {
    let mesh = setting.mesh().await;
    mesh.server().wait_synced(3).await;
    let serials = async || -> BTreeSet<String> {
        let rows = mesh.server().secrets().await;
        rows.into_iter().filter(|row| row.name == "default").map(|row| row.serial).collect()
    };
    let before = serials().await;
    assert_eq!(before.len(), 3);
    let request = RotateRequest { all: true, spread_seconds: Some(3), ..RotateRequest::default() };
    let client = mesh.server().client();
    let asked = client.post::<_, RotateReport>("/v1/rotate/workload", &request, LIMIT);
    tokio::time::timeout(Duration::from_millis(500), asked).await.expect_err("it takes three seconds");
    eventually("everybody has a new one", async || serials().await.is_disjoint(&before).then_some(())).await;
    eventually("the end is logged", async || {
        let log = mesh.server().log();
        let lines = ["certificates are replaced, as an operator asks", "\"message\":\"certificates are replaced\""];
        lines.iter().all(|line| log.contains(line)).then_some(())
    })
    .await;
    mesh.stop().await;
}
