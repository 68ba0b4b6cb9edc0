//! How Envoy asks for what it does not have yet.

use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::{AggregatedConfigSource, ApiVersion, ConfigSource};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::SdsSecretConfig;

use super::message::seconds;
use crate::plan::SecretName;

/// Over the stream on which the rest comes.
pub(super) fn ads() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource::default())),
        ..Default::default()
    }
}

/// Every reference to a secret is made here. Envoy keys its providers by these bytes: a second reference to a name with other bytes is
/// another provider, which on ADS never gets the secret, and goes on without a certificate when its time is over.
///
/// The workload's own certificate and roots are waited for without end, so that nothing is ever served without them. A file or Secret
/// that the operator forgot must not keep the rest of a proxy from starting, so for those Envoy's limit of 15 s stands.
pub(super) fn secret(name: &SecretName) -> SdsSecretConfig {
    let initial_fetch_timeout = match name {
        SecretName::Workload | SecretName::Root | SecretName::AllRoots | SecretName::DomainRoots(_) => seconds(0),
        SecretName::FileRoot(_)
        | SecretName::SystemRoots
        | SecretName::FileCert { .. }
        | SecretName::Credential { .. } => None,
    };
    SdsSecretConfig { name: name.to_string(), sds_config: Some(ConfigSource { initial_fetch_timeout, ..ads() }) }
}
