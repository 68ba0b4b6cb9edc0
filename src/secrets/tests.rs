use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{Secret, secret::Type};
use prost::Message as _;
use rcgen::{CertificateParams, KeyPair};
use time::OffsetDateTime;
use time::macros::datetime;
use zeroize::Zeroizing;

use super::*;

const NOW: OffsetDateTime = datetime!(2026-06-01 00:00 UTC);

fn pair(not_before: OffsetDateTime, not_after: OffsetDateTime) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["gateway.example".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (not_before, not_after);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn good() -> (String, String) {
    pair(datetime!(2026-01-01 00:00 UTC), datetime!(2027-01-01 00:00 UTC))
}

fn check(entries: &[(&str, &str)]) -> Result<Credential, CredentialError> {
    let data: BTreeMap<_, _> =
        entries.iter().map(|(key, value)| ((*key).to_owned(), Zeroizing::new(value.as_bytes().to_vec()))).collect();
    credential("gateway", &data, NOW)
}

fn decode(bytes: &[u8]) -> Secret {
    Secret::decode(bytes).unwrap()
}

#[test]
fn a_tls_secret_is_served_under_istios_names() {
    let (chain, key) = good();
    let served = check(&[("tls.crt", &chain), ("tls.key", &key), ("ca.crt", &chain)]).unwrap();
    let certificate = decode(&served.certificate.unwrap());
    assert_eq!(certificate.name, "kubernetes://gateway");
    let Some(Type::TlsCertificate(tls)) = certificate.r#type else { panic!("{certificate:?}") };
    assert_eq!(tls.certificate_chain.unwrap().specifier, Some(Specifier::InlineBytes(chain.clone().into_bytes())));
    assert_eq!(tls.private_key.unwrap().specifier, Some(Specifier::InlineBytes(key.into_bytes())));
    let ca = decode(&served.ca.unwrap());
    assert_eq!(ca.name, "kubernetes://gateway-cacert");
    let Some(Type::ValidationContext(context)) = ca.r#type else { panic!("{ca:?}") };
    assert_eq!(context.trusted_ca.unwrap().specifier, Some(Specifier::InlineBytes(chain.into_bytes())));
}

#[test]
fn a_generic_secret_and_roots_alone_are_served_too() {
    let (chain, key) = good();
    let generic = check(&[("cert", &chain), ("key", &key)]).unwrap();
    assert!(generic.certificate.is_some() && generic.ca.is_none());
    let roots = check(&[("cacert", &chain)]).unwrap();
    assert!(roots.certificate.is_none() && roots.ca.is_some());
}

/// Each of these Envoy would accept and then fail every handshake, or reject together with every secret beside it.
#[test]
fn what_envoy_would_not_check_is_refused() {
    let (chain, key) = good();
    let (_, other_key) = good();
    let (expired, expired_key) = pair(datetime!(2025-01-01 00:00 UTC), datetime!(2026-01-01 00:00 UTC));
    let (future, future_key) = pair(datetime!(2026-07-01 00:00 UTC), datetime!(2027-01-01 00:00 UTC));
    use CredentialError::*;
    assert!(matches!(check(&[("tls.crt", &chain), ("tls.key", &other_key)]), Err(KeyMismatch(_))));
    assert!(matches!(check(&[("tls.crt", &expired), ("tls.key", &expired_key)]), Err(NotValid { .. })));
    assert!(matches!(check(&[("tls.crt", &future), ("tls.key", &future_key)]), Err(NotValid { .. })));
    assert!(matches!(check(&[("ca.crt", &expired)]), Err(NotValid { entry: "ca.crt", .. })));
    assert!(matches!(check(&[("tls.crt", &chain)]), Err(Half { lacks: "tls.key", .. })));
    assert!(matches!(check(&[("tls.key", &key)]), Err(Half { lacks: "tls.crt", .. })));
    assert!(matches!(check(&[("other", &key)]), Err(Empty(_))));
    assert!(matches!(check(&[("tls.crt", "garbage"), ("tls.key", &key)]), Err(Unreadable { entry: "tls.crt", .. })));
    assert!(matches!(check(&[("tls.crt", &chain), ("tls.key", "garbage")]), Err(Unreadable { entry: "tls.key", .. })));
    assert!(matches!(
        check(&[("ca.crt", &format!("{chain}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))]),
        Err(Unreadable { .. })
    ));
}

#[test]
fn threat_07_an_error_shows_nothing_of_a_key() {
    let (chain, _) = good();
    let (_, key) = good();
    let error = check(&[("tls.crt", &chain), ("tls.key", &key)]).unwrap_err();
    let error = format!("{error} {error:?}");
    let body: String = key.lines().filter(|line| !line.starts_with("---")).collect();
    assert!(!error.contains(&body[..16]), "{error}");
}

#[test]
fn files_are_named_and_not_read() {
    let root = decode(&file_root("/etc/certs/ca.pem"));
    assert_eq!(root.name, "file-root:/etc/certs/ca.pem");
    let Some(Type::ValidationContext(context)) = root.r#type else { panic!("{root:?}") };
    assert_eq!(context.trusted_ca.unwrap().specifier, Some(Specifier::Filename("/etc/certs/ca.pem".into())));
    let pair = decode(&file_certificate("/c.pem", "/k.pem"));
    assert_eq!(pair.name, "file-cert:/c.pem~/k.pem");
    let Some(Type::TlsCertificate(tls)) = pair.r#type else { panic!("{pair:?}") };
    assert_eq!(tls.private_key.unwrap().specifier, Some(Specifier::Filename("/k.pem".into())));
}

#[test]
fn each_authority_is_for_its_own_trust_domain() {
    use std::collections::BTreeSet;

    use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::SpiffeCertValidatorConfig;

    use crate::trust::TrustBundle;

    let [own, partner, more] = [good().0, good().0, good().0];
    let (_, der) = x509_parser::pem::parse_x509_pem(own.as_bytes()).unwrap();
    let bundle = TrustBundle::new("prod.example".parse().unwrap(), vec![der.contents.into()]).unwrap();
    let authority = |pem: &str, domains: &[&str]| Authority {
        pem: pem.to_owned(),
        trust_domains: domains.iter().map(|it| (*it).to_owned()).collect(),
    };
    let aliases = BTreeSet::from(["old.example".to_owned()]);
    let further = [authority(&partner, &["partner.example"]), authority(&more, &[])];
    let secret = decode(&validation_by_trust_domain(ROOT, &bundle, &aliases, &further));
    let Some(Type::ValidationContext(context)) = secret.r#type else { panic!("{}", secret.name) };
    assert_eq!(context.trusted_ca, None, "there is no list that holds for everybody");
    let validator = context.custom_validator_config.unwrap();
    assert_eq!(validator.name, "envoy.tls.cert_validator.spiffe");
    let config = SpiffeCertValidatorConfig::decode(&*validator.typed_config.unwrap().value).unwrap();
    let roots = |config: SpiffeCertValidatorConfig| -> Vec<(String, usize, bool)> {
        let each = config.trust_domains.into_iter().map(|domain| {
            let Some(Specifier::InlineBytes(pem)) = domain.trust_bundle.unwrap().specifier else { panic!() };
            let pem = String::from_utf8(pem).unwrap();
            (domain.name, pem.matches("BEGIN CERTIFICATE").count(), pem.contains(partner.trim_end()))
        });
        each.collect()
    };
    let expected = [("old.example", 2, false), ("partner.example", 1, true), ("prod.example", 2, false)];
    assert_eq!(roots(config), expected.map(|(name, count, is_partners)| (name.to_owned(), count, is_partners)));

    let of = |domain: &str| {
        let secret = decode(&validation_of_further("it", domain, &bundle, &further));
        let Some(Type::ValidationContext(context)) = secret.r#type else { panic!("{}", secret.name) };
        let validator = context.custom_validator_config.unwrap().typed_config.unwrap();
        roots(SpiffeCertValidatorConfig::decode(&*validator.value).unwrap())
    };
    assert_eq!(of("partner.example"), [("partner.example".to_owned(), 1, true)], "nobody else is verified");
    assert_eq!(of("unknown.example")[0].0, "nobody.invalid", "whose roots are not known is not verified");
}
