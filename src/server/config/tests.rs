use super::*;
use crate::trust::KeyAlgorithm;

fn refused(text: &str) -> String {
    let parsed = Config::parse("countersign.yaml", text).and_then(|c| c.check());
    parsed.expect_err("this configuration must be refused").to_string()
}

#[test]
fn the_annotated_file_says_the_defaults_and_every_key() {
    let text = include_str!("../../../config/countersign.yaml");
    let config = Config::parse("config/countersign.yaml", text).unwrap();
    assert_eq!(config, Config::default());
    config.check().unwrap();
}

#[test]
fn nothing_but_comments_is_the_defaults() {
    for text in ["", "# nothing yet\n", "---\n# nothing\n"] {
        assert_eq!(Config::parse("f", text).unwrap(), Config::default());
    }
}

#[test]
fn left_out_keys_keep_their_defaults() {
    let config = Config::parse("f", "trustDomain: prod.example\nxds:\n  drain: 1m 30s\n").unwrap();
    assert_eq!(config.trust_domain.as_str(), "prod.example");
    assert_eq!(config.xds.drain, Duration::from_secs(90));
    assert_eq!(config.xds.resource_ttl, Duration::ZERO, "for ever");
    assert_eq!(Config::parse("f", "xds: {resourceTtl: 30s}").unwrap().xds.resource_ttl, Duration::from_secs(30));
    let short = Config::parse("f", "xds: {resourceTtl: 2s}").unwrap_err().to_string();
    assert!(short.contains("f:1") && short.contains("at least 5s"), "{short}");
    assert_eq!(config.xds.address, Xds::default().address);
}

#[test]
fn an_unknown_key_has_its_place_and_the_nearest_name() {
    let message = refused("trustDomain: a\nxds:\n  adress: 127.0.0.1:1\n");
    assert_eq!(message, "countersign.yaml:3: xds: unknown field \"adress\" (did you mean \"address\"?)");
    let message = refused("certificates:\n  zzz: 1\n");
    assert!(
        message.starts_with("countersign.yaml:2: certificates: unknown field \"zzz\"")
            && message.contains("workloadTtl"),
        "{message}"
    );
}

#[test]
fn a_bad_value_has_its_place() {
    for (text, expected) in [
        (
            "certificates:\n  workloadTtl: 5s\n",
            "countersign.yaml:2: certificates.workloadTtl: 5s leaves no time to renew",
        ),
        (
            "certificates:\n  workloadTtl: soon\n",
            "countersign.yaml:2: certificates.workloadTtl: `soon` is not a duration",
        ),
        ("\ntrustDomain: Prod.Example\n", "countersign.yaml:2: trustDomain: `Prod.Example` is not a trust domain: 'P'"),
        (
            "trustDomain: spiffe://prod/\n",
            "countersign.yaml:1: trustDomain: `spiffe://prod/` is a URI; the trust domain alone is `prod`",
        ),
        ("xds:\n  address: localhost\n", "countersign.yaml:2: xds.address: `localhost` is not IP:PORT"),
        ("cluster: a/b\n", "countersign.yaml:1: cluster: `a/b` is not a name"),
        ("xds: [\n", "countersign.yaml:"),
        (
            "xds:\n  tokens:\n    - sha256: secret\n      identity: spiffe://a/b\n",
            "countersign.yaml:3: xds.tokens[0].sha256: a token is configured as its SHA-256",
        ),
        (
            "xds:\n  operators: [\"spiffe://A/b\"]\n",
            "countersign.yaml:2: xds.operators: `spiffe://A/b` is not a workload's",
        ),
        (
            "xds:\n  unix:\n    mode: \"0666\"\n",
            "countersign.yaml:3: xds.unix.mode: `0666` is not a mode of this socket",
        ),
        ("xds:\n  limits:\n    handshakes: 0\n", "configuration: xds.limits.handshakes: 0 would let nobody in"),
        ("xds:\n  limits:\n    requestBytes: 1\n", "configuration: xds.limits.requestBytes: below 131072"),
    ] {
        let message = refused(text);
        assert!(message.starts_with(expected), "{text:?}: {message}");
    }
}

#[test]
fn values_that_do_not_go_together_are_refused() {
    let message = refused("certificates:\n  workloadTtl: 48h\n  intermediateTtl: 24h\n");
    assert!(
        message.contains("certificates.workloadTtl: 2days is longer than certificates.intermediateTtl (1day)"),
        "{message}"
    );
    let message = refused("certificates:\n  rootTtl: 1h\n");
    assert!(message.contains("certificates.intermediateTtl"), "{message}");
    let message = refused("xds:\n  address: 0.0.0.0:15012\n  insecurePlaintext: true\n");
    assert!(message.contains("loopback address only, and xds.address is 0.0.0.0:15012"), "{message}");
    let message = refused("xds:\n  dnsNames: [\"*.x y\"]\n");
    assert!(message.contains("xds.dnsNames: `*.x y`"), "{message}");
}

#[test]
fn mesh_config_is_read_with_the_configuration() {
    let config = Config::parse("f", "meshConfig:\n  trustDomainAliases: [old.example]\n  accessLogFile: x\n").unwrap();
    assert_eq!(config.mesh_config.trust_domain_aliases.unwrap().value, ["old.example"]);
    assert_eq!(config.warnings.len(), 1);
    let message = refused("trustDomain: one.example\nmeshConfig:\n  trustDomain: two.example\n");
    let expected = "configuration: meshConfig.trustDomain: two.example (countersign.yaml:3) is not trustDomain, which is one.example: make them the same";
    assert_eq!(message, expected);
    let message = refused("meshConfig:\n  meshMTLS:\n    minProtocolVersion: TLSV1_0\n");
    assert!(
        message.starts_with("countersign.yaml:3: meshConfig.meshMTLS.minProtocolVersion: unknown value"),
        "{message}"
    );
    assert!(refused("meshConfgi: {}\n").contains("did you mean \"meshConfig\"?"));
}

#[test]
fn flags_go_before_the_file_and_are_checked_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.yaml");
    std::fs::write(&file, "trustDomain: one\ndataDir: /one\nxds: { insecurePlaintext: true }\n").unwrap();
    let overrides = Overrides {
        trust_domain: Some("two".parse().unwrap()),
        data_dir: Some("/two".into()),
        policy: Some("p".into()),
        admin: Some("127.0.0.1:1".parse().unwrap()),
        ..Overrides::default()
    };
    let config = Config::load(Some(&file), &overrides).unwrap();
    assert_eq!((config.trust_domain.as_str(), config.data_dir.as_path()), ("two", Path::new("/two")));
    assert_eq!((config.policy.directory.as_path(), config.admin.address.port()), (Path::new("p"), 1));
    assert!(config.xds.insecure_plaintext, "a flag that is not given turns nothing off");

    let exposed = Overrides { xds: Some("0.0.0.0:1".parse().unwrap()), ..Overrides::default() };
    assert!(Config::load(Some(&file), &exposed).is_err(), "plaintext stays on loopback whatever the flags say");
}

#[test]
fn a_named_file_must_exist() {
    let error = Config::load(Some(Path::new("/nonexistent/c.yaml")), &Overrides::default()).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/c.yaml"), "{error}");
}

/// A `server.conf` of `example.org`, with its own data directory.
const SERVER_CONF: &str = "server {\n  bind_address = \"127.0.0.1\"\n  bind_port = \"8443\"\n  trust_domain = \"example.org\"\n  data_dir = \
                           \"/run/spire/data\"\n  log_level = \"DEBUG\"\n  ca_ttl = \"168h\"\n  default_x509_svid_ttl = \"2h\"\n  ca_key_type = \
                           \"ec-p384\"\n}\nplugins {\n  DataStore \"sql\" { plugin_data { database_type = \"sqlite3\" connection_string = \
                           \"/run/spire/data/datastore.sqlite3\" } }\n  KeyManager \"memory\" { plugin_data {} }\n}\n";

/// Loads with a configuration file and a `server.conf`.
fn spire(yaml: &str, conf: &str, change: impl FnOnce(&mut Overrides)) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let (file, path) = (dir.path().join("c.yaml"), dir.path().join("server.conf"));
    std::fs::write(&file, yaml).unwrap();
    std::fs::write(&path, conf).unwrap();
    let mut overrides = Overrides { spire: Some(SpireFile { path, expand_env: false }), ..Overrides::default() };
    change(&mut overrides);
    Config::load(Some(&file), &overrides)
}

#[test]
fn a_server_conf_sets_what_spire_means_by_it() {
    let config = spire("", SERVER_CONF, |_| ()).unwrap();
    assert_eq!(config.trust_domain.as_str(), "example.org");
    assert_eq!(config.xds.address, "127.0.0.1:8443".parse().unwrap());
    assert_eq!(config.data_dir, Path::new("/run/spire/data"));
    assert_eq!(config.store_file("trust.db"), Path::new("/run/spire/data/datastore.sqlite3"));
    assert_eq!(config.log_level(), Some("debug"));
    let Certificates { workload_ttl, intermediate_ttl, authority_key, root_ttl, .. } = config.certificates;
    assert_eq!((workload_ttl.as_secs(), intermediate_ttl.as_secs()), (7200, 168 * 3600));
    assert_eq!((authority_key, root_ttl), (KeyAlgorithm::P384, Certificates::default().root_ttl));
    // What is left out is as in SPIRE.
    let least = SERVER_CONF.replace("  ca_ttl = \"168h\"\n  default_x509_svid_ttl = \"2h\"\n", "");
    let least = least.replace("  bind_address = \"127.0.0.1\"\n  bind_port = \"8443\"\n", "");
    let config = spire("", &least, |_| ()).unwrap();
    assert_eq!(config.xds.address, "0.0.0.0:8081".parse().unwrap());
    assert_eq!(config.certificates.workload_ttl.as_secs(), 3600);
    // An SVID never outlives its CA: SPIRE warns, and cuts it short.
    let config = spire("", &SERVER_CONF.replace("168h", "1h"), |_| ()).unwrap();
    assert_eq!(config.certificates.workload_ttl.as_secs(), 3600);
    assert!(config.warnings[0].to_string().contains("default_x509_svid_ttl is 2h"), "{:?}", config.warnings);
}

#[test]
fn a_conflict_of_the_two_files_names_both_places() {
    for (yaml, expected) in [
        ("trustDomain: other.test\n", ":4: trustDomain is other.test at "),
        ("xds:\n  address: 127.0.0.1:1\n", ":3: xds.address is 127.0.0.1:1 at "),
        ("dataDir: /other\n", ":5: dataDir is /other at "),
        ("certificates:\n  workloadTtl: 1h\n", ":8: certificates.workloadTtl is 1h at "),
        ("certificates:\n  intermediateTtl: 100h\n", ":7: certificates.intermediateTtl is 4days 4h at "),
        ("certificates:\n  authorityKey: P-256\n", ":9: certificates.authorityKey is P-256 at "),
    ] {
        let message = spire(yaml, SERVER_CONF, |_| ()).unwrap_err().to_string();
        let line = yaml.lines().count();
        let place = format!("c.yaml:{line}, and ");
        assert!(message.contains(expected) && message.contains(&place), "{yaml}: {message}");
        assert!(message.ends_with("here: make them the same, or leave one of them out"), "{message}");
    }
    // The same twice is no conflict, and a default of SPIRE's is none either.
    assert!(spire("trustDomain: example.org\n", SERVER_CONF, |_| ()).is_ok());
    let least = SERVER_CONF.replace("  default_x509_svid_ttl = \"2h\"\n", "");
    let config = spire("certificates:\n  workloadTtl: 30m\n", &least, |_| ()).unwrap();
    assert_eq!(config.certificates.workload_ttl.as_secs(), 1800);
}

#[test]
fn flags_go_before_a_server_conf() {
    let config = spire("", SERVER_CONF, |overrides| {
        overrides.trust_domain = Some("flag.test".parse().unwrap());
        overrides.xds = Some("127.0.0.1:9".parse().unwrap());
        overrides.data_dir = Some("/flag".into());
    });
    let config = config.unwrap();
    assert_eq!((config.trust_domain.as_str(), config.xds.address.port()), ("flag.test", 9));
    assert_eq!(config.data_dir, Path::new("/flag"));
}

#[test]
fn a_bad_server_conf_is_refused_with_its_place() {
    let message = spire("", &SERVER_CONF.replace("ca_ttl", "ca_tll"), |_| ()).unwrap_err().to_string();
    assert!(
        message.contains("server.conf:7: server: unknown field \"ca_tll\" (did you mean \"ca_ttl\"?)"),
        "{message}"
    );
    let message = spire("", &SERVER_CONF.replace("\"2h\"", "\"2s\""), |_| ()).unwrap_err().to_string();
    assert!(message.contains("server.conf:8: this leaves no time to renew"), "{message}");
    let psat = SERVER_CONF.replace("  KeyManager", "  NodeAttestor \"k8s_psat\" {}\n  KeyManager");
    let message = spire("", &psat, |_| ()).unwrap_err().to_string();
    assert!(
        message.contains(
            "needs a Kubernetes API, and none is configured: use \"join_token\" or \"x509pop\", which both work without one"
        ),
        "{message}"
    );
}

/// The ConfigMap of SPIRE's manifests, in the policy directory.
#[test]
fn the_seeds_config_map_counts_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let seed = include_str!("../../../config/policies/seed/spire.yaml");
    std::fs::write(dir.path().join("spire.yaml"), seed).unwrap();
    let file = dir.path().join("c.conf");
    let load = |yaml: &str, change: fn(&mut Overrides)| {
        std::fs::write(&file, yaml).unwrap();
        let mut overrides = Overrides { policy: Some(dir.path().to_owned()), ..Overrides::default() };
        change(&mut overrides);
        Config::load(Some(&file), &overrides).unwrap()
    };
    let config = load("", |_| ());
    assert_eq!(
        (config.trust_domain.as_str(), config.xds.address.to_string()),
        ("example.org", "0.0.0.0:8081".to_owned())
    );
    assert_eq!(config.store_file("trust.db"), Path::new("/run/spire/data/datastore.sqlite3"));
    // It keeps no server from starting: what the configuration file says counts, and is said.
    let config = load("dataDir: /mine\n", |_| ());
    assert_eq!(config.data_dir, Path::new("/mine"));
    let warning = config.warnings[0].to_string();
    assert!(warning.starts_with("spire.yaml:12: /run/spire/data has no effect: dataDir is /mine at "), "{warning}");
    // For another trust domain it is another server's.
    let config = load("", |overrides| overrides.trust_domain = Some("cluster.local".parse().unwrap()));
    assert_eq!((config.spire.is_none(), config.xds.address), (true, Xds::default().address));
    let warning = config.warnings[0].to_string();
    assert!(
        warning.starts_with(
            "spire.yaml:11: nothing of this server.conf is applied: it is for the trust domain example.org"
        ),
        "{warning}"
    );
    // What is wrong in it would make another server of this one.
    std::fs::write(dir.path().join("spire.yaml"), seed.replace("trust_domain", "trust_domian")).unwrap();
    let overrides = Overrides { policy: Some(dir.path().to_owned()), ..Overrides::default() };
    let message = Config::load(Some(&file), &overrides).unwrap_err().to_string();
    assert!(message.contains("spire.yaml:11: server: unknown field \"trust_domian\""), "{message}");
}
