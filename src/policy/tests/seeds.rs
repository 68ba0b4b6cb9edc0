//! The policies that users start from.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;

const ISTIO: &str = include_str!("../../../config/policies/seed/istio.yaml");
const CERT_MANAGER: &str = include_str!("../../../config/policies/seed/cert-manager.yaml");
const LINKERD: &str = include_str!("../../../config/policies/seed/linkerd.yaml");
const SPIRE: &str = include_str!("../../../config/policies/seed/spire.yaml");

#[test]
fn istio() {
    let (set, warnings) = good(ISTIO);
    assert_eq!(warnings, Vec::<String>::new());
    let names: Vec<_> =
        set.peer_authentications.iter().map(|p| format!("{}/{}", p.meta.namespace, p.meta.name)).collect();
    assert_eq!(names, ["istio-system/default", "legacy-namespace/default", "production/payment-service"]);
    let payment = &set.peer_authentications[2].spec;
    assert_eq!(payment.mode.as_ref().map(|mode| mode.value), Some(MtlsMode::Strict));
    assert_eq!(payment.port_modes[&8080].value, MtlsMode::Strict);
    assert_eq!(payment.port_modes[&9090].value, MtlsMode::Disable);
    assert_eq!(payment.port_modes[&9090].at.line, 34);
    assert_eq!(set.destination_rules.len(), 3);
    let partner = &set.destination_rules[1];
    assert_eq!((partner.meta.namespace.as_str(), partner.meta.name.as_str()), ("default", "partner-api"));
    let tls = &partner.spec.traffic_policy.as_ref().unwrap().tls.as_ref().unwrap().value;
    assert_eq!(tls.mode, ClientTlsMode::Mutual);
    assert_eq!(tls.private_key.as_deref(), Some("/etc/certs/client-key.pem"));
}

#[test]
fn cert_manager_with_real_material() {
    let text = CERT_MANAGER
        .replace("<base64-encoded-ca-cert>", &STANDARD.encode("certificate"))
        .replace("<base64-encoded-ca-key>", &STANDARD.encode("key"));
    let (set, warnings) = good(&text);
    assert_eq!(set.secrets[0].spec.kind, "kubernetes.io/tls");
    assert_eq!(set.secrets[0].spec.data["tls.key"].as_slice(), b"key");
    assert_eq!(warnings, Vec::<String>::new());
    let Issuer::Ca(ca) = &set.cluster_issuers[0].spec else { panic!("{:?}", set.cluster_issuers) };
    assert_eq!(ca.secret_name.value, "istio-ca-secret");
    let certificate = &set.certificates[0].spec;
    assert_eq!(certificate.secret_name.value, "my-service-tls");
    let issuer = IssuerRef { kind: IssuerKind::ClusterIssuer, name: "istio-ca".to_owned() };
    assert_eq!(certificate.issuer.value, issuer);
    let hours = |hours: u64| std::time::Duration::from_secs(hours * 3600);
    assert_eq!((certificate.duration, certificate.renew_before), (hours(24), RenewBefore::Time(hours(8))));
    assert_eq!(certificate.names.dns.len(), 4);
    assert_eq!(certificate.usages, [KeyUsage::ServerAuth, KeyUsage::ClientAuth]);
}

#[test]
fn cert_manager_with_its_placeholders() {
    let errors = bad(CERT_MANAGER);
    assert!(errors.contains("data[\"tls.crt\"]: not base64 (this is a placeholder"), "{errors}");
    assert!(errors.contains("data[\"tls.key\"]") && !errors.contains("encoded-ca"), "{errors}");
}

#[test]
fn linkerd() {
    let (set, warnings) = good(LINKERD);
    assert_eq!(warnings, Vec::<String>::new());
    let server = &set.servers[0];
    assert_eq!((server.meta.namespace.as_str(), server.meta.name.as_str()), ("my-namespace", "external-api"));
    assert_eq!(server.spec.selector.as_ref().unwrap().labels.0["app"], "my-app");
    assert_eq!(server.spec.port.value, linkerd::PortRef::Name("external-api".into()));
    assert_eq!(server.spec.protocol.as_ref().unwrap().value, linkerd::ProxyProtocol::Http1);
    let skipped = set.services[0].meta.linkerd.skip_outbound_ports.as_ref().unwrap();
    assert!(skipped.value.contains(3306, None) && !skipped.value.contains(3307, None));
    assert_eq!(skipped.at.line, 18);
}

#[test]
fn spire() {
    let (set, warnings) = good(SPIRE);
    let psat = "f.yaml:26: NodeAttestor \"k8s_psat\" needs a Kubernetes API, and none is configured: use \"join_token\" or \"x509pop\", which both work without one";
    assert_eq!(warnings, [psat]);
    let server = &set.spire_servers[0].spec;
    assert_eq!(server.bind(), ("0.0.0.0", 8081));
    assert_eq!((server.trust_domain.value.as_str(), server.trust_domain.at.line), ("example.org", 11));
    assert_eq!(server.data_dir.value, "/run/spire/data");
    assert_eq!(server.log_level.as_ref().map(|it| it.value), Some(LogLevel::Info));
    assert_eq!((server.ca_ttl().as_secs(), server.svid_ttl().as_secs()), (168 * 3600, 3600));
    assert_eq!(server.store.value, "/run/spire/data/datastore.sqlite3");
    assert_eq!((server.key_manager.value, server.key_manager.at.line), (KeyManager::Memory, 36));
    let upstream = server.upstream.as_ref().unwrap();
    assert_eq!(upstream.value.certificate, "/run/spire/secrets/bootstrap.crt");
    assert_eq!(upstream.value.key, "/run/spire/secrets/bootstrap.key");
    assert_eq!((upstream.value.bundle.as_deref(), upstream.at.line), (None, 40));
}
