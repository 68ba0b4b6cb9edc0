//! What a new mesh is founded on, where a ClusterIssuer is its authority.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::super::mesh_issuer::found;
use super::*;
use crate::trust::{Store as _, TrustError};

const ISSUER: &str = "---\napiVersion: cert-manager.io/v1\nkind: ClusterIssuer\nmetadata: {name: mesh}\nspec: {ca: {secretName: mesh-ca}}\n";

/// A root, and an intermediate below it with its key, in PEM.
struct Pki {
    root: String,
    root_key: String,
    intermediate: String,
    key: String,
}

impl Pki {
    fn new() -> Self {
        let params = |name: &str| {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params.distinguished_name.push(DnType::CommonName, name);
            params
        };
        let (root, root_key, key) = (params("root"), KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let below = params("intermediate").signed_by(&key, &Issuer::from_params(&root, &root_key)).unwrap();
        Self {
            root: root.self_signed(&root_key).unwrap().pem(),
            root_key: root_key.serialize_pem(),
            intermediate: below.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// The issuer's Secret with these entries.
fn secret(entries: &[(&str, &str)]) -> String {
    let entries: Vec<_> = entries.iter().map(|(name, value)| format!("{name}: {}", STANDARD.encode(value))).collect();
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: mesh-ca, namespace: cert-manager}}\ndata: {{{}}}\n",
        entries.join(", ")
    )
}

/// A directory for policy and a store, and what comes of founding a mesh on that policy.
fn founded(policy: &str) -> (tempfile::TempDir, Result<Trust, TrustError>) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("policy")).unwrap();
    std::fs::write(directory.path().join("policy/a.yaml"), policy).unwrap();
    let trust = again(&directory);
    (directory, trust)
}

fn again(directory: &tempfile::TempDir) -> Result<Trust, TrustError> {
    let (settings, now) = (trust_settings(&Config::default()), OffsetDateTime::now_utc());
    let store = SqliteStore::open(&directory.path().join("trust.db"))?;
    found(&store, &settings, &directory.path().join("policy"), ("mesh", "cert-manager"), now)?;
    Trust::open(Box::new(store), settings, now)
}

/// How many certificates a workload shows, and the one root that it trusts.
fn shown(trust: &Trust) -> (usize, String) {
    let id: SpiffeId = "spiffe://cluster.local/ns/a/sa/b".parse().unwrap();
    let certificate = trust.workload_certificate("a/b", id, OffsetDateTime::now_utc()).unwrap();
    assert_eq!(trust.bundle().roots().len(), 1);
    (certificate.chain.len(), trust.bundle().pem().to_owned())
}

#[test]
fn a_mesh_is_founded_on_a_root_or_on_an_intermediate_and_its_root() {
    let Pki { root, root_key, intermediate, key } = Pki::new();
    let both = format!("{intermediate}{root}");
    let cases: [(&str, &[(&str, &str)]); 4] = [
        ("a root", &[("tls.crt", &root), ("tls.key", &root_key)]),
        ("a root, as cert-manager writes it", &[("tls.crt", &root), ("tls.key", &root_key), ("ca.crt", &root)]),
        ("an intermediate", &[("tls.crt", &intermediate), ("tls.key", &key), ("ca.crt", &root)]),
        ("an intermediate with its root behind it", &[("tls.crt", &both), ("tls.key", &key)]),
    ];
    for (case, entries) in cases {
        let (directory, trust) = founded(&(secret(entries) + ISSUER));
        // Below the root one is made here; the intermediate of the issuer signs itself. Either way the root is not shown.
        let trust = trust.unwrap();
        assert_eq!(shown(&trust), (2, root.clone()), "{case}");
        let signs = trust.intermediate();
        assert_eq!(
            signs.subject == "CN=intermediate",
            case.starts_with("an intermediate"),
            "{case}: {}",
            signs.subject
        );
        drop(trust);
        assert_eq!(again(&directory).unwrap().intermediate(), signs, "a second start changes nothing: {case}");
    }
}

#[test]
fn a_mesh_does_not_begin_with_another_authority_than_its_issuers() {
    let Pki { root, intermediate, key, .. } = Pki::new();
    let other = Pki::new();
    let good = secret(&[("tls.crt", &intermediate), ("tls.key", &key), ("ca.crt", &root)]);
    let self_signed = ISSUER.replace("{ca: {secretName: mesh-ca}}", "{selfSigned: {}}");
    let cases = [
        (good.clone(), "there is no ClusterIssuer mesh"),
        (ISSUER.to_owned(), "Secret cert-manager/mesh-ca is not there"),
        (good.clone() + &self_signed, "ClusterIssuer mesh (a.yaml:7) is not of the type ca"),
        (
            good.replace("namespace: cert-manager", "namespace: shop") + ISSUER,
            "Secret cert-manager/mesh-ca is not there",
        ),
        (secret(&[("tls.crt", &root)]) + ISSUER, "Secret cert-manager/mesh-ca has no tls.key"),
        (
            secret(&[("tls.crt", &intermediate), ("tls.key", &other.key), ("ca.crt", &root)]) + ISSUER,
            "another certificate's",
        ),
        (
            secret(&[("tls.crt", &intermediate), ("tls.key", &key), ("ca.crt", &other.root)]) + ISSUER,
            "it is not signed with the key of",
        ),
        (secret(&[("tls.crt", &intermediate), ("tls.key", &key)]) + ISSUER, "it was issued by CN=root"),
        (good + ISSUER + "---\nkind: Nothing: [\n", "the policy is refused: a.yaml:"),
    ];
    for (policy, reason) in cases {
        let (directory, trust) = founded(&policy);
        let error = trust.expect_err(reason).to_string();
        assert!(error.contains(reason), "{reason}: {error}");
        assert!(!error.contains("PRIVATE"), "{error}");
        let store = SqliteStore::open(&directory.path().join("trust.db")).unwrap();
        assert_eq!(store.load().unwrap().trust_domain, None, "{reason}");
    }
}

#[test]
fn an_authority_that_a_certificate_of_the_directory_makes_is_issued_first() {
    let chain = "---
apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata: {name: itself}
spec: {selfSigned: {}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: root, namespace: cert-manager}
spec: {secretName: root, isCA: true, commonName: root, privateKey: {algorithm: ECDSA}, duration: 87600h, issuerRef: {name: itself, kind: ClusterIssuer}}
---
apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata: {name: root}
spec: {ca: {secretName: root}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: mesh, namespace: cert-manager}
spec: {secretName: mesh-ca, isCA: true, commonName: intermediate, privateKey: {algorithm: ECDSA}, duration: 8760h, issuerRef: {name: root, kind: ClusterIssuer}}
";
    let (directory, trust) = founded(&format!("{chain}{ISSUER}"));
    let trust = trust.unwrap();
    let (length, root) = shown(&trust);
    assert_eq!((length, trust.intermediate().subject.as_str()), (2, "CN=intermediate"));
    let kept = trust.certificates().unwrap();
    let of_root = kept.iter().find(|it| it.certificate == "cert-manager/root").unwrap();
    assert_eq!(String::from_utf8_lossy(&of_root.chain_pem), root, "what was issued is kept");
    drop(trust);
    assert_eq!(shown(&again(&directory).unwrap()).1, root);
}

#[test]
fn a_store_that_has_an_authority_starts_without_the_issuers() {
    let Pki { root, root_key, .. } = Pki::new();
    let (directory, trust) = founded(&(secret(&[("tls.crt", &root), ("tls.key", &root_key)]) + ISSUER));
    drop(trust.unwrap());
    std::fs::write(directory.path().join("policy/a.yaml"), "").unwrap();
    assert_eq!(shown(&again(&directory).unwrap()).1, root);
}
