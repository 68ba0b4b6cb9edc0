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

use super::sds::{inline, secret};
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
/// Envoy's validator takes no revocation lists.
pub fn validation_by_trust_domain(
    name: &str,
    bundle: &TrustBundle,
    aliases: &BTreeSet<String>,
    further: &[Authority],
) -> Bytes {
    let own: Vec<&str> =
        std::iter::once(bundle.trust_domain().as_str()).chain(aliases.iter().map(String::as_str)).collect();
    let mut roots: BTreeMap<&str, String> = own.iter().map(|domain| (*domain, bundle.pem().to_owned())).collect();
    for authority in further {
        let whose: Vec<&str> = match authority.trust_domains.as_slice() {
            [] => own.clone(),
            domains => domains.iter().map(String::as_str).collect(),
        };
        for domain in whose {
            let pem = roots.entry(domain).or_default();
            pem.push_str(authority.pem.trim_end());
            pem.push('\n');
        }
    }
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
