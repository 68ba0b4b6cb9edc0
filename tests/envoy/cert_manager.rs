//! cert-manager's seed policies as they are written, and gateways that take what comes of them by SDS, under traffic.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign::admin::api::{CertificateStatus, RenewCertificatesRequest};
use countersign::lab::http::Tls;
use countersign::lab::own_listener::{self, Clients};
use countersign::lab::{EnvoyOptions, EnvoyProcess};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use time::OffsetDateTime;

use crate::harness::{LIMIT, Mesh, Setting, eventually, on_envoys};
use crate::outside::{Pair, Pki};

on_envoys!(a_certificate_is_renewed_under_traffic: delta_1_40, sotw_1_40, delta_1_36);

const SEED: &str = include_str!("../../config/policies/seed/cert-manager.yaml");
const HOST: &str = "my-service.my-namespace.svc.cluster.local";
/// What an authority signs ends with it, at two thirds of that it is renewed, and five seconds have to be left then.
const FIRST_LIFE: Duration = Duration::from_secs(36);
const NAME: &str = "my-namespace/my-service-cert";

/// A root that can be renewed under its name and key, so that who trusts it once trusts it still.
struct Root {
    key: KeyPair,
    pem: String,
}

impl Root {
    fn certify(key: &KeyPair, life: Duration) -> String {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "istio-ca");
        params.not_before = OffsetDateTime::now_utc() - time::Duration::HOUR;
        params.not_after = OffsetDateTime::now_utc() + life;
        params.self_signed(key).unwrap().pem()
    }

    fn new(life: Duration) -> Self {
        let key = KeyPair::generate().unwrap();
        Self { pem: Self::certify(&key, life), key }
    }

    /// The seed with this root in it.
    fn policy(&self) -> String {
        SEED.replace("<base64-encoded-ca-cert>", &STANDARD.encode(&self.pem))
            .replace("<base64-encoded-ca-key>", &STANDARD.encode(self.key.serialize_pem()))
    }
}

/// The gateway, and what lets it read: a Gateway that selects it, and the annotation on a Secret.
fn gateway(address: Ipv4Addr, plain: &Pair) -> String {
    let encode = |text: &str| STANDARD.encode(text);
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: edge, namespace: my-namespace}}
spec: {{address: {address}, serviceAccount: edge, labels: {{app: edge}}}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: my-namespace}}
spec:
  selector: {{app: edge}}
  servers:
  - port: {{number: 443, name: https, protocol: HTTPS}}
    hosts: ['*']
    tls: {{mode: SIMPLE, credentialName: my-service-tls}}
---
apiVersion: v1
kind: Secret
type: kubernetes.io/tls
metadata:
  name: plain-tls
  namespace: my-namespace
  annotations: {{countersign.dev/readers: edge}}
data: {{tls.crt: {}, tls.key: {}}}
",
        encode(&plain.chain),
        encode(&plain.key)
    )
}

fn client(root: &str, name: &str) -> Tls {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let server_name = ServerName::try_from(name.to_owned()).unwrap();
    Tls { config: Arc::new(builder.with_no_client_auth()), server_name }
}

async fn own_listener(mesh: &mut Mesh, address: SocketAddr, secret: &str) -> EnvoyProcess {
    let home = mesh.directory.path().join(format!("edge-{}", address.port()));
    std::fs::create_dir_all(&home).unwrap();
    let admin = mesh.ports.free_address().unwrap();
    let written = mesh.server().bootstrap_as("my-namespace/edge", &home, admin, None).await;
    let config = own_listener::configure(&written, address, secret).unwrap();
    let (name, binary, log) = ("edge".to_owned(), mesh.envoy.clone(), home.join("envoy.log"));
    let mut envoy = EnvoyProcess::start(EnvoyOptions { name, binary, config, admin, log }).unwrap();
    envoy.wait_ready(LIMIT).await.unwrap();
    envoy
}

async fn status(mesh: &Mesh) -> CertificateStatus {
    let all: Vec<CertificateStatus> = mesh.server().client().get("/v1/certificates").await.unwrap();
    all.into_iter().find(|it| it.name == NAME).unwrap()
}

/// Waits until there is another certificate than this one, and the Envoy shows it.
async fn replaced(mesh: &Mesh, envoy: &EnvoyProcess, before: &str, what: &str) -> CertificateStatus {
    eventually(what, async || {
        let now = status(mesh).await;
        let shown = envoy.admin().certs().await.unwrap().has_leaf(&now.serial);
        (now.serial != before && shown).then_some(now)
    })
    .await
}

async fn a_certificate_is_renewed_under_traffic(setting: Setting) {
    let operator = Pki::new("operator");
    let plain = |name| operator.issue(name, &["plain.test"]);
    let mut root = None;
    let mut mesh = setting
        .mesh_with("", |policies| {
            let root = root.insert(Root::new(FIRST_LIFE));
            std::fs::write(policies.join("seed.yaml"), root.policy()).unwrap();
        })
        .await;
    let mut root = root.unwrap();
    let [a, b, c, _] = mesh.topology().payment.address.octets();
    let edge = Ipv4Addr::new(a, b, c, 9);
    mesh.write_policy("gateway.yaml", &gateway(edge, &plain("first")));
    eventually("the gateway is in the policy", async || {
        let known: Result<serde_json::Value, _> =
            mesh.server().client().get("/v1/workload?name=my-namespace/edge").await;
        known.ok()
    })
    .await;
    let issued = status(&mesh).await;
    assert_eq!((issued.revision, issued.secret.as_str()), (1, "my-service-tls"));

    let (own, second) = (SocketAddr::from((edge, 8443)), SocketAddr::from((edge, 8444)));
    let envoy = own_listener(&mut mesh, own, "kubernetes://my-service-tls").await;
    let tls = client(&root.pem, HOST);
    eventually("the gateway serves", async || own_listener::ask(own, &tls, HOST).await.ok()).await;
    assert!(envoy.admin().certs().await.unwrap().has_leaf(&status(&mesh).await.serial));
    let clients = Clients::start(4, own, &tls, HOST);

    // The authority ends soon, so the certificate is renewed at two thirds of what was left.
    let mut serial = issued.serial;
    let renewed = replaced(&mesh, &envoy, &serial, "it is renewed by itself").await;
    assert_eq!(renewed.revision, 2);
    assert!(renewed.events.iter().any(|it| it.message.starts_with("Renewing certificate as renewal was scheduled")));
    // The authority is renewed under its name and key.
    root.pem = Root::certify(&root.key, Duration::from_secs(24 * 3600));
    mesh.write_policy("seed.yaml", &root.policy());
    serial = replaced(&mesh, &envoy, &renewed.serial, "another authority signs again").await.serial;
    for _ in 0..10 {
        let request = RenewCertificatesRequest { certificates: vec![NAME.to_owned()], ..Default::default() };
        let _: Vec<CertificateStatus> =
            mesh.server().client().post("/v1/certificates/renew", &request, LIMIT).await.unwrap();
        serial = replaced(&mesh, &envoy, &serial, "an operator renews it").await.serial;
    }
    mesh.write_policy("seed.yaml", &root.policy().replace("    - my-service\n", "    - my-service\n    - another\n"));
    let changed = replaced(&mesh, &envoy, &serial, "the spec changes").await;
    assert!(changed.events.iter().any(|it| it.message.ends_with("not up to date: [spec.dnsNames]")), "{changed:#?}");
    // A crash loses nothing that was served, and issues nothing.
    mesh.lab.control_plane.kill().await;
    mesh.lab.control_plane.start_again().await;
    let after = status(&mesh).await;
    assert_eq!((&after.serial, after.revision), (&changed.serial, changed.revision));
    eventually("all are back", async || (mesh.server().proxies().await.len() == 4).then_some(())).await;

    // A Secret of the directory, replaced in its file.
    let another = own_listener(&mut mesh, second, "kubernetes://plain-tls").await;
    let of_operator = client(&operator.pem, "plain.test");
    eventually("the Secret is served", async || own_listener::ask(second, &of_operator, "plain.test").await.ok()).await;
    let of_plain = Clients::start(2, second, &of_operator, "plain.test");
    for _ in 0..5 {
        let before = another.admin().certs().await.unwrap().leaves.remove(0).serial;
        mesh.write_policy("gateway.yaml", &gateway(edge, &plain("again")));
        eventually("the new Secret is shown", async || {
            (!another.admin().certs().await.unwrap().has_leaf(&before)).then_some(())
        })
        .await;
    }

    for (clients, what) in [(clients, "the Certificate's"), (of_plain, "the directory's")] {
        let served = clients.stop().await;
        assert!(served.requests > 50, "{what}: {served:?}");
        assert_eq!((served.failures, &served.first_failure), (0, &None), "{what}: {served:?}");
        println!("{what}: {} requests, none failed", served.requests);
    }
    for envoy in [&envoy, &another] {
        assert_eq!(envoy.admin().stat("runtime.deprecated_feature_use").await.unwrap(), 0);
    }
    assert!(!mesh.server().log().contains("PRIVATE KEY"));
    drop((envoy, another));
    mesh.stop().await;
}
