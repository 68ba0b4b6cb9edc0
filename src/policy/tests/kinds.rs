//! Each kind's own rules.

use super::*;

#[test]
fn peer_authentication_ports() {
    let spec = "  portLevelMtls:\n    8080: {mode: STRICT}";
    assert!(bad(&object("PeerAuthentication", spec)).contains("ports can be set for selected workloads only"));
    let selector = "  selector: {matchLabels: {app: a}}\n";
    let ports = |ports: &str| bad(&object("PeerAuthentication", &format!("{selector}  portLevelMtls:{ports}")));
    assert!(ports(" {}").contains("no port is listed"));
    assert_eq!(ports("\n    0: {mode: STRICT}"), "f.yaml:8: spec.portLevelMtls: \"0\" is not a port: 1 to 65535");
    assert!(ports("\n    70000: {mode: STRICT}").contains("\"70000\" is not a port"));
    assert!(ports("\n    http: {mode: STRICT}").contains("\"http\" is not a port"));
    assert!(ports("\n    80: {mode: STRICT}\n    080: {mode: STRICT}").contains("port 80 is listed twice"));
    let (set, _) = good(&object("PeerAuthentication", &format!("{selector}  portLevelMtls:\n    \"80\":\n")));
    assert_eq!(set.peer_authentications[0].spec.port_modes[&80].value, MtlsMode::Unset);
}

#[test]
fn peer_authentication_selectors() {
    let labels = |labels: &str| object("PeerAuthentication", &format!("  selector: {{matchLabels: {labels}}}"));
    assert!(bad(&labels("{\"\": a}")).contains("a label without a name"));
    assert!(bad(&labels("{app: \"a*\"}")).contains("not a wildcard"));
    assert!(bad(&labels("{\"a*\": b}")).contains("not a wildcard"));
    let (set, warnings) = good(&labels("{}"));
    assert!(set.peer_authentications[0].spec.selector.is_none());
    assert!(warnings[0].contains("selects every workload"), "{warnings:?}");
}

#[test]
fn destination_rule_tls() {
    let tls = |tls: &str| object("DestinationRule", &format!("  host: a\n  trafficPolicy:\n    tls: {{{tls}}}"));
    let fault = |fields: &str| bad(&tls(fields));
    assert!(fault("mode: MUTUAL").contains("without clientCertificate and privateKey"));
    assert!(fault("mode: MUTUAL, clientCertificate: /c").contains("without privateKey"));
    assert!(fault("mode: MUTUAL, privateKey: /c").contains("without clientCertificate"));
    assert!(fault("mode: MUTUAL, credentialName: s, caCertificates: /c").contains("credentialName beside caCert"));
    assert!(fault("mode: SIMPLE, credentialName: s, caCertificates: /c").contains("credentialName beside caCert"));
    assert!(fault("mode: SIMPLE, clientCertificate: /c").contains("shows no certificate"));
    for field in ["caCertificates: /c", "credentialName: s", "subjectAltNames: [a]"] {
        let errors = fault(&format!("mode: SIMPLE, insecureSkipVerify: true, {field}"));
        assert!(errors.contains("insecureSkipVerify beside"), "{errors}");
    }
    good(&tls("mode: MUTUAL, credentialName: s"));
    good(&tls("mode: MUTUAL, credentialName: s, insecureSkipVerify: true"));
    assert!(good(&tls("mode: SIMPLE, insecureSkipVerify: true")).1[0].contains("accepts any server"));
    assert!(good(&tls("mode: ISTIO_MUTUAL, clientCertificate: /c")).1[0].contains("no effect in mode ISTIO_MUTUAL"));
    assert!(good(&tls("sni: a")).1[0].contains("this is plaintext"));
    assert!(fault("mode: SIMPLE, insecureSkipVerify: \"true\"").contains("found a string, expected true or false"));
}

#[test]
fn destination_rule_ports_and_subsets() {
    let (set, warnings) = good(&object(
        "DestinationRule",
        "  host: '*.local'
  exportTo: ['.']
  trafficPolicy:
    loadBalancer: {simple: ROUND_ROBIN}
    tls: {mode: ISTIO_MUTUAL}
    portLevelSettings:
    - port: {number: 80}
      connectionPool: {tcp: {maxConnections: 1}}
    - port: {number: 81}
      tls: {mode: DISABLE}
  subsets:
  - name: v1
    labels: {version: v1}
  workloadSelector: {matchLabels: {app: a}}",
    ));
    let rule = &set.destination_rules[0].spec;
    let policy = rule.traffic_policy.as_ref().unwrap();
    assert!(policy.port_tls[&80].is_none());
    assert_eq!(policy.port_tls[&81].as_ref().unwrap().value.mode, ClientTlsMode::Disable);
    assert_eq!(rule.subsets[0].labels.0["version"], "v1");
    assert!(rule.workload_selector.is_some());
    let at: Vec<_> = warnings.iter().map(|warning| warning.split(": ").nth(1).unwrap_or_default()).collect();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert_eq!(at[0], "spec.trafficPolicy.loadBalancer has no effect here");
    assert!(warnings[1].contains("port 80 has settings without tls"), "{warnings:?}");
    let twice = "  host: a\n  subsets: [{name: v1}, {name: v1}]\n  exportTo: ['*', x, Y]";
    let errors = bad(&object("DestinationRule", twice));
    assert!(errors.contains("defined twice") && errors.contains("stands beside"), "{errors}");
    assert!(errors.contains("\"Y\" is not a namespace"), "{errors}");
    for host in ["'a*.b'", "''", "'*.'", "'a..b'", "'-a'"] {
        assert!(bad(&object("DestinationRule", &format!("  host: {host}"))).contains("not a host name"), "{host}");
    }
}

#[test]
fn service() {
    let (set, warnings) = good(&object(
        "Service",
        "  type: ClusterIP
  clusterIP: 10.0.0.1
  clusterIPs: [10.0.0.1, 'fd00::1']
  sessionAffinity: None
  selector: {app: a}
  ports:
  - {name: http-web, port: 80, targetPort: 8080, protocol: TCP, nodePort: 30080}
  - {name: db, port: 5432, targetPort: pg}
  - {name: rpc, port: 9000, appProtocol: kubernetes.io/h2c}
  - {name: grpc-web-x, port: 9001}
  - {name: dns, port: 53, protocol: UDP}",
    ));
    let service = &set.services[0].spec;
    assert_eq!(service.cluster_ips.len(), 2);
    let protocols: Vec<_> = service.ports.iter().map(|port| port.protocol).collect();
    assert_eq!(protocols, [Protocol::Http, Protocol::Undeclared, Protocol::Http2, Protocol::Grpc]);
    assert_eq!(service.ports[0].target_port, Some(TargetPort::Number(8080)));
    assert_eq!(service.ports[1].target_port, Some(TargetPort::Name("pg".to_owned())));
    assert!(warnings[0].contains("only TCP is served"));
    assert!(bad(&object("Service", "  ports: [{port: 80, tragetPort: 1}]")).contains("did you mean \"targetPort\"?"));
    assert!(bad(&object("Service", "  ports: [{port: 80}, {port: 81, name: a}]")).contains("needs a name"));
    assert!(bad(&object("Service", "  ports: [{port: 0}]")).contains("0 is not a port"));
    assert!(good(&object("Service", "  clusterIP: None")).0.services[0].spec.cluster_ips.is_empty());
}

#[test]
fn service_entry() {
    let (set, _) = good(&object(
        "ServiceEntry",
        "  hosts: [a.example.com]
  addresses: [10.0.0.1, 10.0.0.2/32, 10.1.0.0/16]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
  - {number: 80, name: http, protocol: HTTP, targetPort: 8080}
  - {number: 443, name: web, protocol: https}
  - {number: 27017, name: mongo-x}
  endpoints:
  - {address: 10.2.0.1, ports: {http: 8081}, labels: {a: b}, serviceAccount: sa}",
    ));
    let entry = &set.service_entries[0].spec;
    assert!(entry.mesh_internal && entry.resolution == Resolution::Static);
    assert_eq!(entry.addresses.len(), 2);
    assert_eq!(entry.ports[1].protocol, Protocol::Tls);
    assert_eq!(entry.endpoints[0].ports["http"], 8081);
    let fault = |spec: &str| bad(&object("ServiceEntry", &format!("  hosts: [a.b]\n{spec}")));
    assert!(fault("  ports: [{number: 1, name: a, protocol: HTPT}]").contains("unknown protocol \"HTPT\""));
    assert!(fault("  endpoints: [{address: 1.2.3.4}]").contains("endpoints with resolution NONE"));
    assert!(fault("  resolution: STATIC\n  endpoints: [{address: a.b}]").contains("needs an IP address"));
    let both = "  resolution: STATIC\n  endpoints: [{address: 1.2.3.4}]\n  workloadSelector: {labels: {a: b}}";
    assert!(fault(both).contains("beside a workloadSelector"));
    let port = "  resolution: STATIC\n  endpoints: [{address: 1.2.3.4, ports: {x: 1}}]";
    assert!(fault(port).contains("none of spec.ports"));
    assert!(bad(&object("ServiceEntry", "  hosts: ['*.b']\n  resolution: DNS")).contains("cannot be resolved"));
    assert!(bad(&object("ServiceEntry", "  hosts: []")).contains("no host"));
}

#[test]
fn workload_entry() {
    let text = "apiVersion: networking.istio.io/v1beta1\nkind: WorkloadEntry\nmetadata:\n  name: w\n  labels: {app: old, tier: x}\nspec:\n  address: 127.0.0.1\n  labels: {app: new}\n  network: n\n";
    let (set, warnings) = good(text);
    let entry = &set.workload_entries[0].spec;
    assert_eq!((entry.labels["app"].as_str(), entry.labels["tier"].as_str()), ("new", "x"));
    assert_eq!(entry.service_account, None);
    assert_eq!(warnings, ["f.yaml:9: spec.network has no effect here"]);
    assert!(bad(&object("WorkloadEntry", "  address: 'a:80'")).contains("no address"));
    assert!(bad(&object("WorkloadEntry", "  weight: 1")).contains("the field \"address\" is missing"));
}

#[test]
fn sidecar() {
    let (set, warnings) = good(&object(
        "Sidecar",
        "  workloadSelector: {labels: {app: a}}
  ingress:
  - port: {number: 9080, protocol: HTTP, name: web}
    bind: 0.0.0.0
    captureMode: NONE
    defaultEndpoint: 127.0.0.1:8080
  - {port: {number: 9081, name: grpc-a}, defaultEndpoint: 'unix:///run/app.sock'}
  - {port: {number: 9082, name: x}, captureMode: IPTABLES, defaultEndpoint: '[::1]:1'}
  egress:
  - {port: {number: 15080, protocol: HTTP_PROXY}, hosts: ['*/*']}
  - hosts: ['./*', 'prod/*.example.com', '~/*']
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}",
    ));
    let sidecar = &set.sidecars[0].spec;
    assert_eq!(sidecar.ingress[0].default_endpoint, "127.0.0.1:8080".parse().ok().map(Endpoint::Socket));
    assert_eq!(sidecar.ingress[1].default_endpoint, Some(Endpoint::Unix("/run/app.sock".to_owned())));
    assert_eq!(sidecar.ingress[1].protocol, Protocol::Grpc);
    assert_eq!(sidecar.egress[0].port.as_ref().map(|port| port.protocol), Some(Protocol::HttpProxy));
    assert!(sidecar.egress[1].port.is_none());
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let endpoint = |endpoint: &str| {
        bad(&object("Sidecar", &format!("  ingress: [{{port: {{number: 1}}, defaultEndpoint: '{endpoint}'}}]")))
    };
    for wrong in ["8080", "10.0.0.1:80", "127.0.0.1", "localhost:80", "unix://x", "127.0.0.1:0"] {
        assert!(endpoint(wrong).contains("spec.ingress[0].defaultEndpoint"), "{wrong}");
    }
    for wrong in ["a.b", "NS/a", "a/b c", "/a"] {
        let errors = bad(&object("Sidecar", &format!("  egress: [{{hosts: ['{wrong}']}}]")));
        assert!(errors.contains("spec.egress[0].hosts"), "{errors}");
    }
    let twice = bad(&object("Sidecar", "  ingress: [{port: {number: 1}}, {port: {number: 1}}]"));
    assert!(twice.contains("two ingress listeners"), "{twice}");
}

#[test]
fn metadata() {
    let with = |metadata: &str| format!("apiVersion: v1\nkind: Service\nmetadata: {{{metadata}}}\n");
    good(&with("name: a, uid: x, resourceVersion: '1', generation: 1, managedFields: [], creationTimestamp: null"));
    assert!(bad(&with("name: a, lables: {}")).contains("did you mean \"labels\"?"));
    assert!(bad(&with("name: ../etc")).contains("not a valid name"));
    assert!(bad(&with("name: a, namespace: A")).contains("not a valid namespace"));
    assert!(bad(&with("generateName: a-")).contains("the field \"name\" is missing"));
    assert!(bad(&with("name: a, creationTimestamp: yesterday")).contains("not a time"));
    assert_eq!(good(&with("name: a")).0.services[0].meta.namespace, "default");
    let staged = |value: &str| with(&format!("name: a, annotations: {{countersign.dev/staged: {value}}}"));
    assert!(good(&with("name: a")).0.services[0].meta.is_staged());
    assert!(good(&staged("\"true\"")).0.services[0].meta.is_staged());
    assert!(!good(&staged("\"false\"")).0.services[0].meta.is_staged());
    assert!(bad(&staged("\"no\"")).contains("not a value of countersign.dev/staged"));
}
