//! A revoked certificate is of no use any more, to us and to the other proxies, and nobody else notices.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use countersign::admin::api::{
    IntermediateReport, RevokeReport, RevokeRequest, RootRotationAction, RootRotationRequest, RootRotationStatus,
};
use countersign::cli::renew::renew;
use countersign::lab::http;
use countersign::lab::intruder::{self, Disguise};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::harness::{LIMIT, Mesh, Setting, eventually, finish, on_envoys};

on_envoys!(a_revoked_certificate_is_refused_everywhere: delta_1_40, sotw_1_36);
on_envoys!(authorities_rotate_while_something_is_revoked: delta_1_40);

pub async fn revoke(mesh: &Mesh, target: &str) -> RevokeReport {
    let request = RevokeRequest { target: target.to_owned() };
    mesh.server().client().post("/v1/revoke", &request, LIMIT).await.unwrap()
}

/// A node's own credentials, used by somebody who has copied them.
pub async fn thief(mesh: &Mesh, workload: &str) -> PathBuf {
    let home = mesh.directory.path().join("thief").join(workload);
    std::fs::create_dir_all(&home).unwrap();
    mesh.server().bootstrap_as(workload, &home, "127.0.0.1:1".parse().unwrap(), None).await;
    home
}

/// What the thief gets from payment-service: the status, or `None` if it is not let in.
pub async fn steals(mesh: &Mesh, home: &Path) -> Option<u16> {
    let credentials = home.join("credentials");
    let chain = CertificateDer::pem_file_iter(credentials.join("cert.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(credentials.join("key.pem")).unwrap();
    shows(mesh, chain, key).await
}

/// What somebody gets from payment-service who shows this.
pub async fn shows(mesh: &Mesh, chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Option<u16> {
    let payment = &mesh.topology().payment;
    let tls = intruder::tls(Disguise::Stolen(chain, key), &payment.host()).unwrap();
    let answer = http::get_tls(payment.at(8080), &tls, &payment.host(), "/", LIMIT).await;
    answer.ok().map(|answer| answer.status.as_u16())
}

async fn a_revoked_certificate_is_refused_everywhere(setting: Setting) {
    let mut mesh = setting.mesh().await;
    mesh.server().wait_synced(3).await;
    let legacy = mesh.topology().legacy.clone();
    let (stolen, kept) = (thief(&mesh, &legacy.id()).await, thief(&mesh, &mesh.topology().client.id()).await);
    assert_eq!(
        (steals(&mesh, &stolen).await, steals(&mesh, &kept).await),
        (Some(200), Some(200)),
        "the check can fail"
    );
    let traffic = mesh.traffic();

    let report = revoke(&mesh, &legacy.identity()).await;
    // Its node's, the thief's, and the one for its keys made here.
    assert!(report.revoked.len() >= 3 && report.lists && report.connections_ended >= 1, "{report:?}");
    eventually("the thief is not let in", async || steals(&mesh, &stolen).await.is_none().then_some(())).await;
    assert!(renew(&stolen).await.is_err(), "it gets no other one");
    assert_eq!(steals(&mesh, &kept).await, Some(200), "others do");
    eventually("the node is shut out", async || {
        let refused = mesh.server().metric("countersign_xds_refused_total{reason=\"revoked\"}").await;
        (mesh.server().proxies().await.len() == 2 && refused > 0).then_some(())
    })
    .await;

    // A crash changes nothing.
    mesh.lab.control_plane.kill().await;
    mesh.lab.control_plane.start_again().await;
    mesh.server().wait_synced(2).await;
    assert_eq!((steals(&mesh, &stolen).await, steals(&mesh, &kept).await), (None, Some(200)));

    // An operator lets the identity in again, with a new key.
    let again = mesh.directory.path().join("again");
    std::fs::create_dir_all(&again).unwrap();
    mesh.server().bootstrap_as(&legacy.id(), &again, "127.0.0.1:1".parse().unwrap(), None).await;
    assert_eq!((steals(&mesh, &stolen).await, steals(&mesh, &again).await), (None, Some(200)));
    finish(traffic).await;
    mesh.stop().await;
}

/// With lists in force, a certificate of an issuer without a list would be refused: nobody may ever show one.
async fn authorities_rotate_while_something_is_revoked(setting: Setting) {
    let mesh = setting.mesh_with("rotation:\n  spread: 1s\n", |_| ()).await;
    mesh.server().wait_synced(3).await;
    let stolen = thief(&mesh, &mesh.topology().client.id()).await;
    assert_eq!(steals(&mesh, &stolen).await, Some(200));
    let traffic = mesh.traffic();
    let serial = serial(&stolen);
    assert_eq!(revoke(&mesh, &serial).await.revoked.len(), 1);
    eventually("the thief is not let in", async || steals(&mesh, &stolen).await.is_none().then_some(())).await;

    for _ in 0..2 {
        let before = mesh.server().status().await.intermediate.serial;
        let report: IntermediateReport =
            mesh.server().client().post("/v1/rotate/intermediate", &(), LIMIT).await.unwrap();
        assert!(report.waiting && report.intermediate.serial == before, "{report:?}");
        eventually("another one signs", async || {
            (mesh.server().status().await.intermediate.serial != before).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let start = RootRotationRequest { action: RootRotationAction::Start, force: true, paused: false };
    let _: RootRotationStatus = mesh.server().client().post("/v1/rotate/root", &start, LIMIT).await.unwrap();
    let deadline = Instant::now() + 2 * LIMIT;
    loop {
        let status: RootRotationStatus = mesh.server().client().get("/v1/rotate/root").await.unwrap();
        if status.step == "done" {
            break;
        }
        assert!(Instant::now() < deadline, "{status:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(steals(&mesh, &stolen).await, None);
    finish(traffic).await;
    mesh.stop().await;
}

fn serial(home: &Path) -> String {
    let pem = std::fs::read(home.join("credentials/cert.pem")).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
    pem.parse_x509().unwrap().raw_serial_as_string()
}
