use super::*;

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
