//! Roots that are each believed about their own trust domain only.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::spiffe_cert_validator_config::TrustDomain;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, SpiffeCertValidatorConfig,
};
use envoy_types::pb::google::protobuf::Any;
use prost::{Message as _, Name as _};

use super::sds::{inline, restate_pem, secret};
use crate::trust::TrustBundle;

/// Authorities besides those of a trust bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Their certificates, as PEM.
    pub pem: String,
    /// Whose identities they vouch for; empty: those of the bundle's own trust domain.
    pub trust_domains: Vec<String>,
}

/// The roots of several trust domains, for Envoy's SPIFFE validator: a certificate is verified against the roots of the trust domain that its
/// SPIFFE ID names, so that no authority can vouch for another's identities. `aliases` are trust domains that have the bundle's roots.
///
/// The validator takes revocation lists with the roots of their domain, and then demands one of every authority in a chain. So a domain has
/// lists where all of its authorities are the bundle's, and the roots have their own lists too.
pub fn validation_by_trust_domain(
    name: &str,
    bundle: &TrustBundle,
    aliases: &BTreeSet<String>,
    further: &[Authority],
) -> Bytes {
    let own: Vec<&str> =
        std::iter::once(bundle.trust_domain().as_str()).chain(aliases.iter().map(String::as_str)).collect();
    let mut roots: BTreeMap<&str, String> = own.iter().map(|domain| (*domain, bundle.pem().to_owned())).collect();
    let mut shared: BTreeSet<&str> = BTreeSet::new();
    for authority in further {
        let whose: Vec<&str> = match authority.trust_domains.as_slice() {
            [] => own.clone(),
            domains => domains.iter().map(String::as_str).collect(),
        };
        for domain in whose {
            let pem = roots.entry(domain).or_default();
            pem.push_str(authority.pem.trim_end());
            pem.push('\n');
            shared.insert(domain);
        }
    }
    for domain in own.iter().filter(|domain| !shared.contains(*domain)) {
        roots.entry(domain).or_default().push_str(&lists(bundle));
    }
    by_trust_domain(name, roots)
}

/// The roots of one trust domain, which vouch for nobody else.
pub fn validation_of(name: &str, bundle: &TrustBundle) -> Bytes {
    by_trust_domain(name, [(bundle.trust_domain().as_str(), bundle.pem().to_owned() + &lists(bundle))].into())
}

/// The roots of a trust domain that is not the bundle's: those of `authorities` that name it. Where there are none, nobody is verified; the
/// secret is there nevertheless, since a proxy keeps what it has of one that is taken away.
pub fn validation_of_further(name: &str, domain: &str, bundle: &TrustBundle, authorities: &[Authority]) -> Bytes {
    let mut pem = String::new();
    for authority in authorities.iter().filter(|it| it.trust_domains.iter().any(|named| named == domain)) {
        pem.push_str(authority.pem.trim_end());
        pem.push('\n');
    }
    // A validator has to have a trust domain and a root. RFC 2606 keeps `.invalid` from being anybody's.
    let roots = if pem.is_empty() { ("nobody.invalid", bundle.pem().to_owned()) } else { (domain, pem) };
    by_trust_domain(name, [roots].into())
}

/// The same secret in other bytes.
pub(super) fn restate(validator: &mut TypedExtensionConfig) -> Option<()> {
    let typed = validator.typed_config.as_mut()?;
    let mut config = SpiffeCertValidatorConfig::decode(&*typed.value).ok()?;
    restate_pem(config.trust_domains.first_mut()?.trust_bundle.as_mut()?)?;
    typed.value = config.encode_to_vec();
    Some(())
}

fn lists(bundle: &TrustBundle) -> String {
    match (bundle.crls(), bundle.root_crls()) {
        (Some(intermediates), Some(roots)) => intermediates.to_owned() + roots,
        _ => String::new(),
    }
}

fn by_trust_domain(name: &str, roots: BTreeMap<&str, String>) -> Bytes {
    let trust_domains = roots
        .into_iter()
        .map(|(name, pem)| TrustDomain {
            name: name.to_owned(),
            trust_bundle: Some(inline(pem.as_bytes())),
            ..Default::default()
        })
        .collect();
    let validator = SpiffeCertValidatorConfig { trust_domains, ..Default::default() };
    let validator = TypedExtensionConfig {
        name: "envoy.tls.cert_validator.spiffe".to_owned(),
        typed_config: Some(Any { type_url: SpiffeCertValidatorConfig::type_url(), value: validator.encode_to_vec() }),
    };
    let context = CertificateValidationContext { custom_validator_config: Some(validator), ..Default::default() };
    secret(name, Type::ValidationContext(context))
}
