use std::os::unix::fs::MetadataExt;

use rcgen::{CertificateParams, KeyPair};

use super::endpoint::Host;
use super::*;

fn material(key: &Key) -> BootstrapMaterial {
    let issuer_key = KeyPair::generate().unwrap();
    let root = CertificateParams::new(vec!["root".to_owned()]).unwrap().self_signed(&issuer_key).unwrap();
    let csr = rcgen::CertificateSigningRequestParams::from_pem(&key.csr().unwrap()).unwrap();
    let issuer = rcgen::Issuer::new(CertificateParams::default(), issuer_key);
    BootstrapMaterial {
        workload: "shop/web".into(),
        identity: "spiffe://cluster.local/ns/shop/sa/web".into(),
        trust_domain: "cluster.local".into(),
        certificate_chain: csr.signed_by(&issuer).unwrap().pem(),
        roots: root.pem(),
        xds_address: "127.0.0.1:15012".into(),
        server_identity: "spiffe://cluster.local/ns/istio-system/sa/countersign".into(),
        service_account: "web".into(),
        namespace: "shop".into(),
        labels: [("app".to_owned(), "on".to_owned()), ("y".to_owned(), "1e3".to_owned())].into(),
    }
}

fn options(output: &Path) -> Options {
    Options::new("shop/web".parse().unwrap(), output)
}

fn envoy_yaml(dir: &Path) -> serde_json::Value {
    serde_saphyr::from_str(&std::fs::read_to_string(dir.join("envoy.yaml")).unwrap()).unwrap()
}

#[test]
fn what_is_written_is_read_back_as_meant() {
    let dir = tempfile::tempdir().unwrap();
    let key = Key::generate().unwrap();
    let mut options = options(dir.path());
    options.node_id = Some("y".into());
    options.admin_port = 0;
    assert!(write(&options, &material(&key), &key).unwrap().changed);
    let text = std::fs::read_to_string(dir.path().join("envoy.yaml")).unwrap();
    for quoted in ["'y'", "'on'", "'1e3'"] {
        assert!(text.contains(quoted), "{quoted} is in quotes:\n{text}");
    }
    let envoy = envoy_yaml(dir.path());
    assert_eq!(envoy["node"]["id"], "y");
    assert_eq!(envoy["node"]["metadata"]["LABELS"]["app"], "on");
    assert_eq!(envoy["admin"]["address"]["socket_address"]["port_value"], 0);
    assert_eq!(envoy["dynamic_resources"]["ads_config"]["api_type"], "DELTA_GRPC");
    let cluster = &envoy["static_resources"]["clusters"][0];
    assert_eq!(cluster["type"], "STATIC");
    let tls = &cluster["transport_socket"]["typed_config"]["common_tls_context"];
    let matcher = &tls["combined_validation_context"]["default_validation_context"]["match_typed_subject_alt_names"][0];
    assert_eq!(matcher["matcher"]["exact"], "spiffe://cluster.local/ns/istio-system/sa/countersign");
}

#[test]
fn a_name_is_resolved_and_sent_as_sni_and_a_mount_path_is_used_throughout() {
    let dir = tempfile::tempdir().unwrap();
    let key = Key::generate().unwrap();
    let mut options = options(dir.path());
    options.mode = Mode::Sotw;
    options.xds_address = Some("xds.example:15012".into());
    options.mount_path = Some("/etc/envoy".into());
    write(&options, &material(&key), &key).unwrap();
    let envoy = envoy_yaml(dir.path());
    let cluster = &envoy["static_resources"]["clusters"][0];
    assert_eq!(envoy["dynamic_resources"]["ads_config"]["api_type"], "GRPC");
    assert_eq!(cluster["type"], "STRICT_DNS");
    assert_eq!(cluster["transport_socket"]["typed_config"]["sni"], "xds.example");
    let here = dir.path().to_str().unwrap();
    for file in ["envoy.yaml", "grpc.json", "sds-identity.yaml", "sds-roots.yaml"] {
        let text = std::fs::read_to_string(dir.path().join(file)).unwrap();
        assert!(!text.contains(here) && text.contains("/etc/envoy"), "{file}:\n{text}");
    }
}

#[test]
fn grpc_starts_with_the_same_credentials_and_asks_for_its_own_flavour() {
    let dir = tempfile::tempdir().unwrap();
    let key = Key::generate().unwrap();
    let mut options = options(dir.path());
    options.xds_address = Some("[::1]:15012".into());
    write(&options, &material(&key), &key).unwrap();
    let grpc: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("grpc.json")).unwrap()).unwrap();
    assert_eq!(grpc["xds_servers"][0]["server_uri"], "[::1]:15012");
    assert_eq!(grpc["node"]["metadata"]["GENERATOR"], "grpc");
    assert_eq!(grpc["node"]["id"], envoy_yaml(dir.path())["node"]["id"]);
    let provider = &grpc["certificate_providers"]["default"];
    assert_eq!(provider["plugin_name"], "file_watcher");
    for files in [&provider["config"], &grpc["xds_servers"][0]["channel_creds"][0]["config"]] {
        for file in ["certificate_file", "private_key_file", "ca_certificate_file"] {
            assert!(Path::new(files[file].as_str().unwrap()).exists(), "{files}");
        }
    }
}

#[test]
fn threat_07_credentials_are_the_owners_alone_and_the_key_is_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let key = Key::generate().unwrap();
    let written = write(&options(dir.path()), &material(&key), &key).unwrap();
    assert!(written.credentials.is_symlink());
    assert_eq!(std::fs::metadata(&written.credentials).unwrap().mode() & 0o777, 0o700);
    for name in ["cert.pem", "key.pem", "roots.pem"] {
        assert_eq!(std::fs::metadata(written.credentials.join(name)).unwrap().mode() & 0o777, 0o600, "{name}");
    }
    let secret = key.pem();
    let secret = secret.lines().nth(1).unwrap();
    for file in ["envoy.yaml", "grpc.json", "sds-identity.yaml", "sds-roots.yaml"] {
        assert!(!std::fs::read_to_string(dir.path().join(file)).unwrap().contains(secret), "{file}");
    }
    assert_eq!(format!("{key:?}"), "Key(..)");
    assert!(!key.csr().unwrap().contains(secret));
}

#[test]
fn again_means_new_credentials_and_the_same_envoy_yaml() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let key = Key::generate().unwrap();
    write(&options, &material(&key), &key).unwrap();
    let inode = || std::fs::metadata(dir.path().join("envoy.yaml")).unwrap().ino();
    let before = (inode(), std::fs::read_link(dir.path().join("credentials")).unwrap());

    let key = Key::generate().unwrap();
    assert!(!write(&options, &material(&key), &key).unwrap().changed);
    let after = (inode(), std::fs::read_link(dir.path().join("credentials")).unwrap());
    assert_eq!(before.0, after.0);
    assert_ne!(before.1, after.1);
    assert!(after.1.is_relative(), "a container sees the directory elsewhere");
    assert_eq!(*key.pem(), std::fs::read_to_string(dir.path().join("credentials/key.pem")).unwrap());
    let mut names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            ".credentials-2",
            "credentials",
            "envoy.yaml",
            "grpc.json",
            "node.json",
            "sds-identity.yaml",
            "sds-roots.yaml"
        ]
    );
}

#[test]
fn unusable_material_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let key = Key::generate().unwrap();
    let good = material(&key);
    let other = material(&Key::generate().unwrap());
    let spoilt: [(&str, BootstrapMaterial); 6] = [
        ("another key", BootstrapMaterial { certificate_chain: other.certificate_chain, ..good.clone() }),
        ("chain that is empty", BootstrapMaterial { certificate_chain: String::new(), ..good.clone() }),
        ("roots that is empty", BootstrapMaterial { roots: "garbage".into(), ..good.clone() }),
        ("roots that has something else", BootstrapMaterial { roots: key.pem().to_string(), ..good.clone() }),
        ("no identity", BootstrapMaterial { server_identity: String::new(), ..good.clone() }),
        ("every address", BootstrapMaterial { xds_address: "0.0.0.0:15012".into(), ..good.clone() }),
    ];
    for (message, material) in spoilt {
        let error = write(&options(dir.path()), &material, &key).unwrap_err().to_string();
        assert!(error.contains(message), "{message}: {error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{message}");
    }
    std::fs::create_dir(dir.path().join("credentials")).unwrap();
    let error = write(&options(dir.path()), &good, &key).unwrap_err();
    assert!(matches!(error, BootstrapError::Occupied { .. }), "{error}");
}

#[test]
fn addresses_to_dial() {
    let ip = |text: &str| Host::Ip(text.parse().unwrap());
    assert_eq!(endpoint::parse("10.0.0.1:1").unwrap().host, ip("10.0.0.1"));
    assert_eq!(endpoint::parse("[::1]:15012").unwrap().host, ip("::1"));
    assert_eq!(endpoint::parse("xds.a:15012").unwrap().host, Host::Name("xds.a".into()));
    for bad in ["", "a", "a:", "a:0", "a:99999", ":1", "a b:1", "[::]:1", "0.0.0.0:1", "::1:x", "a/b:1", "a\"\n:1"] {
        assert!(endpoint::parse(bad).is_err(), "{bad:?}");
    }
}
