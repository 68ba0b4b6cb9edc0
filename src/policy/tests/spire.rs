//! SPIRE's `server.conf`: each key, and what is said of each mistake.

use super::*;

/// The least that a `server.conf` has, with `server` and `plugins` at the ends of those blocks. Line 7 is the first of `server`.
fn conf(server: &str, plugins: &str) -> String {
    format!(
        "server {{\n  trust_domain = \"example.org\"\n  data_dir = \"/d\"\n  ca_ttl = \"24h\"\n  default_x509_svid_ttl = \"1h\"\n  \
         # more\n{server}\n}}\nplugins {{\n  DataStore \"sql\" {{\n    plugin_data {{ database_type = \"sqlite3\" connection_string = \
         \"/d/s\" }}\n  }}\n  KeyManager \"memory\" {{ plugin_data {{}} }}\n{plugins}\n}}\n"
    )
}

fn read(text: &str) -> (SpireServer, Vec<String>) {
    match parse_spire_config("server.conf", text, None) {
        Ok((server, warnings)) => (server, warnings.iter().map(ToString::to_string).collect()),
        Err(errors) => panic!("{}", lines(&errors)),
    }
}

fn refused(text: &str) -> String {
    match parse_spire_config("server.conf", text, None) {
        Ok((server, _)) => panic!("accepted: {server:?}"),
        Err(errors) => lines(&errors),
    }
}

#[test]
fn the_least_has_spires_defaults() {
    let least = conf("", "").replace("  ca_ttl = \"24h\"\n  default_x509_svid_ttl = \"1h\"\n", "");
    let (server, warnings) = read(&least);
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(server.bind(), ("0.0.0.0", 8081));
    assert_eq!((server.ca_ttl().as_secs(), server.svid_ttl().as_secs()), (24 * 3600, 3600));
    assert_eq!((server.upstream, server.attestors, server.ca_key_type), (None, vec![], None));
}

#[test]
fn a_number_may_be_in_quotes_and_blocks_may_share_a_line() {
    let keys = "bind_address = \"[::1]\", bind_port = \"8443\" ca_key_type = \"ec-p384\"\nca_subject { country = [\"DE\",], organization = \
                [\"Example\"] common_name = \"ours\" }";
    let (server, _) = read(&conf(keys, ""));
    assert_eq!(server.bind(), ("::1", 8443));
    assert_eq!(server.ca_key_type.map(|it| (it.value, it.at.line)), Some((CaKeyType::EcP384, 7)));
    let subject = server.ca_subject.unwrap().value;
    assert_eq!((subject.country, subject.organization), (vec!["DE".to_owned()], vec!["Example".to_owned()]));
    assert_eq!(subject.common_name, "ours");
    assert_eq!(read(&conf("bind_port = 8443", "")).0.bind().1, 8443);
}

#[test]
fn json_says_the_same_as_hcl() {
    let json = r#"{
  "server": { "trust_domain": "example.org", "data_dir": "/d", "bind_port": "8443", "ca_ttl": "24h" },
  "plugins": {
    "DataStore": [ { "sql": { "plugin_data": { "database_type": "sqlite3", "connection_string": "/d/s" } } } ],
    "KeyManager": { "memory": [ { "plugin_data": {} } ] },
    "NodeAttestor": [ { "join_token": {} }, { "x509pop": { "plugin_data": { "ca_bundle_path": "/ca.pem" } } } ]
  }
}"#;
    let (server, warnings) = read(json);
    assert_eq!(warnings, [""; 0]);
    assert_eq!((server.bind().1, server.store.value.as_str()), (8443, "/d/s"));
    assert_eq!((server.attestors.len(), server.attestors[1].at.line), (2, 6));
    let bad = json.replace("\"ca_ttl\"", "\"ca_tll\"");
    assert_eq!(refused(&bad), "server.conf:2: server: unknown field \"ca_tll\" (did you mean \"ca_ttl\"?)");
}

#[test]
fn every_plugin_that_is_served_has_its_keys() {
    let plugins = "NodeAttestor \"join_token\" {\n plugin_data {}\n}\nNodeAttestor \"x509pop\" {\n plugin_data {\n  ca_bundle_paths = [\"/a.pem\", \
                   \"/b.pem\"]\n  agent_path_template = \"/x509pop/cn/{{ .Subject.CommonName }}\"\n }\n}\nUpstreamAuthority \"disk\" \
                   plugin_data {\n cert_file_path = \"/c\" key_file_path = \"/k\" bundle_file_path = \"/b\"\n}\n";
    let (server, warnings) = read(&conf("", plugins));
    assert_eq!(warnings, [""; 0]);
    let upstream = server.upstream.unwrap().value;
    assert_eq!(
        (upstream.certificate.as_str(), upstream.key.as_str(), upstream.bundle.as_deref()),
        ("/c", "/k", Some("/b"))
    );
    assert_eq!(server.attestors[0].value, NodeAttestor::JoinToken);
    let NodeAttestor::X509Pop(pop) = &server.attestors[1].value else { panic!("{:?}", server.attestors) };
    assert_eq!(pop.bundles.iter().map(|it| it.value.as_str()).collect::<Vec<_>>(), ["/a.pem", "/b.pem"]);
    let node = NodeFacts { fingerprint: "0a", serial: "1", common_name: "edge-1" };
    let agent = pop.agent_path.agent_id(&"example.org".parse().unwrap(), &node).unwrap();
    assert_eq!(agent.to_string(), "spiffe://example.org/spire/agent/x509pop/cn/edge-1");
    let disk = conf("", "").replace(
        "KeyManager \"memory\" { plugin_data {} }",
        "KeyManager \"disk\" { plugin_data { keys_path = \"/k\" } }",
    );
    let (server, warnings) = read(&disk);
    assert_eq!(server.key_manager.value, KeyManager::Disk);
    assert_eq!(
        warnings,
        ["server.conf:13: keys_path has no effect here: keys are in the DataStore, with everything else"]
    );
    // Turned off, it is not there, whatever it is.
    assert!(read(&conf("", "NodeAttestor \"aws_iid\" { enabled = false }")).0.attestors.is_empty());
}

#[test]
fn what_has_no_effect_is_said_with_what_does_it() {
    let known = "admin_ids = [\"spiffe://example.org/a\"]\nagent_ttl = \"2h\"\naudit_log_enabled = true\ndefault_jwt_svid_ttl = \"5m\"\n\
                 experimental { require_pq_kem = true }\nlog_file = \"/l\"\nlog_format = \"json\"\nsocket_path = \"/s\"\nratelimit { signing = false }\n\
                 jwt_issuer = \"i\"\nprune_tofu_nodes = true\ndisable_jwt_svids = true\nprofiling_port = 1";
    let (_, warnings) = read(&conf(known, ""));
    let warned: Vec<&str> =
        warnings.iter().filter_map(|it| it.split(": ").nth(1)?.split(" has no effect").next()).collect();
    let mut expected = [
        "admin_ids",
        "agent_ttl",
        "audit_log_enabled",
        "default_jwt_svid_ttl",
        "experimental",
        "log_file",
        "log_format",
        "socket_path",
        "ratelimit",
        "jwt_issuer",
        "prune_tofu_nodes",
        "profiling_port",
    ];
    let mut warned = warned;
    warned.sort_unstable();
    expected.sort_unstable();
    assert_eq!(warned, expected, "{warnings:#?}");
    let text = conf("", "Notifier \"k8sbundle\" { plugin_data { namespace = \"spire\" } }")
        + "telemetry { Prometheus { port = 1 } }\nhealth_checks { listener_enabled = true }\n";
    let (_, warnings) = read(&text);
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
}

#[test]
fn an_svid_that_its_ca_may_cut_short_is_warned_of() {
    let text = conf("", "").replace("\"24h\"", "\"5h\"");
    assert_eq!(
        read(&text).1,
        [
            "server.conf:5: default_x509_svid_ttl is 1h, and with ca_ttl 5h only 50m are guaranteed: a successor signs when a sixth of the CA's \
          life is left, 7 days at most, so certificates may be cut short; set default_x509_svid_ttl to 50m or less, or ca_ttl to 6h or more"
        ]
    );
}

#[test]
fn other_trust_domains_are_named() {
    let federation = "federation {\n bundle_endpoint { address = \"0.0.0.0\" port = 8443 }\n federates_with \"partner.test\" {\n  bundle_endpoint_url = \
                      \"https://partner.test/bundle\"\n  bundle_endpoint_profile \"https_web\" {}\n }\n}";
    let (server, warnings) = read(&conf(federation, ""));
    assert_eq!(server.federates_with[0].value, "partner.test");
    assert_eq!(warnings.len(), 2, "{warnings:#?}");
    let message = refused(&conf(&federation.replace("https://", "http://"), ""));
    assert_eq!(
        message,
        "server.conf:10: server.federation.federates_with.partner.test: bundle_endpoint_url must begin with https://"
    );
}

#[test]
fn a_mistake_has_its_place_and_its_message() {
    let cases = [
        ("bind_prot = 1", "server.conf:7: server: unknown field \"bind_prot\" (did you mean \"bind_port\"?)"),
        ("bind_port = 0", "server.conf:7: server.bind_port: 0 is not a port: 1 to 65535"),
        ("bind_port = \"x\"", "server.conf:7: server.bind_port: found a string, expected a number"),
        (
            "bind_address = \"a b\"",
            "server.conf:7: server.bind_address: \"a b\" is not an address (an IP address or a DNS name, without a port)",
        ),
        (
            "log_level = \"LOUD\"",
            "server.conf:7: server.log_level: \"LOUD\" is not a log level (DEBUG, INFO, WARN or ERROR)",
        ),
        (
            "ca_key_type = \"ed25519\"",
            "server.conf:7: server.ca_key_type: \"ed25519\" is not a key type (ec-p256, ec-p384, rsa-2048 or rsa-4096)",
        ),
        (
            "agent_ttl = \"1d\"",
            "server.conf:7: server.agent_ttl: \"1d\" is not a duration (a number and h, m or s, as in \"168h\" or \"1h30m\"; there are no days in it)",
        ),
        (
            "data_dir = \"/other\"",
            "server.conf:7: column 1: not valid HCL: \"data_dir\" is here twice: it is in line 3 already",
        ),
        ("ca_subject = 5", "server.conf:7: server.ca_subject: found a number, expected a mapping"),
        ("ca_subject { town = [\"x\"] }", "server.conf:7: server.ca_subject: unknown field \"town\""),
        ("ratelimit { all = true }", "server.conf:7: server.ratelimit: unknown field \"all\""),
        ("bind_port = ", "server.conf:8: column 1: not valid HCL: found '}', expected a value"),
        ("bind_port 5", "server.conf:7: column 11: not valid HCL: found '5', expected `=` or `{`"),
        ("a = b", "server.conf:7: column 5: not valid HCL: a word without quotes: put it in quotes"),
        ("a \"b\" = 1", "server.conf:7: column 7: not valid HCL: a block has no `=` behind its label"),
        ("a = \"x\ny\"", "server.conf:7: column 5: not valid HCL: this string is never closed"),
        (
            "a = \"\\q\"",
            "server.conf:7: column 7: not valid HCL: an escape that does not exist; write `\\\\` for a backslash",
        ),
        ("a = [1 2]", "server.conf:7: column 8: not valid HCL: found '2', expected `,` or `]`"),
        ("a = 1x", "server.conf:7: column 5: not valid HCL: this is not a number; a text is in quotes"),
        ("/* a", "server.conf:7: column 1: not valid HCL: this comment does not end"),
    ];
    for (line, expected) in cases {
        let message = refused(&conf(line, ""));
        assert!(message.starts_with(expected), "{line:?}: {message}");
    }
}

#[test]
fn a_plugin_that_is_not_served_is_named_with_those_that_are() {
    let cases = [
        (
            "NodeAttestor \"aws_iid\" { plugin_data {} }",
            "server.conf:14: plugins: NodeAttestor \"aws_iid\" is not served here; join_token or x509pop is",
        ),
        (
            "UpstreamAuthority \"vault\" {}",
            "server.conf:14: plugins: UpstreamAuthority \"vault\" is not served here; disk is",
        ),
        (
            "Notifier \"gcs_bundle\" {}",
            "server.conf:14: plugins: Notifier \"gcs_bundle\" is not served here; no Notifier is",
        ),
        ("KeyManager \"disk\" {}", "server.conf:14: plugins: a second KeyManager: there is one at server.conf:13"),
        (
            "KeyManager \"memory\" {}",
            "server.conf:14: column 12: not valid HCL: \"memory\" is here twice: it is in line 13 already",
        ),
        (
            "Attestor \"x\" {}",
            "server.conf:14: plugins: SPIRE has no plugin type \"Attestor\"; its types are DataStore, KeyManager,",
        ),
        (
            "UpstreamAuthority \"disk\" { plugin_data { cert_file_path = \"/c\" } }",
            "server.conf:14: plugins.UpstreamAuthority.disk: cert_file_path and key_file_path must be set",
        ),
        (
            "UpstreamAuthority \"disk\" { plugin_data { cert = \"/c\" } }",
            "server.conf:14: plugins.UpstreamAuthority.disk.plugin_data: unknown field \"cert\"",
        ),
        (
            "NodeAttestor \"x509pop\" { plugin_data {} }",
            "server.conf:14: plugins.NodeAttestor.x509pop: ca_bundle_path or ca_bundle_paths must be set",
        ),
        (
            "NodeAttestor \"x509pop\" { plugin_data { mode = \"spiffe\" } }",
            "server.conf:14: plugins.NodeAttestor.x509pop: the mode \"spiffe\" is not served here (external_pki is, with ca_bundle_path)",
        ),
        (
            "NodeAttestor \"x509pop\" { plugin_data { ca_bundle_path = \"/a\" ca_bundle_paths = [\"/b\"] } }",
            "server.conf:14: plugins.NodeAttestor.x509pop: only one of ca_bundle_path and ca_bundle_paths can be used",
        ),
        (
            "NodeAttestor \"x509pop\" { plugin_data { ca_bundle_path = \"/a\" agent_path_template = \"/{{ .NodeName }}\" } }",
            "server.conf:14: plugins.NodeAttestor.x509pop: agent_path_template: `.NodeName` is not known here: what is, is .PluginName,",
        ),
        (
            "NodeAttestor \"join_token\" { plugin_cmd = \"/bin/x\" }",
            "server.conf:14: plugins.NodeAttestor.join_token: external plugins are not run here; join_token or x509pop is",
        ),
        (
            "NodeAttestor \"join_token\" { plugin_data_file = \"/f\" }",
            "server.conf:14: plugins.NodeAttestor.join_token: plugin_data_file is not served here (write its content into plugin_data)",
        ),
        (
            "NodeAttestor \"join_token\" { plugin_dat {} }",
            "server.conf:14: plugins.NodeAttestor.join_token: unknown field \"plugin_dat\"",
        ),
        (
            "NodeAttestor \"k8s_psat\" { plugin_data { clusters = { a = {} } } }",
            "server.conf:14: plugins: NodeAttestor \"k8s_psat\" needs a Kubernetes API, and none is configured: use \"join_token\" or \"x509pop\", which both work without one",
        ),
    ];
    for (plugin, expected) in cases {
        let message = refused(&conf("", plugin));
        assert!(message.starts_with(expected), "{plugin:?}: {message}");
    }
    for (sql, expected) in [
        (
            "database_type = \"postgres\" connection_string = \"x\"",
            "the database_type \"postgres\" is not served here; sqlite3 is",
        ),
        ("database_type = \"sqlite3\" connection_string = \":memory:\"", "a database in memory is not served here"),
        (
            "database_type = \"sqlite3\" connection_string = \"file::memory:?cache=shared\"",
            "a database in memory is not served here",
        ),
        ("connection_string = \"x\"", "database_type must be set"),
        ("database_type = \"sqlite3\"", "connection_string must be set"),
    ] {
        let text = conf("", "").replace("database_type = \"sqlite3\" connection_string = \"/d/s\"", sql);
        let message = refused(&text);
        assert!(
            message.starts_with(&format!("server.conf:11: plugins.DataStore.sql: {expected}"))
                || message.starts_with(&format!("server.conf:10: plugins.DataStore.sql: {expected}")),
            "{sql}: {message}"
        );
        assert_eq!(message.lines().count(), 1, "one mistake, one message: {message}");
    }
}

#[test]
fn beside_another_way_in_k8s_psat_is_a_warning() {
    let (server, warnings) =
        read(&conf("", "NodeAttestor \"k8s_psat\" { plugin_data {} }\nNodeAttestor \"join_token\" {}"));
    assert_eq!(server.attestors.len(), 2);
    assert!(
        warnings[0].starts_with("server.conf:14: NodeAttestor \"k8s_psat\" needs a Kubernetes API"),
        "{warnings:?}"
    );
}

#[test]
fn what_is_missing_is_said() {
    assert_eq!(refused("plugins {}"), "server.conf:1: the block `server` is missing");
    assert_eq!(refused("server {}"), "server.conf:1: the block `plugins` is missing");
    assert_eq!(refused(""), "server.conf:1: the block `server` is missing");
    let all = refused("\nserver {}\nplugins {}");
    for what in
        ["trust_domain must be set", "data_dir must be set", "a DataStore must be set", "a KeyManager must be set"]
    {
        assert!(
            all.contains(&format!("server.conf:2: server: {what}"))
                || all.contains(&format!("server.conf:2: plugins: {what}")),
            "{all}"
        );
    }
}

#[test]
fn variables_are_expanded_where_that_is_asked_for() {
    let text = conf("", "").replace("example.org", "${TD}");
    assert!(refused(&text).contains("server.trust_domain: \"${TD}\" is not a trust domain"));
    let variable = |name: &str| (name == "TD").then(|| "other.test".to_owned());
    let (server, warnings) = parse_spire_config("server.conf", &text, Some(&variable)).unwrap();
    assert_eq!((server.trust_domain.value.as_str(), warnings.len()), ("other.test", 0));
    let errors = parse_spire_config("server.conf", &text, Some(&|_: &str| None)).unwrap_err();
    assert!(lines(&errors).contains("server.trust_domain: \"\" is not a trust domain"), "{}", lines(&errors));
}

#[test]
fn hcls_other_forms_are_read() {
    let text = conf("// a comment\n/* and\n another */ bind_port = 0x1F90", "NodeAttestor {\n join_token {}\n}")
        .replace("data_dir = \"/d\"", "data_dir = <<-EOF\n    /d\\x\n    EOF")
        .replace("\"example.org\"", "\"exa\\u006dple.org\"");
    let (server, _) = read(&text);
    assert_eq!((server.bind().1, server.data_dir.value.as_str()), (8080, "/d\\x\n"));
    assert_eq!((server.trust_domain.value.as_str(), server.attestors.len()), ("example.org", 1));
}

#[test]
fn a_mistake_in_a_config_map_has_the_line_of_its_file() {
    let map = |text: &str| {
        let inner: String = text.lines().map(|line| format!("    {line}\n")).collect();
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: spire-server\n  namespace: spire\ndata:\n  server.conf: |\n{inner}"
        )
    };
    assert_eq!(
        bad(&map(&conf("bind_prot = 1", ""))),
        "f.yaml:14: server: unknown field \"bind_prot\" (did you mean \"bind_port\"?)"
    );
    assert!(bad(&map(&conf("a = [", ""))).starts_with("f.yaml:15: column 1: not valid HCL"));
    let (set, _) = good(&map(&conf("", "")).replace("spire-server", "another"));
    assert!(set.spire_servers.is_empty(), "only SPIRE's own name counts");
}

/// Time and memory are linear in the size, whatever the text is.
#[test]
fn threat_15_hcl_bombs_are_refused() {
    let refused = |text: &str| lines(&parse_spire_config("f", text, None).unwrap_err());
    assert!(refused(&"a {".repeat(100_000)).contains("nested more than 48 levels deep"));
    assert!(refused(&("a = ".to_owned() + &"[".repeat(100_000))).contains("nested more than 48 levels deep"));
    assert!(refused(&("a ".repeat(100_000) + "{}")).contains("nested more than 48 levels deep"));
    let many: String = (0..2000).map(|number| format!("k{number} = 1\n")).collect();
    assert!(refused(&many).contains("more than 1000 entries in one block"));
    assert!(refused(&" ".repeat((1 << 20) + 1)).contains("the limit is 1048576"));
}
