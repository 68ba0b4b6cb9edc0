//! `countersign serve` as a process: its start, its end, and its refusals.

use std::process::Stdio;
use std::time::Duration;

use countersign::lab::Ports;
use countersign::lab::http;

use crate::harness::{LIMIT, Setting, countersign, eventually, on_envoys};

on_envoys!(sigterm_drains_and_ends_it: delta_1_40);

async fn sigterm_drains_and_ends_it(setting: Setting) {
    let mut mesh = setting.mesh_with("xds:\n  drain: 300ms\n", |_| ()).await;
    mesh.server().wait_synced(3).await;
    mesh.server().terminate();
    let status = mesh.lab.control_plane.wait_end().await;
    assert!(status.success(), "{status}");
    let log = mesh.server().log();
    assert!(log.contains("\"signal\":\"SIGTERM\"") && log.contains("\"message\":\"stopped\""), "{log}");
    assert!(!log.contains("cut off"), "every stream had its turn: {log}");
    assert!(!mesh.server().data_dir().join("admin.sock").exists());
    // The Envoys go on without it.
    let (client, payment) = (&mesh.topology().client, &mesh.topology().payment);
    let answer = http::get_via_proxy(client.http_proxy(), &payment.url(8080, "/"), LIMIT).await.unwrap();
    assert!(answer.status.is_success(), "{}", answer.status);
    mesh.lab.control_plane.start_again().await;
    mesh.server().wait_synced(3).await;
    mesh.stop().await;
}

/// Runs `countersign` and expects it to fail. What it has said.
async fn refused(arguments: &[&str], directory: &std::path::Path) -> String {
    let run =
        countersign().args(arguments).current_dir(directory).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
    let output = tokio::time::timeout(LIMIT, run).await.expect("it ends").unwrap();
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    std::fs::write(here.join("bad.yaml"), "xds:\n  adress: 127.0.0.1:1\n").unwrap();
    let said = refused(&["serve", "--config", "bad.yaml"], here).await;
    assert!(said.contains("bad.yaml:2: xds: unknown field \"adress\" (did you mean \"address\"?)"), "{said}");
    let said = refused(&["serve", "--config", "absent.yaml"], here).await;
    assert!(said.contains("absent.yaml"), "{said}");
    let said = refused(&["serve", "--policy", "nowhere"], here).await;
    assert!(said.contains("cannot read policy from nowhere"), "{said}");
    let said = refused(&["serve", "--insecure-plaintext", "--xds", "0.0.0.0:0"], here).await;
    assert!(said.contains("loopback"), "{said}");
    let said = refused(&["serve", "--trust-domain", "Not One"], here).await;
    assert!(said.contains("is not allowed in a trust domain"), "{said}");
    let said = refused(&["proxy-status"], here).await;
    assert!(said.contains("no countersign server answers") && said.contains("countersign serve"), "{said}");
}

#[tokio::test]
async fn a_second_server_on_one_data_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    std::fs::create_dir(here.join("policy")).unwrap();
    let mut ports = Ports::unique();
    let (xds, admin) = (ports.free_address().unwrap(), ports.free_address().unwrap());
    let mut serve = countersign();
    serve
        .args(["serve", "--xds", &xds.to_string(), "--admin", &admin.to_string()])
        .current_dir(here)
        .stderr(Stdio::null());
    let mut first = serve.spawn().unwrap();
    eventually("the first is ready", async || {
        http::get(admin, "admin", "/ready", LIMIT).await.ok().filter(|answer| answer.status.is_success())
    })
    .await;
    let said = refused(&["serve", "--xds", "127.0.0.1:0", "--admin", "127.0.0.1:0"], here).await;
    assert!(said.contains("another countersign already serves from ./data"), "{said}");
    // The lock is the kernel's: after kill -9 there is none.
    first.kill().await.unwrap();
    let mut second = serve.spawn().unwrap();
    eventually("the second is ready", async || {
        http::get(admin, "admin", "/ready", LIMIT).await.ok().filter(|answer| answer.status.is_success())
    })
    .await;
    second.kill().await.unwrap();
}

#[tokio::test]
async fn readiness_waits_for_a_good_policy() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    std::fs::create_dir(here.join("policy")).unwrap();
    std::fs::write(here.join("policy/a.yaml"), "kind: [").unwrap();
    let mut ports = Ports::unique();
    let (xds, admin) = (ports.free_address().unwrap(), ports.free_address().unwrap());
    let mut serve = countersign();
    serve
        .args(["serve", "--xds", &xds.to_string(), "--admin", &admin.to_string()])
        .current_dir(here)
        .stderr(Stdio::null());
    let mut server = serve.spawn().unwrap();
    let ready =
        async || http::get(admin, "admin", "/ready", Duration::from_secs(5)).await.ok().map(|it| it.status.as_u16());
    eventually("it answers", async || ready().await.filter(|status| *status == 503)).await;
    std::fs::write(here.join("policy/a.yaml"), "# nothing yet\n").unwrap();
    eventually("it is ready", async || ready().await.filter(|status| *status == 200)).await;
    server.kill().await.unwrap();
}
