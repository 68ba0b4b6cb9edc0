//! What a set's MeshConfig changes of the server's settings.

use std::net::SocketAddr;

use super::{San, Settings, Topic, Warning};
use crate::policy::{
    CaCertificate, Located, MeshConfig, OutboundTrafficPolicy, PathNormalization, PolicySet, TlsSettings,
};

impl Settings {
    /// These settings with the MeshConfig of `set`: that of the ConfigMap `istio` in the root namespace, where the server's own
    /// configuration says nothing else. Which trust domain the server issues for is not for a ConfigMap to decide.
    pub(super) fn of_set(&self, set: &PolicySet, warnings: &mut Vec<Warning>) -> Self {
        let mut settings = self.clone();
        let of_root = |namespace: &str| namespace == self.root_namespace;
        for object in &set.mesh_configs {
            if of_root(&object.meta.namespace) {
                settings.mesh_config = Merge { at: warnings }.of(&self.mesh_config, &object.spec);
            } else {
                let message = format!(
                    "the ConfigMap istio is in {}, and is ignored: that of the root namespace {} counts",
                    object.meta.namespace, self.root_namespace
                );
                warnings.push(Warning::new(Topic::NoEffect, &object.at, message));
            }
        }
        let config = &settings.mesh_config;
        if let Some(written) = config.trust_domain.as_ref().filter(|it| it.value != self.trust_domain) {
            let message = format!(
                "trustDomain is {}, and this server issues identities of {}: either write trustDomain: {} here, or set \
                 trustDomain in the server's configuration, which gives every workload another identity",
                written.value, self.trust_domain, self.trust_domain
            );
            warnings.push(Warning::new(Topic::Disagreement, &written.at, message));
        }
        if let Some(written) =
            config.outbound_traffic_policy.as_ref().filter(|it| it.value == OutboundTrafficPolicy::AllowAny)
        {
            let message = "outboundTrafficPolicy ALLOW_ANY does not hold for a sidecar's HTTP proxy, which clients dial themselves: it \
                           refuses hosts that the mesh does not know; write a ServiceEntry for them";
            warnings.push(Warning::new(Topic::NoEffect, &written.at, message));
        }
        if let Some(aliases) = &config.trust_domain_aliases {
            settings.trust_domain_aliases.clone_from(&aliases.value);
            settings.trust_domain_aliases.retain(|alias| *alias != self.trust_domain);
        }
        for object in set.federated_trust_domains.iter() {
            let domain = &object.spec.trust_domain;
            if domain.value == self.trust_domain {
                let message = format!("{} is our own trust domain: its bundle is made here", domain.value);
                warnings.push(Warning::new(Topic::NoEffect, &domain.at, message));
            } else if !settings.federated.contains(&domain.value) {
                settings.federated.push(domain.value.clone());
            }
        }
        let config = &settings.mesh_config;
        if let Some(namespace) = &config.root_namespace {
            settings.root_namespace.clone_from(&namespace.value);
        }
        settings
    }

    /// Whether clients without a rule speak mutual TLS to whoever takes it; and where it is written that they do not.
    pub fn auto_mtls(&self) -> Result<(), &super::Origin> {
        match &self.mesh_config.enable_auto_mtls {
            Some(Located { value: false, at }) => Err(at),
            _ => Ok(()),
        }
    }

    /// TLS between proxies of the mesh.
    pub fn mesh_tls(&self) -> TlsSettings {
        self.mesh_config.mesh_mtls.as_ref().map(|it| it.value.clone()).unwrap_or_default()
    }

    /// TLS to and from everybody else.
    pub fn tls_defaults(&self) -> TlsSettings {
        self.mesh_config.tls_defaults.as_ref().map(|it| it.value.clone()).unwrap_or_default()
    }

    /// Roots besides the server's own.
    pub fn ca_certificates(&self) -> &[CaCertificate] {
        self.mesh_config.ca_certificates.as_ref().map_or(&[], |it| &it.value)
    }

    /// The trust domains whose identities a port takes: [`Settings::trust_domains`], and those of further authorities.
    pub fn accepted_trust_domains(&self) -> Vec<String> {
        let further = self.ca_certificates().iter().flat_map(|it| &it.trust_domains).map(String::as_str);
        let mut domains: Vec<String> = Vec::new();
        let federated = self.federated.iter().map(String::as_str);
        for domain in self.trust_domains().chain(further).chain(federated) {
            if !domains.iter().any(|known| known == domain) {
                domains.push(domain.to_owned());
            }
        }
        domains
    }

    /// Of these, the trust domains with other roots than our own.
    pub fn further_trust_domains(&self) -> Vec<String> {
        let mut domains = self.accepted_trust_domains();
        domains.retain(|domain| self.trust_domains().all(|own| own != domain));
        domains
    }

    /// The trust domain with other roots than our own that this is a name in.
    pub fn further_trust_domain<'n>(&self, name: &'n San) -> Option<&'n str> {
        let (San::Uri(uri) | San::UriPrefix(uri)) = name else { return None };
        let domain = uri.strip_prefix("spiffe://")?.split('/').next()?;
        let further = self.ca_certificates().iter().flat_map(|it| &it.trust_domains).chain(&self.federated);
        let is_further = further.into_iter().any(|it| it == domain) && self.trust_domains().all(|own| own != domain);
        is_further.then_some(domain)
    }

    /// What becomes of requests to hosts that the mesh does not know; `None` where nothing is said.
    pub fn outbound_traffic_policy(&self) -> Option<OutboundTrafficPolicy> {
        self.mesh_config.outbound_traffic_policy.as_ref().map(|it| it.value)
    }

    /// What servers make of a request's path.
    pub fn path_normalization(&self) -> PathNormalization {
        self.mesh_config.path_normalization.as_ref().map(|it| it.value).unwrap_or_default()
    }

    /// Where a sidecar's outbound HTTP proxy listens: on the port of `proxyHttpPort`, if there is one.
    pub fn http_proxy(&self, default: SocketAddr) -> SocketAddr {
        let port = self.mesh_config.proxy_http_port.as_ref().map_or(default.port(), |port| port.value);
        SocketAddr::new(default.ip(), port)
    }
}

/// Two MeshConfigs made into one. Where both speak and differ, the server's own counts, and the other is warned of.
struct Merge<'a> {
    at: &'a mut Vec<Warning>,
}

impl Merge<'_> {
    fn of(&mut self, own: &MeshConfig, written: &MeshConfig) -> MeshConfig {
        MeshConfig {
            trust_domain: self.field("trustDomain", &own.trust_domain, &written.trust_domain),
            trust_domain_aliases: self.field(
                "trustDomainAliases",
                &own.trust_domain_aliases,
                &written.trust_domain_aliases,
            ),
            enable_auto_mtls: self.field("enableAutoMtls", &own.enable_auto_mtls, &written.enable_auto_mtls),
            mesh_mtls: self.field("meshMTLS", &own.mesh_mtls, &written.mesh_mtls),
            tls_defaults: self.field("tlsDefaults", &own.tls_defaults, &written.tls_defaults),
            root_namespace: self.field("rootNamespace", &own.root_namespace, &written.root_namespace),
            ca_certificates: self.field("caCertificates", &own.ca_certificates, &written.ca_certificates),
            outbound_traffic_policy: self.field(
                "outboundTrafficPolicy",
                &own.outbound_traffic_policy,
                &written.outbound_traffic_policy,
            ),
            path_normalization: self.field("pathNormalization", &own.path_normalization, &written.path_normalization),
            proxy_http_port: self.field("proxyHttpPort", &own.proxy_http_port, &written.proxy_http_port),
        }
    }

    fn field<T: Clone + PartialEq>(
        &mut self,
        name: &str,
        own: &Option<Located<T>>,
        written: &Option<Located<T>>,
    ) -> Option<Located<T>> {
        if let (Some(own), Some(written)) = (own, written)
            && own != written
        {
            let message = format!(
                "{name} has no effect: the server's configuration says otherwise ({}), and counts; make them the same, \
                 or remove one",
                own.at
            );
            self.at.push(Warning::new(Topic::Shadowed, &written.at, message));
        }
        own.as_ref().or(written.as_ref()).cloned()
    }
}
