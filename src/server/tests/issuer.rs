//! A ClusterIssuer as the mesh's own authority, over a store that fails for a while.

use tokio::sync::watch;

use super::super::mesh_issuer;
use super::super::rotation::Rotation;
use super::*;
use crate::source;
use crate::trust::Revoke;

/// A set with the ClusterIssuer `mesh` of the type ca, whose Secret has a root.
fn set() -> source::State {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut root = rcgen::CertificateParams::default();
    root.distinguished_name.push(rcgen::DnType::CommonName, "an operator's root");
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    root.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    let base64 = |text: String| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let text = format!(
        "---\napiVersion: cert-manager.io/v1\nkind: ClusterIssuer\nmetadata: {{name: mesh}}\nspec: {{ca: {{secretName: root}}}}\n\
         ---\napiVersion: v1\nkind: Secret\nmetadata: {{name: root, namespace: cert-manager}}\n\
         data: {{tls.crt: {}, tls.key: {}}}\n",
        base64(root.self_signed(&key).unwrap().pem()),
        base64(key.serialize_pem())
    );
    let (set, warnings) = crate::policy::parse_set([("f.yaml", text.as_str())]).unwrap();
    let update = source::Update { set: Arc::new(set), files: 1, warnings, generation: 1 };
    source::State { current: Some(Arc::new(update)), rejected: None }
}

/// A server with a proxy, one revoked certificate, and an issuer whose root is to sign.
async fn server() -> (tempfile::TempDir, Proxies, Rotation) {
    let (directory, proxies) = proxies(Admission::new(8, 8, Duration::from_secs(60)));
    proxies.set_model(model(1, &web("web")));
    let proxy = proxies.attach(peer("web"), node()).await.unwrap();
    let leaf = proxies.certificate(&"shop/web".parse().unwrap()).unwrap();
    proxies.trust.revoke(&Revoke::Serial(leaf.serial.clone()), (proxies.clock)()).unwrap();
    drop(proxy);
    let policy = watch::Sender::new(Arc::new(set()));
    let (mut wanted, _task) = mesh_issuer::follow("mesh".into(), "cert-manager".into(), policy.subscribe(), || ());
    wanted.wait_for(Option::is_some).await.unwrap();
    let settings = Config::default().rotation;
    let rotation = Rotation::new(proxies.clone(), settings, Some(wanted));
    (directory, proxies, rotation)
}

async fn goes_on_when_it_can_be_kept_again(table: &str) {
    let (directory, proxies, rotation) = server().await;
    let store = rusqlite::Connection::open(directory.path().join("trust.db")).unwrap();
    store.execute_batch(&format!("ALTER TABLE {table} RENAME TO away")).unwrap();
    assert!(rotation.advance().await.is_err(), "without the table {table} it cannot be kept");
    store.execute_batch(&format!("ALTER TABLE away RENAME TO {table}")).unwrap();
    rotation.advance().await.unwrap();
    let report = rotation.report().await;
    let current = report.rotation.expect("it has begun");
    assert_eq!(Some(current.record()), proxies.trust.rotation());
    let roots: i64 =
        store.query_row("SELECT count(*) FROM authority WHERE kind = 'root'", [], |row| row.get(0)).unwrap();
    assert_eq!(roots, 2, "ours and the issuer's");
}

/// It is the disk that was at fault, and not the root.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_s_root_that_could_not_be_kept_is_tried_again() {
    goes_on_when_it_can_be_kept_again("authority").await;
}

/// The root is in the store, and only the revocation lists that name its intermediate are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_s_rotation_whose_lists_could_not_be_kept_goes_on() {
    goes_on_when_it_can_be_kept_again("crl").await;
}
