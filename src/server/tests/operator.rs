//! What an operator asks for, and what an operator is told.

use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::watch;
use tokio::time::Instant;

use super::super::analyst::Analyst;
use super::super::backend::ServerBackend;
use super::super::issuing::Issuing;
use super::super::mode_file::ModeFile;
use super::super::policy_loop::Settings;
use super::super::rotation::Rotation;
use super::super::staging::Staging;
use super::*;
use crate::admin::Backend;
use crate::admin::api::RotateRequest;
use crate::trust::Serial;
use crate::{certificates, source};

fn entry(name: &str, labels: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{address: 127.0.0.2, serviceAccount: {name}, labels: {{{labels}}}}}\n"
    )
}

fn identity(name: &str) -> Option<Peer> {
    let id = format!("spiffe://cluster.local/ns/{}", name.replace('/', "/sa/"));
    Some(Peer::without_certificate(id.parse().unwrap()))
}

async fn backend(directory: &tempfile::TempDir, proxies: &Proxies) -> ServerBackend {
    let config = Config::default();
    let policy = watch::channel(Arc::new(source::State::default())).1;
    let settings = certificates::Settings::default();
    let (trust, clock) = (Arc::clone(&proxies.trust), Arc::clone(&proxies.clock));
    let (issuing, policy, _task) = Issuing::start(trust, clock, settings, policy).await.unwrap();
    ServerBackend {
        proxies: proxies.clone(),
        policy,
        issuing,
        xds_address: config.xds.address,
        clock: Arc::clone(&proxies.clock),
        rotation: Rotation::new(proxies.clone(), config.rotation.clone(), None),
        staging: Staging::open(proxies.clone(), ModeFile::new(directory.path()), Settings::from(&config)).unwrap(),
    }
}

/// `countersign rotate workload --namespace N --spread 3s`, and `--all`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_replaced_over_the_time_that_an_operator_gives_and_in_one_namespace_if_asked() {
    let (directory, proxies) = proxies(Admission::new(8, 8, Duration::from_secs(60)));
    let names = ["back/a", "shop/a", "shop/b", "shop/c"];
    proxies.set_model(model(1, &names.map(|name| entry(name, "")).concat()));
    let mut connected = Vec::new();
    for name in names {
        let node = NodeInfo { id: name.into(), ..NodeInfo::default() };
        connected.push(proxies.attach(identity(name), node).await.unwrap());
    }
    let serials = || names.map(|name| proxies.certificate(&name.parse().unwrap()).unwrap().serial.clone());
    let changed = |before: &[Serial; 4]| std::array::from_fn::<bool, 4, _>(|index| serials()[index] != before[index]);
    let backend = backend(&directory, &proxies).await;

    let (before, begun) = (serials(), Instant::now());
    let request = RotateRequest { namespace: Some("shop".into()), spread_seconds: Some(3), ..RotateRequest::default() };
    let rotation = tokio::spawn(async move { (backend.rotate(request).await.unwrap(), backend) });
    // One at once, one after a second, and one after two.
    let mut seen = Vec::new();
    while !rotation.is_finished() {
        seen.push(changed(&before));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (report, backend) = rotation.await.unwrap();
    assert!(seen.contains(&[false, true, false, false]) && seen.contains(&[false, true, true, false]), "{seen:?}");
    assert_eq!(changed(&before), [false, true, true, true]);
    let rotated: Vec<_> = report.rotated.iter().map(|it| it.workload.as_str()).collect();
    assert_eq!(rotated, ["shop/a", "shop/b", "shop/c"]);
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());

    let before = serials();
    let report = backend.rotate(RotateRequest { all: true, ..RotateRequest::default() }).await.unwrap();
    assert_eq!((report.rotated.len(), changed(&before)), (4, [true; 4]));
    let nobody = RotateRequest { namespace: Some("nowhere".into()), ..RotateRequest::default() };
    assert_eq!(backend.rotate(nobody).await.unwrap().rotated, []);
}

/// Nobody replaces the file: the same set is served, and time goes on.
#[tokio::test]
async fn a_secret_that_expires_while_it_is_served_is_told() {
    let now = OffsetDateTime::now_utc();
    let seconds = Arc::new(AtomicI64::new(now.unix_timestamp()));
    let hand = Arc::clone(&seconds);
    let clock: Clock = Arc::new(move || OffsetDateTime::from_unix_timestamp(hand.load(Ordering::SeqCst)).unwrap());
    let (directory, proxies) = proxies_at(clock, Admission::new(8, 8, Duration::from_secs(60)));
    let key = rcgen::KeyPair::generate().unwrap();
    let mut certificate = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap();
    certificate.not_before = now - time::Duration::days(1);
    certificate.not_after = now + time::Duration::days(30);
    let end = certificate.not_after.unix_timestamp();
    let base64 = |text: String| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let policy = format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: own, namespace: shop}}\n\
         data: {{tls.crt: {}, tls.key: {}}}\n\
         ---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\nspec:\n  \
         selector: {{app: edge}}\n  servers:\n  - port: {{number: 443, name: a, protocol: HTTPS}}\n    hosts: [a.test]\n    \
         tls: {{mode: SIMPLE, credentialName: own}}\n{}",
        base64(certificate.self_signed(&key).unwrap().pem()),
        base64(key.serialize_pem()),
        entry("shop/edge", "app: edge"),
    );
    let model = model(1, &policy);
    proxies.set_model(Arc::clone(&model));
    let backend = backend(&directory, &proxies).await;
    let mut analyst = Analyst::default();
    analyst.pass(&proxies, Arc::clone(&model)).await;
    let node = NodeInfo { id: "router~127.0.0.2~edge.shop~shop.svc.cluster.local".into(), ..NodeInfo::default() };
    let _gateway = proxies.attach(identity("shop/edge"), node).await.unwrap();
    let mut told = async |days: i64| {
        seconds.fetch_add(days * 24 * 3600, Ordering::SeqCst);
        analyst.pass(&proxies, Arc::clone(&model)).await;
        let warnings = backend.status().await.unwrap().policy.warnings;
        let of_secret = warnings.into_iter().filter(|it| it.contains("Secret shop/own") || it.contains("Secret own"));
        // That a Gateway names it is told besides.
        of_secret.filter(|it| !it.contains("self-signed") && !it.contains("CS0305")).collect::<Vec<_>>()
    };
    assert_eq!(told(0).await, [""; 0]);
    assert_eq!(proxies.metrics.earliest_secret_expiry.get(), end);
    let soon = told(25).await;
    assert!(soon.len() == 1 && soon[0].contains("CS0502") && soon[0].contains("expires at"), "{soon:?}");
    assert_eq!(told(1).await, soon, "what stays true is told in the same words, so that the log has it once");
    let over = told(10).await;
    assert!(over.len() == 1 && over[0].contains("CS0501") && over[0].contains("has expired"), "{over:?}");
    assert_eq!(told(1).await, over);
    assert_eq!(proxies.metrics.earliest_secret_expiry.get(), end, "an alert looks for what is in the past");
}
