//! Istio's MeshConfig, by what clients see.

use std::net::SocketAddr;
use std::time::Duration;

use countersign::lab::checks::{Peer, served_by_proxy};
use countersign::lab::http;
use countersign::lab::intruder::{self, Disguise};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::harness::{Setting, eventually, on_envoys};

on_envoys!(an_authority_is_believed_about_its_own_trust_domain_only: delta_1_40, delta_1_36);
on_envoys!(without_automatic_mutual_tls_clients_speak_plaintext: delta_1_40);

const LIMIT: Duration = Duration::from_secs(5);

/// A ConfigMap as Istio has it.
fn map(mesh: &str) -> String {
    let indented: String = mesh.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |-\n{indented}"
    )
}

/// An authority of somebody else's.
struct Partner {
    params: CertificateParams,
    key: KeyPair,
}

impl Partner {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "partner");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self { params, key: KeyPair::generate().unwrap() }
    }

    fn pem(&self) -> String {
        self.params.self_signed(&self.key).unwrap().pem()
    }

    /// A certificate with this SPIFFE ID.
    fn vouches_for(&self, identity: &str) -> Disguise<'static> {
        let (mut params, key) = (CertificateParams::default(), KeyPair::generate().unwrap());
        params.subject_alt_names = vec![SanType::URI(identity.try_into().unwrap())];
        // Envoy's SPIFFE validator takes a certificate that does not say what its key is for as one that may sign others.
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let signed = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap();
        let der: CertificateDer<'static> = signed.der().clone();
        Disguise::Stolen(vec![der], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
    }
}

/// Whether this disguise is let in.
async fn is_let_in(address: SocketAddr, host: &str, disguise: Disguise<'_>) -> bool {
    let tls = intruder::tls(disguise, host).unwrap();
    http::get_tls(address, &tls, host, "/", LIMIT).await.is_ok_and(|answer| answer.status.is_success())
}

async fn an_authority_is_believed_about_its_own_trust_domain_only(setting: Setting) {
    let mesh = setting.mesh().await;
    let (client, payment) = (mesh.topology().client.clone(), mesh.topology().payment.clone());
    let (api, host) = (payment.at(8080), payment.host());
    let partner = Partner::new();
    let theirs = || partner.vouches_for("spiffe://partner.example/ns/a/sa/b");
    assert!(!is_let_in(api, &host, theirs()).await, "nobody knows the authority yet");

    let pem: String = partner.pem().lines().map(|line| format!("    {line}\n")).collect();
    let text = format!("caCertificates:\n- trustDomains: [partner.example]\n  pem: |\n{pem}");
    mesh.write_policy("mesh.yaml", &map(&text));
    eventually("the partner's workloads are let in", async || is_let_in(api, &host, theirs()).await.then_some(()))
        .await;
    let ours = partner.vouches_for(&client.identity());
    assert!(!is_let_in(api, &host, ours).await, "the partner vouches for one of ours");
    let others = partner.vouches_for("spiffe://other.example/ns/a/sa/b");
    assert!(!is_let_in(api, &host, others).await, "the partner vouches for somebody else's");
    let url = payment.url(8080, "/pay");
    served_by_proxy(client.http_proxy(), &url, Peer::Identity(&client.identity())).await.expect("ours are let in");

    mesh.write_policy("mesh.yaml", "");
    eventually("the partner is nobody again", async || (!is_let_in(api, &host, theirs()).await).then_some(())).await;
    served_by_proxy(client.http_proxy(), &url, Peer::Identity(&client.identity())).await.expect("ours are let in");
    for envoy in &mesh.lab.envoys {
        assert_eq!(envoy.admin().stat("sds.ROOTCA.update_rejected").await.unwrap_or_default(), 0, "{}", envoy.name());
    }
    mesh.stop().await;
}

async fn without_automatic_mutual_tls_clients_speak_plaintext(setting: Setting) {
    let mesh = setting.mesh_with("meshConfig:\n  accessLogFile: /dev/stdout\n", |_| ()).await;
    assert!(mesh.server().log().contains("meshConfig.accessLogFile of Istio's MeshConfig has no effect here"));
    let seed = countersign::lab::topology::SEED_POLICIES;
    let without_rule = seed.replace("host: \"*.local\"", "host: \"*.nowhere\"");
    assert_ne!(without_rule, seed);
    mesh.write_policy("istio.yaml", &without_rule);
    let (client, legacy, payment) = (&mesh.topology().client, &mesh.topology().legacy, &mesh.topology().payment);
    let url = legacy.url(8080, "/");
    let automatic = async || served_by_proxy(client.http_proxy(), &url, Peer::Identity(&client.identity())).await.ok();
    eventually("mutual TLS is automatic", automatic).await;

    mesh.write_policy("mesh.yaml", &map("enableAutoMtls: false"));
    let plaintext = async || served_by_proxy(client.http_proxy(), &url, Peer::Nobody).await.ok();
    eventually("plaintext to a port that takes both", plaintext).await;
    let strict = served_by_proxy(client.http_proxy(), &payment.url(8080, "/pay"), Peer::Nobody).await;
    assert!(strict.unwrap_err().starts_with("503"), "a STRICT port refuses it");
    eventually("and it is an error", async || {
        let warnings = mesh.server().status().await.policy.warnings;
        warnings.iter().any(|it| it.contains("enableAutoMtls is false") && it.contains("[CS0101]")).then_some(())
    })
    .await;
    mesh.stop().await;
}
