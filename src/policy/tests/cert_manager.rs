//! cert-manager's kinds, and ReferenceGrants: every field, every default, and what is refused in which words.

use std::time::Duration;

use super::*;
use crate::policy::go_duration;

const HOUR: Duration = Duration::from_secs(3600);

fn document(kind: &str, spec: &str) -> String {
    let version = if kind == "ReferenceGrant" { "gateway.networking.k8s.io/v1beta1" } else { "cert-manager.io/v1" };
    format!("apiVersion: {version}\nkind: {kind}\nmetadata:\n  name: it\nspec:\n{spec}\n")
}

/// Fields beside those that are required, in lines from 9 on.
fn certificate(fields: &str) -> String {
    let fields: String = fields.lines().map(|line| format!("  {line}\n")).collect();
    document(
        "Certificate",
        &format!("  secretName: it-tls\n  issuerRef: {{name: ca}}\n  dnsNames: [a.example]\n{fields}"),
    )
}

fn read(fields: &str) -> Certificate {
    let (set, warnings) = good(&certificate(fields));
    assert_eq!(warnings, Vec::<String>::new());
    set.certificates[0].spec.clone()
}

fn refused(fields: &str) -> String {
    bad(&certificate(fields))
}

#[test]
fn durations_as_go_writes_them() {
    for (text, seconds) in [
        ("24h", 86400.0),
        ("1h30m", 5400.0),
        ("2160h0m0s", 7_776_000.0),
        ("1.5h", 5400.0),
        ("0", 0.0),
        ("300ms", 0.3),
        ("1m0.5s", 60.5),
    ] {
        assert_eq!(go_duration::parse(text), Some(Duration::from_secs_f64(seconds)), "{text}");
    }
    for text in ["", "24", "h", "1d", "90days", "-1h", "1h ", "1..5h", "1 h", "9999999999999h", "١h"] {
        assert_eq!(go_duration::parse(text), None, "{text}");
    }
    for text in ["24h0m0s", "5m0s", "1.5s", "0s", "1h0m0.25s"] {
        assert_eq!(go_duration::print(go_duration::parse(text).unwrap()), text);
    }
}

#[test]
fn a_certificates_defaults() {
    let it = read("");
    assert_eq!((it.duration, it.renew_before), (2160 * HOUR, RenewBefore::Third));
    assert_eq!(it.usages, [KeyUsage::DigitalSignature, KeyUsage::KeyEncipherment]);
    assert_eq!(it.private_key.algorithm, PrivateKeyAlgorithm::Rsa(2048));
    assert_eq!((it.private_key.encoding, it.private_key.rotation), (PrivateKeyEncoding::Pkcs1, RotationPolicy::Always));
    assert_eq!((it.is_ca, &it.name_constraints, &it.common_name), (false, &None, &None));
    assert_eq!(it.issuer.value, IssuerRef { kind: IssuerKind::Issuer, name: "ca".to_owned() });
    assert_eq!(it.renew_before(90 * HOUR), 30 * HOUR);
}

#[test]
fn a_certificate_with_everything() {
    let it = read(
        "commonName: a\nduration: 48h\nrenewBeforePercentage: 25\nipAddresses: [10.0.0.1, 'fd00::1']\n\
         uris: ['spiffe://td/ns/a/sa/b']\nemailAddresses: [a@b.example]\nisCA: true\n\
         subject: {organizations: [o, p], countries: [CH], organizationalUnits: [u], localities: [l], provinces: [z], streetAddresses: [s], postalCodes: ['1'], serialNumber: '7'}\n\
         usages: [signing, content commitment, key agreement, cert sign, crl sign, any, s/mime, ocsp signing]\n\
         privateKey: {algorithm: ECDSA, size: 384, encoding: PKCS8, rotationPolicy: Never}\n\
         secretTemplate: {annotations: {a: b}, labels: {c: d}}\nrevisionHistoryLimit: 3\nencodeUsagesInRequest: false\n\
         additionalOutputFormats: [{type: CombinedPEM}, {type: DER}]\n\
         nameConstraints: {critical: true, permitted: {dnsDomains: [a.example], ipRanges: [10.0.0.0/8]}, excluded: {emailAddresses: [.b.example], uriDomains: [c.example]}}",
    );
    assert_eq!((it.duration, it.renew_before), (48 * HOUR, RenewBefore::Percentage(25)));
    assert_eq!(it.renew_before(48 * HOUR), 12 * HOUR);
    assert_eq!(it.ip_addresses().len(), 2);
    assert_eq!(it.subject.organizations, ["o", "p"]);
    assert_eq!(it.subject.serial_number.as_deref(), Some("7"));
    assert_eq!(it.usages.len(), 8);
    assert_eq!(it.private_key.algorithm, PrivateKeyAlgorithm::Ecdsa(384));
    assert_eq!((it.private_key.encoding, it.private_key.rotation), (PrivateKeyEncoding::Pkcs8, RotationPolicy::Never));
    assert_eq!((&*it.secret_template.annotations["a"], &*it.secret_template.labels["c"]), ("b", "d"));
    assert_eq!(it.output_formats, [OutputFormat::Der, OutputFormat::CombinedPem]);
    let constraints = it.name_constraints.unwrap();
    assert!(
        constraints.critical && constraints.permitted.dns == ["a.example"] && constraints.excluded.uri == ["c.example"]
    );
    let it = read("privateKey: {algorithm: Ed25519}");
    assert_eq!(it.private_key.algorithm, PrivateKeyAlgorithm::Ed25519);
    for size in [2048, 3072, 4096] {
        let it = read(&format!("privateKey: {{size: {size}}}"));
        assert_eq!(it.private_key.algorithm, PrivateKeyAlgorithm::Rsa(size));
    }
}

#[test]
fn what_is_refused_says_where_and_what_to_do() {
    for (fields, error) in [
        ("duration: 59m", "f.yaml:9: spec.duration: 59m0s is shorter than an hour, the minimum"),
        (
            "duration: 90d",
            "f.yaml:9: spec.duration: not a duration (numbers with units, such as 24h, 1h30m or 45m; there is no unit for days: 90 days are 2160h)",
        ),
        ("renewBefore: 4m", "f.yaml:9: spec.renewBefore: 4m0s before the end is less than five minutes, the minimum"),
        (
            "duration: 24h\nrenewBefore: 24h",
            "f.yaml:10: spec.renewBefore: 24h0m0s before the end is not within the certificate's 24h0m0s (it would be renewed without end: make it shorter than duration)",
        ),
        ("renewBeforePercentage: 100", "f.yaml:9: spec.renewBeforePercentage: 100 is not within 1 to 99"),
        ("renewBeforePercentage: 0", "f.yaml:9: spec.renewBeforePercentage: 0 is not within 1 to 99"),
        (
            "duration: 1h\nrenewBeforePercentage: 1",
            "f.yaml:10: spec.renewBeforePercentage: 36s before the end is less than five minutes, the minimum",
        ),
        (
            "renewBefore: 1h\nrenewBeforePercentage: 5",
            "f.yaml:10: spec.renewBeforePercentage: renewBefore and renewBeforePercentage say the same thing in two ways (remove one of the two)",
        ),
        (
            "commonName: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "f.yaml:9: spec.commonName: 65 bytes, and a common name has at most 64 (put the name into dnsNames, and leave commonName out)",
        ),
        (
            "ipAddresses: [10.0.0.1/8]",
            "f.yaml:9: spec.ipAddresses[0]: not an IP address (without brackets, port or prefix length)",
        ),
        ("uris: [nothing]", "f.yaml:9: spec.uris[0]: not a URI (scheme and what follows, in ASCII: spiffe://…)"),
        (
            "emailAddresses: [\"A <a@b.example>\"]",
            "f.yaml:9: spec.emailAddresses[0]: not an email address (name@host, and nothing around it)",
        ),
        (
            "usages: [server-auth]",
            "f.yaml:9: spec.usages[0]: unknown value \"server-auth\" (did you mean \"server auth\"?)",
        ),
        (
            "privateKey: {algorithm: rsa}",
            "f.yaml:9: spec.privateKey.algorithm: unknown value \"rsa\" (did you mean \"RSA\"?)",
        ),
        (
            "privateKey: {size: 1024}",
            "f.yaml:9: spec.privateKey.size: 1024 is no size of an RSA key that is made here (2048, 3072 or 4096)",
        ),
        (
            "privateKey: {algorithm: ECDSA, size: 2048}",
            "f.yaml:9: spec.privateKey.size: 2048 is no size of an ECDSA key that is made here (256, 384 or 521)",
        ),
        (
            "privateKey: {encoding: PKCS12}",
            "f.yaml:9: spec.privateKey.encoding: unknown value \"PKCS12\" (did you mean \"PKCS1\"?)",
        ),
        (
            "privateKey: {rotationPolicy: Sometimes}",
            "f.yaml:9: spec.privateKey.rotationPolicy: unknown value \"Sometimes\" (known here: Never, Always)",
        ),
        ("revisionHistoryLimit: 0", "f.yaml:9: spec.revisionHistoryLimit: 0 is less than 1"),
        (
            "nameConstraints: {permitted: {dnsDomains: [a.example]}}",
            "f.yaml:9: spec.nameConstraints: only an authority has them (set isCA, or remove nameConstraints)",
        ),
        (
            "isCA: true\nnameConstraints: {critical: true}",
            "f.yaml:10: spec.nameConstraints: neither permitted nor excluded has an entry",
        ),
        (
            "isCA: true\nnameConstraints: {permitted: {ipRanges: [10.0.0.0/33]}}",
            "f.yaml:10: spec.nameConstraints.permitted.ipRanges[0]: not an IP range (such as 10.0.0.0/8)",
        ),
        (
            "secretTemplate: {annotations: {cert-manager.io/issuer-name: other}}",
            "f.yaml:9: spec.secretTemplate.annotations: annotations cert-manager.io/… are the controller's own (remove it)",
        ),
        ("subject: {organizations: ['']}", "f.yaml:9: spec.subject.organizations[0]: a part of a name is not empty"),
        ("dnsName: [x]", "f.yaml:9: spec: unknown field \"dnsName\" (did you mean \"dnsNames\"?)"),
        (
            "privateKey: {algoritm: RSA}",
            "f.yaml:9: spec.privateKey: unknown field \"algoritm\" (did you mean \"algorithm\"?)",
        ),
        (
            "additionalOutputFormats: [{type: PEM}]",
            "f.yaml:9: spec.additionalOutputFormats[0].type: unknown value \"PEM\" (known here: DER, CombinedPEM)",
        ),
    ] {
        assert_eq!(refused(fields), error, "{fields}");
    }
    for field in ["literalSubject: CN=a", "otherNames: []"] {
        assert!(refused(field).starts_with("f.yaml:9: spec"), "{}", refused(field));
    }
}

#[test]
fn what_has_no_effect_is_a_warning() {
    let (_, warnings) = good(&certificate("keystores: {jks: {create: true}}\nsignatureAlgorithm: SHA256WithRSA"));
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("f.yaml:9: ") && warnings[0].contains("keystores"), "{warnings:?}");
    let (_, warnings) = good(&certificate("privateKey: {algorithm: Ed25519, size: 256}"));
    assert_eq!(warnings, ["f.yaml:9: spec.privateKey.size has no effect: Ed25519 keys have one size"]);
}

#[test]
fn a_certificate_has_a_name_a_secret_and_an_issuer() {
    let errors = bad(&document("Certificate", "  secretName: a\n  issuerRef: {name: ca}"));
    assert_eq!(
        errors,
        "f.yaml:1: spec: the certificate is to have no name (commonName, dnsNames, ipAddresses, uris or emailAddresses)"
    );
    let errors = bad(&document("Certificate", "  issuerRef: {name: ca}\n  commonName: a"));
    assert_eq!(errors, "f.yaml:6: spec: the field \"secretName\" is missing");
    let errors = bad(&document("Certificate", "  secretName: A\n  issuerRef: {name: ca}\n  commonName: a"));
    assert_eq!(
        errors,
        "f.yaml:6: spec.secretName: not a valid name of a Secret (lower-case letters, digits, \"-\" and \".\", 253 at most)"
    );
    for (reference, error) in [
        (
            "{name: ca, kind: clusterissuer}",
            "f.yaml:7: spec.issuerRef.kind: neither Issuer nor ClusterIssuer (did you mean \"ClusterIssuer\"?)",
        ),
        (
            "{name: ca, group: awspca.cert-manager.io}",
            "f.yaml:7: spec.issuerRef.group: issuers of other groups are not served (issuers of cert-manager.io are served here; leave the field out)",
        ),
        ("{kind: Issuer}", "f.yaml:7: spec.issuerRef: the field \"name\" is missing"),
    ] {
        let errors =
            bad(&document("Certificate", &format!("  secretName: a\n  issuerRef: {reference}\n  commonName: a")));
        assert_eq!(errors, error);
    }
}

#[test]
fn issuers() {
    let (set, warnings) = good(&document(
        "Issuer",
        "  ca:\n    secretName: ca\n    crlDistributionPoints: ['http://a.example/crl']\n    ocspServers: ['http://ocsp.example']\n    issuingCertificateURLs: ['https://a.example/ca.crt']",
    ));
    assert_eq!(warnings, Vec::<String>::new());
    let Issuer::Ca(ca) = &set.issuers[0].spec else { panic!("{set:?}") };
    assert_eq!((&*ca.secret_name.value, ca.crl_distribution_points.len(), ca.ocsp_servers.len()), ("ca", 1, 1));
    assert_eq!(ca.issuing_certificate_urls, ["https://a.example/ca.crt"]);
    let (set, _) = good(&document("ClusterIssuer", "  selfSigned: {}"));
    assert_eq!(set.cluster_issuers[0].spec, Issuer::SelfSigned { crl_distribution_points: Vec::new() });
    assert_eq!(set.cluster_issuers[0].meta.namespace, "", "it is in no namespace");
}

#[test]
fn issuers_of_other_types_name_what_is_supported() {
    for name in ["acme", "vault", "venafi"] {
        let errors = bad(&document("ClusterIssuer", &format!("  {name}: {{server: x}}")));
        assert_eq!(
            errors,
            format!(
                "f.yaml:6: spec.{name}: this issuer type is not served (supported here are ca and selfSigned; leave Certificates of other issuers to cert-manager, and give their Secrets)"
            )
        );
    }
    assert_eq!(bad(&document("Issuer", "  {}")), "f.yaml:1: spec: the issuer has no type (ca or selfSigned)");
    let both = document("Issuer", "  ca: {secretName: a}\n  selfSigned: {}");
    assert_eq!(
        bad(&both),
        "f.yaml:7: spec.selfSigned: an issuer has one type, and this one has both ca and selfSigned (remove one of the two)"
    );
    let errors = bad(&document("Issuer", "  ca: {secretName: a, crlDistributionPoints: [here]}"));
    assert_eq!(
        errors,
        "f.yaml:6: spec.ca.crlDistributionPoints[0]: not a URL (http://…, https://…, ldap://… or ldaps://…)"
    );
    let errors = bad(&document("Issuer", "  ca: {secretNam: a}"));
    assert!(errors.contains("unknown field \"secretNam\" (did you mean \"secretName\"?)"), "{errors}");
    let errors = bad(
        "apiVersion: cert-manager.io/v1\nkind: ClusterIssuer\nmetadata: {name: a, namespace: b}\nspec: {selfSigned: {}}\n",
    );
    assert_eq!(errors, "f.yaml:3: metadata.namespace: this kind is in no namespace (remove it)");
}

#[test]
fn kinds_and_versions_of_cert_manager() {
    let errors = bad("apiVersion: cert-manager.io/v1alpha2\nkind: Certificate\nmetadata: {name: a}\n");
    assert!(
        errors.contains(
            "Certificate has no apiVersion \"cert-manager.io/v1alpha2\" (did you mean \"cert-manager.io/v1\"?)"
        ),
        "{errors}"
    );
    let errors = bad("apiVersion: cert-manager.io/v1\nkind: Certificat\nmetadata: {name: a}\n");
    assert!(errors.contains("did you mean \"Certificate\"?"), "{errors}");
    for other in [
        "cert-manager.io/v1\nkind: CertificateRequest",
        "networking.internal.knative.dev/v1alpha1\nkind: Certificate",
        "acme.cert-manager.io/v1\nkind: Order",
    ] {
        let (_, warnings) = good(&format!("apiVersion: {other}\nmetadata: {{name: a}}\n"));
        assert_eq!(warnings.len(), 1, "{other}");
    }
}

#[test]
fn reference_grants() {
    let (set, warnings) = good(&document(
        "ReferenceGrant",
        "  from:\n  - {group: gateway.networking.k8s.io, kind: Gateway, namespace: edge}\n  - {group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: other}\n\
           \x20 to:\n  - {group: '', kind: Secret, name: a}\n  - {group: '', kind: Service}",
    ));
    assert_eq!(
        warnings,
        [
            "f.yaml:8: spec.from[1]: only references by Gateways are looked at",
            "f.yaml:11: spec.to[1]: only references to Secrets are looked at"
        ]
    );
    let grant = &set.reference_grants[0].spec;
    assert!(
        grant.allows("edge", "a")
            && !grant.allows("edge", "b")
            && !grant.allows("other", "a")
            && !grant.allows("*", "a")
    );
    let all = "  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: edge}]\n  to: [{group: '', kind: Secret}]";
    let (set, _) = good(&document("ReferenceGrant", all));
    assert!(set.reference_grants[0].spec.allows("edge", "anything"));
    for (spec, error) in [
        ("  from: []\n  to: [{group: '', kind: Secret}]", "f.yaml:6: spec.from: nothing is listed"),
        (
            "  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: '*'}]\n  to: [{group: '', kind: Secret}]",
            "f.yaml:6: spec.from[0].namespace: not a valid namespace (lower-case letters, digits and \"-\", 63 at most; there is no wildcard)",
        ),
        ("  to: [{group: '', kind: Secret}]", "f.yaml:6: spec: the field \"from\" is missing"),
    ] {
        assert_eq!(bad(&document("ReferenceGrant", spec)), error);
    }
}
