//! Certificates and revocation lists of every kind that is issued, looked at by a library that shares no code with what makes them.
//!
//! That is pyca/cryptography. A pinned release of it is fetched once, into the cache folder that has the lab's Envoys too.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use countersign::identity::SpiffeId;
use countersign::trust::{KeyAlgorithm, Lists, Revoke, Settings, SqliteStore, Trust};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
    SerialNumber,
};
use serde_json::{Value, json};
use time::OffsetDateTime;

const CRYPTOGRAPHY: &str = "46.0.7";
const IDENTITY: &str = "spiffe://cluster.local/ns/production/sa/payment";
const KEYS: [KeyAlgorithm; 5] =
    [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Rsa2048, KeyAlgorithm::Rsa3072, KeyAlgorithm::Rsa4096];

/// The folder with the library, for PYTHONPATH.
fn library() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("COUNTERSIGN_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|path| path.join("countersign")))
        .or_else(|| set("HOME").map(|path| path.join(".cache/countersign")))
        .expect("COUNTERSIGN_CACHE, XDG_CACHE_HOME or HOME");
    std::fs::create_dir_all(&cache).unwrap();
    let name = format!("cryptography-{CRYPTOGRAPHY}");
    let lock: File = OpenOptions::new().create(true).append(true).open(cache.join(format!("{name}.lock"))).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let library = cache.join(&name);
    if !library.is_dir() {
        // Inside the cache, so that the rename at the end stays on one file system.
        let work = tempfile::Builder::new().prefix("fetch-").tempdir_in(&cache).unwrap();
        let target = work.path().join("library");
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--only-binary",
            ":all:",
            "--target",
        ]);
        let output = pip.arg(&target).arg(format!("cryptography=={CRYPTOGRAPHY}")).output().expect("python3 with pip");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::rename(&target, &library).unwrap();
    }
    library
}

/// The faults of each case.
fn check(cases: &Value) -> BTreeMap<String, Vec<String>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certificates/check.py");
    let mut python = Command::new("python3");
    python.arg(script).env("PYTHONPATH", library()).env("PYTHONDONTWRITEBYTECODE", "1");
    let mut python = python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(cases.to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn hierarchy(authority_key: KeyAlgorithm, workload_key: KeyAlgorithm) -> (tempfile::TempDir, Trust) {
    let day = Duration::from_secs(24 * 3600);
    let settings = Settings {
        trust_domain: "cluster.local".parse().unwrap(),
        cluster: "local".into(),
        root_ttl: 3650 * day,
        intermediate_ttl: 30 * day,
        intermediate_prepare: 30 * day,
        intermediate_activate: 7 * day,
        workload_ttl: day,
        authority_key,
        authority_name: None,
        workload_key,
        clock_skew: Duration::from_secs(120),
        renewal_grace: day,
        lists: Lists::Auto,
    };
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("trust.db")).unwrap();
    let trust = Trust::open(Box::new(store), settings, OffsetDateTime::now_utc()).unwrap();
    (directory, trust)
}

fn blocks(pem: &str) -> Vec<String> {
    pem.split_inclusive("-----END CERTIFICATE-----\n").map(str::to_owned).collect()
}

/// Everything that a hierarchy issues, for these keys.
fn everything(authority: KeyAlgorithm, workload: KeyAlgorithm) -> Value {
    let (_directory, trust) = hierarchy(authority, workload);
    let (id, now): (SpiffeId, _) = (IDENTITY.parse().unwrap(), OffsetDateTime::now_utc());
    let made_here = trust.workload_certificate("production/payment", &id, now).unwrap();
    let mut request = CertificateParams::default();
    request.distinguished_name = rcgen::DistinguishedName::new();
    let csr = request.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    let requested = trust.enroll(&csr, &id, None, Some(Duration::from_secs(3600)), now).unwrap();
    trust.revoke(&Revoke::Serial(requested.serial.clone()), now).unwrap();
    let bundle = trust.bundle();
    let chain = blocks(&made_here.chain_pem);
    json!({
        "trustDomain": "cluster.local",
        "identity": IDENTITY,
        "root": bundle.pem(),
        "intermediate": chain[1],
        "leaves": {"made here": chain[0], "requested": blocks(&requested.chain_pem)[0]},
        "lists": {
            "intermediate": [bundle.crls().unwrap(), [requested.serial.to_string()]],
            "root": [bundle.root_crls().unwrap(), []],
        },
    })
}

#[test]
fn every_kind_of_certificate_and_list_is_as_the_standards_demand() {
    let mut cases = BTreeMap::new();
    for workload in KEYS {
        cases.insert(format!("P-256 signs {workload}"), everything(KeyAlgorithm::P256, workload));
    }
    for authority in &KEYS[1..] {
        cases.insert(format!("{authority} signs P-256"), everything(*authority, KeyAlgorithm::P256));
    }
    let found = check(&json!(cases));
    assert_eq!(found.len(), 9);
    for (case, faults) in found {
        assert!(faults.is_empty(), "{case}: {faults:#?}");
    }
}

/// A case with a leaf, an intermediate and a root that are all as they should be, except for what is changed.
fn odd(change: impl FnOnce(&mut CertificateParams, &mut CertificateParams)) -> Value {
    let now = OffsetDateTime::now_utc();
    let authority = |name: &str, constraints, days: u64| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(constraints);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names = vec![SanType::URI("spiffe://cluster.local".try_into().unwrap())];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(SerialNumber::from_slice(&[0x40; 16]));
        (params.not_before, params.not_after) =
            (now - Duration::from_secs(60), now + Duration::from_secs(days * 86400));
        params
    };
    let root = authority("root", BasicConstraints::Unconstrained, 300);
    let mut middle = authority("intermediate", BasicConstraints::Constrained(0), 30);
    let mut leaf = authority("leaf", BasicConstraints::Constrained(0), 1);
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    leaf.subject_alt_names = vec![SanType::URI(IDENTITY.try_into().unwrap())];
    change(&mut middle, &mut leaf);
    let keys: [KeyPair; 3] = std::array::from_fn(|_| KeyPair::generate().unwrap());
    let by_root = Issuer::from_params(&root, &keys[0]);
    let by_middle = Issuer::from_params(&middle, &keys[1]);
    json!({
        "trustDomain": "cluster.local",
        "identity": IDENTITY,
        "root": root.self_signed(&keys[0]).unwrap().pem(),
        "intermediate": middle.signed_by(&keys[1], &by_root).unwrap().pem(),
        "leaves": {"leaf": leaf.signed_by(&keys[2], &by_middle).unwrap().pem()},
    })
}

/// Each of these is seen, so the check can fail.
#[test]
fn what_the_standards_forbid_is_seen() {
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let cases = [
        ("nothing", "", odd(|_, _| ())),
        ("two identities", "its URIs are", odd(|_, leaf| leaf.subject_alt_names.push(uri("spiffe://cluster.local/b")))),
        ("another identity", "its URIs are", odd(|_, leaf| leaf.subject_alt_names = vec![uri("spiffe://elsewhere/a")])),
        ("an authority", "it is an authority", odd(|_, leaf| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))),
        ("it may sign", "its usages are", odd(|_, leaf| leaf.key_usages.push(KeyUsagePurpose::KeyCertSign))),
        ("no usage", "its usages are", odd(|_, leaf| leaf.key_usages.clear())),
        ("one end", "both ends", odd(|_, leaf| leaf.extended_key_usages.truncate(1))),
        (
            "no issuer's key",
            "authority key identifier",
            odd(|_, leaf| leaf.use_authority_key_identifier_extension = false),
        ),
        ("a long serial", "20 octets", odd(|_, leaf| leaf.serial_number = Some(SerialNumber::from_slice(&[0x40; 21])))),
        ("a short serial", "guessed", odd(|_, leaf| leaf.serial_number = Some(SerialNumber::from(1)))),
        ("a long life", "outlives its issuer", odd(|_, leaf| leaf.not_after += Duration::from_secs(90 * 86400))),
        ("over", "never valid", odd(|_, leaf| leaf.not_after = leaf.not_before - Duration::from_secs(1))),
        ("a long path", "its path length", odd(|middle, _| middle.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))),
        ("no authority", "it is no authority", odd(|middle, _| middle.is_ca = IsCa::ExplicitNoCa)),
        ("not for lists", "its usages are", odd(|middle, _| middle.key_usages.truncate(1))),
    ];
    let found = check(&Value::Object(cases.iter().map(|(name, _, case)| ((*name).to_owned(), case.clone())).collect()));
    for (name, fault, _) in cases {
        let faults = &found[name];
        match fault {
            "" => assert!(faults.is_empty(), "{faults:#?}"),
            fault => assert!(faults.iter().any(|it| it.contains(fault)), "{name}: {faults:#?}"),
        }
    }
}
