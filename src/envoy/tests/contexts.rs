//! Finds every TLS context in encoded resources, wherever it is.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::TransportSocket;
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, UpstreamTlsContext,
};
use prost::Message;

use super::EncodedResource;

/// The TLS contexts of one proxy.
#[derive(Default)]
pub(super) struct Contexts {
    pub(super) upstream: Vec<UpstreamTlsContext>,
    pub(super) downstream: Vec<DownstreamTlsContext>,
}

impl Contexts {
    pub(super) fn of(resources: &[EncodedResource]) -> Self {
        let mut found = Self::default();
        for resource in resources {
            if resource.type_url.ends_with(".Cluster") {
                let cluster = Cluster::decode(resource.value.clone()).unwrap();
                let matched = cluster.transport_socket_matches.iter().filter_map(|it| it.transport_socket.as_ref());
                matched.chain(&cluster.transport_socket).for_each(|socket| found.add(socket));
            } else if resource.type_url.ends_with(".Listener") {
                let listener = Listener::decode(resource.value.clone()).unwrap();
                let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
                chains.filter_map(|chain| chain.transport_socket.as_ref()).for_each(|socket| found.add(socket));
            }
        }
        found
    }

    fn add(&mut self, socket: &TransportSocket) {
        let Some(ConfigType::TypedConfig(any)) = &socket.config_type else {
            panic!("{} without a config", socket.name)
        };
        match any.type_url.rsplit('.').next().unwrap() {
            "UpstreamTlsContext" => self.upstream.push(UpstreamTlsContext::decode(&*any.value).unwrap()),
            "DownstreamTlsContext" => self.downstream.push(DownstreamTlsContext::decode(&*any.value).unwrap()),
            "RawBuffer" => {}
            other => panic!("a transport socket that this test does not know: {other}"),
        }
    }

    pub(super) fn common(&self) -> impl Iterator<Item = &CommonTlsContext> {
        let upstream = self.upstream.iter().map(|it| it.common_tls_context.as_ref().unwrap());
        upstream.chain(self.downstream.iter().map(|it| it.common_tls_context.as_ref().unwrap()))
    }
}

/// How a context verifies its peer; `None`: not at all.
pub(super) fn validation(
    context: &CommonTlsContext,
) -> Option<(&CertificateValidationContext, Option<&SdsSecretConfig>)> {
    match context.validation_context_type.as_ref()? {
        ValidationContextType::CombinedValidationContext(it) => {
            Some((it.default_validation_context.as_ref().unwrap(), it.validation_context_sds_secret_config.as_ref()))
        }
        ValidationContextType::ValidationContext(it) => Some((it, None)),
        _ => panic!("a validation context that this test does not know"),
    }
}

/// Every reference to a secret.
pub(super) fn references(context: &CommonTlsContext) -> Vec<&SdsSecretConfig> {
    let roots = validation(context).and_then(|(_, roots)| roots);
    context.tls_certificate_sds_secret_configs.iter().chain(roots).collect()
}
