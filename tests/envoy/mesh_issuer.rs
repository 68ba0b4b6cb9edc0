//! A ClusterIssuer as the mesh's own authority, replaced under traffic.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign::admin::api::RootRotationStatus;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};

use crate::harness::{Setting, eventually, finish, on_envoys};

on_envoys!(workloads_chain_to_a_cluster_issuer_and_follow_it: delta_1_40, sotw_1_36);

const SEED: &str = include_str!("../../config/policies/seed/cert-manager.yaml");

/// The seed with a new root in it, and the root.
fn policy(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    let pem = params.self_signed(&key).unwrap().pem();
    let text = SEED
        .replace("<base64-encoded-ca-cert>", &STANDARD.encode(&pem))
        .replace("<base64-encoded-ca-key>", &STANDARD.encode(key.serialize_pem()));
    (text, pem)
}

async fn workloads_chain_to_a_cluster_issuer_and_follow_it(setting: Setting) {
    let ((first, first_root), (second, second_root)) = (policy("the first"), policy("the second"));
    let config = "trust:\n  issuer: ClusterIssuer/istio-ca\nrotation:\n  spread: 500ms\n  waitForAbsent: 1s\n\
                  certificates:\n  workloadTtl: 20s\n";
    let mesh = setting.mesh_with(config, |policies| std::fs::write(policies.join("seed.yaml"), &first).unwrap()).await;
    let roots = async || {
        let bundle: countersign::admin::api::BundleDocument = mesh.server().client().get("/v1/bundle").await.unwrap();
        bundle.pem
    };
    assert_eq!(roots().await.trim(), first_root.trim(), "the mesh is founded on the issuer's root");
    let traffic = mesh.traffic();
    mesh.server().rotate().await;
    let (client, start) = (mesh.server().client(), serde_json::json!({ "action": "start" }));
    let refused = client.post::<_, RootRotationStatus>("/v1/rotate/root", &start, std::time::Duration::ZERO).await;
    let refused = refused.unwrap_err().to_string();
    assert_eq!(refused, "the root is that of trust.issuer, and follows its Secret");

    mesh.write_policy("seed.yaml", &second);
    eventually("both roots are trusted", async || (roots().await.matches("BEGIN").count() == 2).then_some(())).await;
    // The nodes' own credentials, as an agent would renew them.
    let mut is_over = false;
    for _ in 0..600 {
        let status: RootRotationStatus = mesh.server().client().get("/v1/rotate/root").await.unwrap();
        if status.step == "activating" {
            for node in &mesh.lab.nodes {
                let workload = node.workload.id();
                mesh.server().bootstrap_as(&workload, &node.directory, node.admin, None).await;
            }
        }
        is_over = status.step == "done";
        if is_over {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(is_over, "the rotation ends: {}", mesh.server().log());
    assert_eq!(roots().await.trim(), second_root.trim());
    mesh.server().rotate().await;
    finish(traffic).await;
    mesh.stop().await;
}
