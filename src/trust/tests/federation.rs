//! Bundles of other trust domains.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use serde_json::{Value, json};

use super::*;

fn other() -> TrustDomain {
    "other.test".parse().unwrap()
}

/// A server of another trust domain.
fn elsewhere(authority_key: KeyAlgorithm) -> (TempDir, Trust) {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings { trust_domain: other(), authority_key, ..settings() };
    let trust = open(directory.path(), settings, NOW).unwrap();
    (directory, trust)
}

fn params(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "a root elsewhere");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    (params.not_before, params.not_after) = (NOW - DAY, NOW + 365 * DAY);
    change(&mut params);
    params
}

fn root(change: impl FnOnce(&mut CertificateParams)) -> String {
    params(change).self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

fn refused(trust: &Trust, document: &str) -> String {
    let before = trust.federation();
    let error = trust.import_bundle(&other(), document, NOW).unwrap_err().to_string();
    assert_eq!(trust.federation(), before, "nothing changes: {error}");
    assert!(error.contains("the trust bundle of other.test is refused"), "{error}");
    error
}

#[test]
fn what_one_exports_the_other_imports_and_keeps() {
    for key in [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Rsa2048] {
        let ((directory, here), (_elsewhere, there)) = (fresh(), elsewhere(key));
        let published = there.published_bundle().unwrap();
        for document in [published.spiffe_json().unwrap(), published.bundle.pem().to_owned()] {
            let taken = here.import_bundle(&other(), &document, NOW).unwrap();
            assert_eq!(taken.bundle, published.bundle);
            assert_eq!(taken.bundle.roots(), there.bundle().roots());
            // Not closed: as after kill -9.
            let again = open(directory.path(), settings(), NOW).unwrap();
            assert_eq!(again.federation(), here.federation());
            assert_eq!(again.federation().bundle(&other()).unwrap().imported_at, NOW);
        }
        assert!(here.remove_bundle(&other()).unwrap() && !here.remove_bundle(&other()).unwrap());
        assert!(open(directory.path(), settings(), NOW).unwrap().federation().bundles().next().is_none());
    }
}

/// X509-SVID §6.1, RFC 7518 §6.
#[test]
fn a_spiffe_bundle_has_the_form_that_others_read() {
    let bytes = |value: &Value| {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap()
    };
    let set = |trust: &Trust| -> Value {
        serde_json::from_str(&trust.published_bundle().unwrap().spiffe_json().unwrap()).unwrap()
    };
    let (_directory, trust) = fresh();
    let p256 = set(&trust);
    assert_eq!((&p256["spiffe_sequence"], &p256["spiffe_refresh_hint"]), (&json!(1), &json!(300)));
    let key = &p256["keys"][0];
    assert_eq!((&key["use"], &key["kty"], &key["crv"]), (&json!("x509-svid"), &json!("EC"), &json!("P-256")));
    assert_eq!((bytes(&key["x"]).len(), bytes(&key["y"]).len()), (32, 32));
    assert_eq!(key["x5c"].as_array().unwrap().len(), 1);
    assert!(key.get("kid").is_none());
    let rsa = set(&elsewhere(KeyAlgorithm::Rsa2048).1);
    let key = &rsa["keys"][0];
    assert_eq!((&key["kty"], bytes(&key["n"]).len(), bytes(&key["e"])), (&json!("RSA"), 256, vec![1, 0, 1]));
}

#[test]
fn what_a_bundle_says_beyond_its_roots_is_ignored_as_the_standard_demands() {
    let ((_directory, here), (_elsewhere, there)) = (fresh(), elsewhere(KeyAlgorithm::P256));
    let mut set: Value = serde_json::from_str(&there.published_bundle().unwrap().spiffe_json().unwrap()).unwrap();
    let good = set["keys"][0].clone();
    let with = |key: &str, value: Value| {
        let mut other = good.clone();
        other[key] = value;
        other
    };
    let second = json!([good["x5c"][0], "not even base64"]);
    set["keys"] = json!([
        {"kty": "EC", "use": "jwt-svid", "kid": "a", "x": "AA", "y": "AA", "crv": "P-256"},
        with("use", json!("tomorrow")),
        with("kty", json!("tomorrow")),
        with("x5c", json!([])),
        {"kty": "EC", "use": "x509-svid"},
        with("x5c", second),
    ]);
    set["tomorrow"] = json!({"deep": [1, 2, 3]});
    let taken = here.import_bundle(&other(), &set.to_string(), NOW).unwrap();
    assert_eq!(taken.bundle.roots(), there.bundle().roots());
    assert_eq!((taken.sequence, taken.refresh_hint), (Some(1), Some(300)));
}

#[test]
fn what_could_verify_somebody_else_is_refused_and_nothing_is_kept() {
    let ((directory, here), (_elsewhere, there)) = (fresh(), elsewhere(KeyAlgorithm::P256));
    let leaf =
        there.workload_certificate("a/b", "spiffe://other.test/ns/a/sa/b".parse::<SpiffeId>().unwrap(), NOW).unwrap();
    let signer = (params(|_| ()), KeyPair::generate().unwrap());
    let below = params(|it| it.distinguished_name.push(DnType::OrganizationName, "below"));
    let below = below.signed_by(&KeyPair::generate().unwrap(), &Issuer::from_params(&signer.0, &signer.1)).unwrap();
    let leaf = leaf.chain_pem.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap().to_owned();
    let cases = [
        (leaf, "do not say CA"),
        (below.pem(), "it has not signed itself"),
        (root(|it| it.not_after = NOW), "it ended at"),
        (root(|it| it.key_usages = vec![KeyUsagePurpose::CrlSign]), "does not allow to sign"),
        (
            root(|it| it.subject_alt_names = vec![SanType::URI("spiffe://third.test".try_into().unwrap())]),
            "it is spiffe://third.test's",
        ),
        (here.bundle().pem().to_owned(), "spiffe://cluster.local's"),
        (String::new(), "it has no root"),
        ("garbage".to_owned(), "it has no root"),
        ("{}".to_owned(), "cannot be read"),
        (r#"{"keys": []}"#.to_owned(), "it has no root"),
        (r#"{"keys": [{"kty": "EC", "use": "x509-svid", "x5c": ["AAAA"]}]}"#.to_owned(), "cannot be read"),
        (r#"{"keys": [{"kty": "EC", "use": "x509-svid", "x5c": ["?"]}]}"#.to_owned(), "x5c"),
        (r#"{"keys": [], "spiffe_sequence": -1}"#.to_owned(), "cannot be read"),
        ("[".repeat(100_000), "it has no root"),
        (format!("{{\"keys\": {}", "[".repeat(100_000)), "cannot be read"),
        (" ".repeat(600 << 10), "larger than any bundle"),
        // One bad root spoils the bundle: whoever made it did not mean what it says.
        (there.bundle().pem().to_owned() + &root(|it| it.not_after = NOW), "it ended at"),
    ];
    for (document, reason) in cases {
        let error = refused(&here, &document);
        assert!(error.contains(reason), "{reason}: {error}");
    }
    let error = here.import_bundle(&settings().trust_domain, there.bundle().pem(), NOW).unwrap_err().to_string();
    assert!(error.contains("cluster.local is our own trust domain"), "{error}");
    assert!(open(directory.path(), settings(), NOW).unwrap().federation().bundles().next().is_none());
}

#[test]
fn no_two_trust_domains_share_a_root() {
    let (directory, own) = (tempfile::tempdir().unwrap(), root(|_| ()));
    let trust = open(directory.path(), settings(), NOW).unwrap();
    trust.import_bundle(&"third.test".parse().unwrap(), &own, NOW).unwrap();
    assert!(refused(&trust, &own).contains("third.test has it"));
    // Nor one with us: a root without a name in it, which ours is then.
    let (_brought, trust) = brought::under_a_foreign_root(settings());
    assert!(refused(&trust, trust.bundle().pem()).contains("it is a root of cluster.local"));
}

#[test]
fn an_older_bundle_does_not_come_back() {
    let (_directory, trust) = fresh();
    let ((_one, before), (_two, after)) = (elsewhere(KeyAlgorithm::P256), elsewhere(KeyAlgorithm::P256));
    let numbered = |trust: &Trust, number: u64| {
        let mut set: Value = serde_json::from_str(&trust.published_bundle().unwrap().spiffe_json().unwrap()).unwrap();
        set["spiffe_sequence"] = json!(number);
        set.to_string()
    };
    trust.import_bundle(&other(), &numbered(&after, u64::MAX), NOW).unwrap();
    assert!(refused(&trust, &numbered(&before, 7)).contains("bundle remove other.test"));
    trust.remove_bundle(&other()).unwrap();
    trust.import_bundle(&other(), &numbered(&before, 7), NOW).unwrap();
    trust.import_bundle(&other(), &numbered(&after, 8), NOW).unwrap();
    assert_eq!(trust.federation().bundle(&other()).unwrap().bundle.roots(), after.bundle().roots());
}

/// Others have to know a root before it signs, and cannot be waited for: so they are shown it as soon as it is prepared.
#[test]
fn the_number_of_our_bundle_rises_with_each_change_of_its_roots() {
    let (directory, trust) = fresh();
    let shown = |trust: &Trust| {
        let published = trust.published_bundle().unwrap();
        (published.sequence, published.bundle.roots().iter().map(|root| root.serial.clone()).collect::<Vec<_>>())
    };
    let (old, new) = roots::prepared(&trust);
    assert_eq!(shown(&trust), (2, vec![old.clone(), new.clone()]));
    roots::change(&trust, &old, &[&old, &new], RotationStep::Distributing);
    roots::change(&trust, &new, &[&old, &new], RotationStep::Activating);
    assert_eq!(shown(&trust), (2, vec![old, new.clone()]), "the same roots");
    trust.rotate_intermediate(NOW).unwrap();
    assert_eq!(shown(&trust).0, 2, "intermediates are nobody else's business");
    roots::change(&trust, &new, &[&new], RotationStep::Retiring);
    assert_eq!(shown(&trust), (3, vec![new]));
    assert_eq!(shown(&open(directory.path(), settings(), NOW).unwrap()), shown(&trust));
}

#[test]
fn a_rotation_that_is_given_up_takes_its_root_back() {
    let (_directory, trust) = fresh();
    let (old, _) = roots::prepared(&trust);
    roots::change(&trust, &old, &[&old], RotationStep::Aborted);
    let published = trust.published_bundle().unwrap();
    assert_eq!((published.sequence, published.bundle.roots().len()), (3, 1));
}
