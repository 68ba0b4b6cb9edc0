//! A ClusterIssuer as the mesh's own authority, replaced under traffic.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign::admin::api::RootRotationStatus;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::harness::{Mesh, Setting, eventually, finish, on_envoys};

on_envoys!(workloads_chain_to_a_cluster_issuer_and_follow_it: delta_1_40, sotw_1_36);
on_envoys!(an_intermediate_of_a_cluster_issuer_signs_and_is_followed: delta_1_40);

const SEED: &str = include_str!("../../config/policies/seed/cert-manager.yaml");
const CONFIG: &str = "trust:\n  issuer: ClusterIssuer/istio-ca\nrotation:\n  spread: 500ms\n  waitForAbsent: 1s\n\
                      certificates:\n  workloadTtl: 20s\n";

/// An authority whose root's key never comes here.
struct Root {
    key: KeyPair,
    params: CertificateParams,
    pem: String,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Root {
    fn new(name: &str) -> Self {
        let (key, params) = (KeyPair::generate().unwrap(), params(name));
        Self { pem: params.self_signed(&key).unwrap().pem(), key, params }
    }

    /// The seed with a new intermediate below this root.
    fn intermediate(&self, name: &str) -> String {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let own = params(name).signed_by(&key, &issuer).unwrap().pem();
        seed(&format!("{own}{}", self.pem), &key)
    }
}

/// The seed with this chain and key.
fn seed(chain: &str, key: &KeyPair) -> String {
    SEED.replace("<base64-encoded-ca-cert>", &STANDARD.encode(chain))
        .replace("<base64-encoded-ca-key>", &STANDARD.encode(key.serialize_pem()))
}

/// The seed with a new root in it, and the root.
fn policy(name: &str) -> (String, String) {
    let root = Root::new(name);
    (seed(&root.pem, &root.key), root.pem)
}

async fn roots(mesh: &Mesh) -> String {
    let bundle: countersign::admin::api::BundleDocument = mesh.server().client().get("/v1/bundle").await.unwrap();
    bundle.pem
}

/// Waits until the rotation that has begun is over.
async fn rotated(mesh: &Mesh) {
    eventually("both roots are trusted", async || (roots(mesh).await.matches("BEGIN").count() == 2).then_some(()))
        .await;
    for _ in 0..600 {
        let status: RootRotationStatus = mesh.server().client().get("/v1/rotate/root").await.unwrap();
        if status.step == "activating" {
            // The nodes' own credentials, as an agent would renew them.
            for node in &mesh.lab.nodes {
                let workload = node.workload.id();
                mesh.server().bootstrap_as(&workload, &node.directory, node.admin, None).await;
            }
        }
        if status.step == "done" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the rotation does not end: {}", mesh.server().log());
}

async fn workloads_chain_to_a_cluster_issuer_and_follow_it(setting: Setting) {
    let ((first, first_root), (second, second_root)) = (policy("the first"), policy("the second"));
    let mesh = setting.mesh_with(CONFIG, |policies| std::fs::write(policies.join("seed.yaml"), &first).unwrap()).await;
    assert_eq!(roots(&mesh).await.trim(), first_root.trim(), "the mesh is founded on the issuer's root");
    let traffic = mesh.traffic();
    mesh.server().rotate().await;
    let (client, start) = (mesh.server().client(), serde_json::json!({ "action": "start" }));
    let refused = client.post::<_, RootRotationStatus>("/v1/rotate/root", &start, std::time::Duration::ZERO).await;
    let refused = refused.unwrap_err().to_string();
    assert_eq!(refused, "the root is that of trust.issuer, and follows its Secret");

    mesh.write_policy("seed.yaml", &second);
    rotated(&mesh).await;
    assert_eq!(roots(&mesh).await.trim(), second_root.trim());
    mesh.server().rotate().await;
    finish(traffic).await;
    mesh.stop().await;
}

async fn an_intermediate_of_a_cluster_issuer_signs_and_is_followed(setting: Setting) {
    let (first, second) = (Root::new("the first root"), Root::new("the second root"));
    let policy = first.intermediate("one");
    let mesh = setting.mesh_with(CONFIG, |policies| std::fs::write(policies.join("seed.yaml"), &policy).unwrap()).await;
    assert_eq!(roots(&mesh).await.trim(), first.pem.trim(), "proxies trust the root, and not the intermediate");
    let traffic = mesh.traffic();
    mesh.server().rotate().await;

    // Another intermediate below the same root signs without a rotation.
    mesh.write_policy("seed.yaml", &first.intermediate("two"));
    eventually("the other intermediate signs", async || {
        mesh.server().log().contains("the mesh's issuer has another intermediate below the same root").then_some(())
    })
    .await;
    mesh.server().rotate().await;
    assert_eq!(roots(&mesh).await.trim(), first.pem.trim());

    // One below another root takes one.
    mesh.write_policy("seed.yaml", &second.intermediate("three"));
    rotated(&mesh).await;
    assert_eq!(roots(&mesh).await.trim(), second.pem.trim());
    mesh.server().rotate().await;
    finish(traffic).await;
    mesh.stop().await;
}
