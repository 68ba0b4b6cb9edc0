//! Two clusters, each with a server and an intermediate of its own, under one root that neither has the key of.

use std::path::Path;

use countersign::lab::checks::{Peer, served_by_proxy};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SubjectPublicKeyInfo,
};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::harness::{Mesh, Setting, countersign, eventually, on_envoys, pair};

on_envoys!(clusters_that_share_a_root_reach_each_other: delta_1_40);

/// Where the root's key is.
struct Vault {
    root: String,
    params: CertificateParams,
    key: KeyPair,
}

fn params(name: &str, constraints: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

impl Vault {
    fn new() -> Self {
        let (params, key) = (params("the root of all", BasicConstraints::Unconstrained), KeyPair::generate().unwrap());
        Self { root: params.self_signed(&key).unwrap().pem(), params, key }
    }

    /// An intermediate with its key, as in Istio's `cacerts`.
    fn intermediate(&self) -> (String, String) {
        let (issuer, key) = (Issuer::from_params(&self.params, &self.key), KeyPair::generate().unwrap());
        let signed = params("east", BasicConstraints::Constrained(0)).signed_by(&key, &issuer).unwrap();
        (signed.pem(), key.serialize_pem())
    }

    /// An intermediate for the key of a request.
    fn sign(&self, csr: &[u8]) -> String {
        let (_, pem) = x509_parser::pem::parse_x509_pem(csr).unwrap();
        let (_, request) = X509CertificationRequest::from_der(&pem.contents).unwrap();
        let key = SubjectPublicKeyInfo::from_der(request.certification_request_info.subject_pki.raw).unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        params("west", BasicConstraints::Constrained(0)).signed_by(&key, &issuer).unwrap().pem()
    }
}

/// Runs `countersign ca …` for the server that is about to start. What it has printed.
fn ca(policies: &Path, cluster: &str, arguments: &[&str]) -> Vec<u8> {
    let data = policies.with_file_name("data");
    let config = data.with_extension("yaml");
    std::fs::write(&config, format!("cluster: {cluster}\n")).unwrap();
    let mut command = countersign().into_std();
    let place = ["--config".as_ref(), config.as_os_str(), "--data-dir".as_ref(), data.as_os_str()];
    let output = command.arg("ca").args(arguments).args(place).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// payment-service of the other cluster, as an operator of this one writes it down.
fn beyond(other: &Mesh) -> String {
    let address = other.topology().payment.address;
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: beyond, namespace: production}}\n\
         spec:\n  hosts: [payment.beyond.test]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  ports:\n  \
         - {{number: 8080, name: http, protocol: HTTP}}\n  endpoints:\n  - address: {address}\n    \
         serviceAccount: payment-service\n    labels: {{security.istio.io/tlsMode: istio}}\n"
    )
}

async fn clusters_that_share_a_root_reach_each_other(setting: Setting) {
    let _pair = pair().await;
    let vault = Vault::new();
    let files = tempfile::tempdir().unwrap();
    let root = write(files.path(), "root-cert.pem", &vault.root);
    // West's key is made by its server and signed elsewhere; east's comes with its certificate.
    let west = setting.mesh_with("cluster: west\n", |policies| {
        let signed = vault.sign(&ca(policies, "west", &["csr"]));
        let chain = write(files.path(), "west.pem", &signed);
        ca(policies, "west", &["import", "--chain", &chain, "--root", &root]);
    });
    let west = west.await;
    let east = setting.mesh_with("cluster: east\n", |policies| {
        let (certificate, key) = vault.intermediate();
        write(files.path(), "ca-cert.pem", &certificate);
        write(files.path(), "ca-key.pem", &key);
        write(files.path(), "cert-chain.pem", &vault.root);
        ca(policies, "east", &["import", "--cacerts", files.path().to_str().unwrap()]);
    });
    let east = east.await;
    let (here, there) = (west.server().status().await, east.server().status().await);
    assert_eq!(here.root, there.root);
    assert_ne!(here.intermediate, there.intermediate);

    west.write_policy("beyond.yaml", &beyond(&east));
    east.write_policy("beyond.yaml", &beyond(&west));
    for mesh in [&west, &east] {
        let client = &mesh.topology().client;
        let identity = client.identity();
        let reach = async || {
            let url = "http://payment.beyond.test:8080/";
            served_by_proxy(client.http_proxy(), url, Peer::Identity(&identity)).await
        };
        eventually("the other cluster is reached", async || reach().await.ok()).await;
        // Leaves of one intermediate follow another; the other cluster need not know.
        mesh.server().rotate().await;
        reach().await.unwrap();
    }
    west.stop().await;
    east.stop().await;
}
