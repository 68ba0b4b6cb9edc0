//! Istio's MeshConfig, in a ConfigMap and in the configuration.

use super::*;

/// Line 7 is the first of the text.
fn map(mesh: &str) -> String {
    let indented: String = mesh.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: istio\n  namespace: istio-system\ndata:\n  mesh: |-\n{indented}"
    )
}

const CERTIFICATE: &str = include_str!("../../analysis/tests/rsa_1024.pem");

fn certificate() -> String {
    let start = CERTIFICATE.find("-----BEGIN CERTIFICATE-----").expect("the file has a certificate");
    CERTIFICATE[start..].trim_end().to_owned()
}

#[test]
fn every_field_is_read_from_the_config_map() {
    let pem: String = certificate().lines().map(|line| format!("    {line}\n")).collect();
    let (set, warnings) = good(&map(&format!(
        "trustDomain: prod.example\ntrustDomainAliases: [old.example]\nenableAutoMtls: false\nrootNamespace: policies\n\
         meshMTLS:\n  minProtocolVersion: TLSV1_3\n  cipherSuites: [ECDHE-RSA-AES256-GCM-SHA384]\n\
         tlsDefaults:\n  ecdhCurves: [P-256, P-384]\n\
         outboundTrafficPolicy:\n  mode: REGISTRY_ONLY\nproxyHttpPort: 15002\n\
         caCertificates:\n- trustDomains: [partner.example]\n  pem: |\n{pem}"
    )));
    assert_eq!(warnings, Vec::<String>::new());
    let config = &set.mesh_configs[0].spec;
    assert_eq!(config.trust_domain.as_ref().unwrap().value, "prod.example");
    assert_eq!(config.trust_domain.as_ref().unwrap().at.to_string(), "f.yaml:8");
    assert_eq!(config.trust_domain_aliases.as_ref().unwrap().value, ["old.example"]);
    assert!(!config.enable_auto_mtls.as_ref().unwrap().value);
    assert_eq!(config.root_namespace.as_ref().unwrap().value, "policies");
    let mesh = &config.mesh_mtls.as_ref().unwrap().value;
    assert_eq!(
        (mesh.minimum, mesh.cipher_suites.as_slice()),
        (Some(TlsVersion::V1_3), &["ECDHE-RSA-AES256-GCM-SHA384".to_owned()][..])
    );
    assert_eq!(config.tls_defaults.as_ref().unwrap().value.ecdh_curves, ["P-256", "P-384"]);
    assert_eq!(config.outbound_traffic_policy.as_ref().unwrap().value, OutboundTrafficPolicy::RegistryOnly);
    assert_eq!(config.proxy_http_port.as_ref().unwrap().value, 15002);
    let authority = &config.ca_certificates.as_ref().unwrap().value[0];
    assert_eq!(authority.trust_domains, ["partner.example"]);
    assert!(authority.pem.starts_with("-----BEGIN CERTIFICATE-----"));
}

#[test]
fn a_mistake_in_the_text_has_the_line_of_the_file() {
    let fault = |mesh: &str| bad(&map(mesh));
    assert_eq!(
        fault("# a comment\nenableAutoMtls: \"no\""),
        "f.yaml:9: enableAutoMtls: found a string, expected true or false (without quotes, and not yes, no, on or off)"
    );
    assert_eq!(
        fault("meshMTLS:\n  minProtocolVersion: TLSV1_1"),
        "f.yaml:9: meshMTLS.minProtocolVersion: unknown value \"TLSV1_1\" (did you mean \"TLSV1_3\"?)"
    );
    assert_eq!(
        fault("meshMTLS:\n  cipherSuites:\n  - ECDHE-RSA-AES256-GCM-SHA348"),
        "f.yaml:10: meshMTLS.cipherSuites: \"ECDHE-RSA-AES256-GCM-SHA348\" is no cipher suite of TLS 1.2 that Envoy knows \
         (did you mean \"ECDHE-RSA-AES256-GCM-SHA384\"?)"
    );
    assert_eq!(
        fault("meshMTLS:\n  ecdhCurves: [P-256]"),
        "f.yaml:9: meshMTLS.ecdhCurves: curves are for tlsDefaults only (remove them, as in Istio)"
    );
    assert_eq!(
        fault("trustDomain: Prod.Example"),
        "f.yaml:8: trustDomain: not a trust domain (lower-case letters, digits, \".\", \"-\" and \"_\", without spiffe://)"
    );
    assert_eq!(fault("trustDomainAliases:\n- spiffe://old").split(": ").next(), Some("f.yaml:9"));
    assert_eq!(fault("rootNamespace: A"), "f.yaml:8: rootNamespace: not a namespace");
    assert_eq!(fault("proxyHttpPort: 70000"), "f.yaml:8: proxyHttpPort: 70000 is not a port: 1 to 65535");
    assert_eq!(fault("caCertificates:\n- pem: x"), "f.yaml:9: caCertificates[0].pem: not a PEM certificate");
    assert_eq!(
        fault("caCertificates:\n- spiffeBundleUrl: https://a.example"),
        "f.yaml:9: caCertificates[0]: spiffeBundleUrl is not fetched (put the bundle's certificates into pem)"
    );
    assert_eq!(
        fault("outboundTrafficPolicy:\n  mode: ALLOW_NONE"),
        "f.yaml:9: outboundTrafficPolicy.mode: unknown value \"ALLOW_NONE\" (did you mean \"ALLOW_ANY\"?)"
    );
    assert!(fault("trustDomain: [").starts_with("f.yaml:8: column "), "{}", fault("trustDomain: ["));
    assert_eq!(fault("- a"), "f.yaml:8: found a list, expected a mapping");
    assert_eq!(fault("a: b\n---\nc: d"), "f.yaml:8: data.mesh: a second document: a MeshConfig is one");
}

#[test]
fn blank_lines_before_the_text_are_counted() {
    let text = map("enableAutoMtls: 1").replace("mesh: |-\n", "mesh: |-   # Istio's own\n\n\n");
    assert_eq!(bad(&text), "f.yaml:10: enableAutoMtls: found a number, expected true or false");
}

#[test]
fn a_text_that_is_no_block_has_the_place_of_its_value() {
    let quoted =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio}\ndata:\n  mesh: \"a: 1\\nenableAutoMtls: 2\"\n";
    assert_eq!(bad(quoted), "f.yaml:5: enableAutoMtls: found a number, expected true or false");
    let nested = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio}\ndata:\n  mesh: {trustDomain: a}\n";
    assert_eq!(bad(nested), "f.yaml:5: data.mesh: found a mapping, expected a string: a YAML document in text");
}

#[test]
fn what_has_no_effect_is_a_warning_with_its_line() {
    let (set, warnings) = good(&map("accessLogFile: /dev/stdout\ntrustDomian: a\nfrobnicate: 1\ndefaultConfig: {}"));
    assert_eq!(set.mesh_configs[0].spec, MeshConfig::default());
    assert_eq!(
        warnings,
        [
            "f.yaml:8: accessLogFile of Istio's MeshConfig has no effect here",
            "f.yaml:9: Istio's MeshConfig has no field \"trustDomian\" (did you mean \"trustDomain\"?)",
            "f.yaml:10: Istio's MeshConfig has no field \"frobnicate\"",
            "f.yaml:11: defaultConfig of Istio's MeshConfig has no effect here",
        ]
    );
    let networks = map("{}") + "  meshNetworks: |\n    networks:\n      a: {}\n";
    assert_eq!(good(&networks).1, ["f.yaml:10: data.meshNetworks has no effect here"]);
    let usual = map("{}") + "  meshNetworks: 'networks: {}'\n";
    assert_eq!(good(&usual).1, Vec::<String>::new());
}

#[test]
fn other_config_maps_are_not_read() {
    let other = map("enableAutoMtls: x").replace("name: istio\n", "name: istio-sidecar-injector\n");
    let (set, warnings) = good(&other);
    assert_eq!((set.mesh_configs.len(), warnings), (0, vec!["f.yaml:1: v1 ConfigMap is not read".to_owned()]));
}

#[test]
fn the_configuration_is_read_by_the_same_rules() {
    let text = "cluster: a\nmeshConfig:\n  enableAutoMtls: false\n  accessLogFile: x\n";
    let (config, warnings) = parse_mesh_config("c.yaml", text).unwrap();
    assert_eq!(
        config.enable_auto_mtls.as_ref().map(|it| (it.value, it.at.to_string())),
        Some((false, "c.yaml:3".into()))
    );
    assert_eq!(warnings[0].to_string(), "c.yaml:4: meshConfig.accessLogFile of Istio's MeshConfig has no effect here");
    let errors = parse_mesh_config("c.yaml", "meshConfig:\n  proxyHttpPort: x\n").unwrap_err();
    assert_eq!(
        lines(&errors),
        "c.yaml:2: meshConfig.proxyHttpPort: found a string, expected a number (remove the quotes, if it has any)"
    );
    let errors = parse_mesh_config("c.yaml", "meshConfig: []\n").unwrap_err();
    assert_eq!(lines(&errors), "c.yaml:1: meshConfig: found a list, expected a mapping");
    assert_eq!(parse_mesh_config("c.yaml", "").unwrap(), (MeshConfig::default(), Vec::new()));
}
