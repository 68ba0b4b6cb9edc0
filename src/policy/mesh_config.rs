//! Istio's `MeshConfig`, the part that decides about TLS: from the `mesh` key of a ConfigMap `istio`, and from `meshConfig` of the server's
//! own configuration. Both come through [`read`].
//!
//! Istio's message has some sixty fields, most of them about other things than this server does. One that Istio knows and that has no
//! effect here is a warning, and so is one that nobody knows: a whole mesh is not to stop for an operator's access log format.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

use super::decode::decode;
use super::document::{Entry, Node, Value};
use super::fields::non_empty;
use super::report::Report;
use super::{Located, host, nearest};

/// What a mesh shares. An absent field leaves what the server has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshConfig {
    /// `trustDomain`.
    pub trust_domain: Option<Located<String>>,
    /// `trustDomainAliases`.
    pub trust_domain_aliases: Option<Located<Vec<String>>>,
    /// `enableAutoMtls`; Istio's default is true.
    pub enable_auto_mtls: Option<Located<bool>>,
    /// `meshMTLS`: TLS between proxies of the mesh.
    pub mesh_mtls: Option<Located<TlsSettings>>,
    /// `tlsDefaults`: TLS to and from everybody else.
    pub tls_defaults: Option<Located<TlsSettings>>,
    /// `rootNamespace`.
    pub root_namespace: Option<Located<String>>,
    /// `caCertificates`: roots besides the server's own.
    pub ca_certificates: Option<Located<Vec<CaCertificate>>>,
    /// `outboundTrafficPolicy.mode`.
    pub outbound_traffic_policy: Option<Located<OutboundTrafficPolicy>>,
    /// `pathNormalization.normalization`: what servers make of a request's path before policies look at it.
    pub path_normalization: Option<Located<PathNormalization>>,
    /// `proxyHttpPort`: where a sidecar's outbound HTTP proxy listens.
    pub proxy_http_port: Option<Located<u16>>,
}

/// One of the two TLS settings of a mesh. What is absent or empty leaves the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TlsSettings {
    /// `minProtocolVersion`; `None`: TLS 1.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<TlsVersion>,
    /// `cipherSuites` of TLS 1.2, by OpenSSL's names, best first. TLS 1.3 has its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cipher_suites: Vec<String>,
    /// `ecdhCurves`, best first; of `tlsDefaults` only, as in Istio.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ecdh_curves: Vec<String>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum TlsVersion {
    /// TLS 1.0, which nobody should speak any more (RFC 8996). Within the mesh nobody does.
    #[serde(rename = "1.0")]
    V1_0,
    /// TLS 1.1, likewise.
    #[serde(rename = "1.1")]
    V1_1,
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

/// One of `caCertificates`: authorities besides the server's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaCertificate {
    /// `pem`: at least one certificate.
    pub pem: String,
    /// `trustDomains`: whose authorities they are. Empty: this mesh's.
    pub trust_domains: Vec<String>,
}

/// `outboundTrafficPolicy.mode`: what becomes of a request to a host that the mesh does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutboundTrafficPolicy {
    /// It goes where the client meant it to go; Istio's default.
    #[default]
    AllowAny,
    /// It is refused.
    RegistryOnly,
}

/// `pathNormalization.normalization`: what is made of a request's path before policies and routes look at it, and the application gets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PathNormalization {
    /// Nothing.
    None,
    /// RFC 3986 §6, and `\` becomes `/`; Istio's default.
    #[default]
    #[serde(alias = "DEFAULT")]
    Base,
    /// The same, and several slashes become one.
    MergeSlashes,
    /// The same, after `%2F` and `%5C` have become what they stand for.
    DecodeAndMergeSlashes,
}

/// The fields of Istio's message that have no effect here (istio/api, mesh/v1alpha1/config.proto).
const OF_ISTIO: &[&str] = &[
    "accessLogEncoding",
    "accessLogFile",
    "accessLogFormat",
    "ca",
    "certificates",
    "configSources",
    "connectTimeout",
    "defaultConfig",
    "defaultDestinationRuleExportTo",
    "defaultHttpRetryPolicy",
    "defaultProviders",
    "defaultServiceExportTo",
    "defaultVirtualServiceExportTo",
    "disableEnvoyListenerLog",
    "discoverySelectors",
    "dnsRefreshRate",
    "enableEnvoyAccessLogService",
    "enablePrometheusMerge",
    "enableTracing",
    "extensionProviders",
    "h2UpgradePolicy",
    "hboneIdleTimeout",
    "inboundClusterStatName",
    "inboundTrafficPolicy",
    "ingressClass",
    "ingressControllerMode",
    "ingressSelector",
    "ingressService",
    "localityLbSetting",
    "outboundClusterStatName",
    "protocolDetectionTimeout",
    "proxyInboundListenPort",
    "proxyListenPort",
    "serviceScopeConfigs",
    "serviceSettings",
    "tcpKeepalive",
    "thriftConfig",
    "verifyCertificateAtClient",
];

/// Those that have one.
const OURS: &[&str] = &[
    "caCertificates",
    "enableAutoMtls",
    "meshMTLS",
    "outboundTrafficPolicy",
    "pathNormalization",
    "proxyHttpPort",
    "rootNamespace",
    "tlsDefaults",
    "trustDomain",
    "trustDomainAliases",
];

/// The suites of TLS 1.2 that Envoy takes (envoyproxy.io, `TlsParameters.cipher_suites`). It refuses a whole listener for another word.
pub(super) const CIPHER_SUITES: &[&str] = &[
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
];

/// The curves that Envoy takes.
const CURVES: &[&str] = &["X25519MLKEM768", "X25519", "P-256", "P-384", "P-521"];

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawTls {
    min_protocol_version: RawVersion,
    cipher_suites: Vec<Located<String>>,
    ecdh_curves: Vec<Located<String>>,
}

#[derive(Clone, Copy, Default, Deserialize)]
enum RawVersion {
    #[default]
    #[serde(rename = "TLS_AUTO")]
    Auto,
    #[serde(rename = "TLSV1_2")]
    V1_2,
    #[serde(rename = "TLSV1_3")]
    V1_3,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCertificate {
    pem: Option<Located<String>>,
    spiffe_bundle_url: Option<Located<String>>,
    cert_signers: Option<Located<Vec<String>>>,
    #[serde(default)]
    trust_domains: Vec<Located<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawOutbound {
    mode: Option<Located<OutboundTrafficPolicy>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawPaths {
    normalization: Option<Located<PathNormalization>>,
}

/// Reads one. `base` is what its fields are called by: empty for a ConfigMap's, `meshConfig` for the configuration's.
pub(super) fn read(node: &Node, base: &str, report: &Report) -> MeshConfig {
    let entries: &[Entry] = match &node.value {
        Value::Map(entries) => entries,
        Value::Null => &[],
        other => {
            report.error(&report.origin(node.at), base, format!("found {}, expected a mapping", other.describe()));
            &[]
        }
    };
    let mut config = MeshConfig::default();
    for entry in entries.iter().filter(|entry| !matches!(entry.value.value, Value::Null)) {
        field(&mut config, entry, base, report);
    }
    config
}

fn field(config: &mut MeshConfig, entry: &Entry, base: &str, report: &Report) {
    let name = if base.is_empty() { entry.key.clone() } else { format!("{base}.{}", entry.key) };
    let value = Field { node: &entry.value, name: &name, report };
    match entry.key.as_str() {
        "trustDomain" => config.trust_domain = value.trust_domain(),
        "trustDomainAliases" => config.trust_domain_aliases = value.trust_domains(),
        "enableAutoMtls" => config.enable_auto_mtls = value.decoded(),
        "meshMTLS" => config.mesh_mtls = value.tls(false),
        "tlsDefaults" => config.tls_defaults = value.tls(true),
        "rootNamespace" => config.root_namespace = value.namespace(),
        "caCertificates" => config.ca_certificates = value.ca_certificates(),
        "outboundTrafficPolicy" => {
            config.outbound_traffic_policy = value.decoded::<RawOutbound>().and_then(|raw| raw.value.mode);
        }
        "pathNormalization" => {
            config.path_normalization = value.decoded::<RawPaths>().and_then(|raw| raw.value.normalization);
        }
        "proxyHttpPort" => config.proxy_http_port = value.port(),
        key if OF_ISTIO.contains(&key) => {
            report.warn(&report.origin(entry.at), format!("{name} of Istio's MeshConfig has no effect here"));
        }
        key => {
            let near = nearest::nearest(key, OURS).or_else(|| nearest::nearest(key, OF_ISTIO));
            let hint = near.map(|near| format!(" (did you mean {near:?}?)")).unwrap_or_default();
            let shown: String = key.chars().take(80).collect();
            report.warn(&report.origin(entry.at), format!("Istio's MeshConfig has no field {shown:?}{hint}"));
        }
    }
}

/// One field on its way in.
struct Field<'n> {
    node: &'n Node,
    name: &'n str,
    report: &'n Report,
}

impl Field<'_> {
    fn decoded<T: serde::de::DeserializeOwned>(&self) -> Option<Located<T>> {
        decode::<Located<T>>(self.node, self.name, self.report)
    }

    fn trust_domain(&self) -> Option<Located<String>> {
        self.decoded().filter(|written: &Located<String>| !written.value.is_empty()).inspect(|it| self.check_domain(it))
    }

    fn trust_domains(&self) -> Option<Located<Vec<String>>> {
        let written = self.decoded::<Vec<Located<String>>>()?;
        written.value.iter().for_each(|domain| self.check_domain(domain));
        Some(Located::new(written.value.into_iter().map(|domain| domain.value).collect(), written.at))
    }

    /// SPIFFE-ID §2.1.
    fn check_domain(&self, domain: &Located<String>) {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        if domain.value.is_empty() || domain.value.len() > 255 || !domain.value.bytes().all(known) {
            let help = "lower-case letters, digits, \".\", \"-\" and \"_\", without spiffe://";
            self.report.error_with_help(&domain.at, self.name, "not a trust domain", help);
        }
    }

    fn namespace(&self) -> Option<Located<String>> {
        let written = self.decoded::<String>().filter(|written| !written.value.is_empty())?;
        if !host::is_namespace(&written.value) {
            self.report.error(&written.at, self.name, "not a namespace");
        }
        Some(written)
    }

    /// Istio writes an absent port as 0.
    fn port(&self) -> Option<Located<u16>> {
        let written = self.decoded::<u32>().filter(|written| written.value != 0)?;
        let number = super::fields::port_number(&written, self.name, self.report);
        Some(Located::new(number, written.at))
    }

    fn tls(&self, of_others: bool) -> Option<Located<TlsSettings>> {
        let Located { value: raw, at } = self.decoded::<RawTls>()?;
        if let Some(curve) = raw.ecdh_curves.first().filter(|_| !of_others) {
            let name = format!("{}.ecdhCurves", self.name);
            self.report.error_with_help(
                &curve.at,
                &name,
                "curves are for tlsDefaults only",
                "remove them, as in Istio",
            );
        }
        let settings = TlsSettings {
            minimum: match raw.min_protocol_version {
                RawVersion::Auto => None,
                RawVersion::V1_2 => Some(TlsVersion::V1_2),
                RawVersion::V1_3 => Some(TlsVersion::V1_3),
            },
            cipher_suites: self.words(raw.cipher_suites, "cipherSuites", "cipher suite of TLS 1.2", CIPHER_SUITES),
            ecdh_curves: self.words(raw.ecdh_curves, "ecdhCurves", "curve", CURVES),
        };
        Some(Located::new(settings, at))
    }

    fn words(&self, written: Vec<Located<String>>, field: &str, what: &str, known: &[&str]) -> Vec<String> {
        for word in written.iter().filter(|word| !known.contains(&word.value.as_str())) {
            let shown: String = word.value.chars().take(40).collect();
            let help = nearest::hint(&word.value, known).unwrap_or_default();
            let message = format!("{shown:?} is no {what} that Envoy knows");
            self.report.error_with_help(&word.at, &format!("{}.{field}", self.name), message, &help);
        }
        let mut words: Vec<String> = Vec::new();
        for word in written {
            if !words.contains(&word.value) {
                words.push(word.value);
            }
        }
        words
    }

    fn ca_certificates(&self) -> Option<Located<Vec<CaCertificate>>> {
        let written = self.decoded::<Vec<Located<RawCertificate>>>()?;
        let mut certificates = Vec::new();
        for (index, Located { value: raw, at }) in written.value.into_iter().enumerate() {
            let name = format!("{}[{index}]", self.name);
            if let Some(url) = raw.spiffe_bundle_url.filter(|url| !url.value.is_empty()) {
                let help = "put the bundle's certificates into pem";
                self.report.error_with_help(&url.at, &name, "spiffeBundleUrl is not fetched", help);
                continue;
            }
            if let Some(signers) = raw.cert_signers.filter(|signers| !signers.value.is_empty()) {
                self.report.warn(&signers.at, format!("{name}.certSigners has no effect here"));
            }
            raw.trust_domains.iter().for_each(|domain| self.check_domain(domain));
            let trust_domains = raw.trust_domains.into_iter().map(|domain| domain.value).collect();
            let pem = raw.pem.as_ref().and_then(|pem| non_empty(Some(pem.value.clone())));
            let at = raw.pem.map_or(at, |pem| pem.at);
            match pem.filter(|pem| is_pem(pem)) {
                Some(pem) => certificates.push(CaCertificate { pem, trust_domains }),
                None => self.report.error(&at, &format!("{name}.pem"), "not a PEM certificate"),
            }
        }
        Some(Located::new(certificates, written.at))
    }
}

/// At least one certificate, and nothing that is none.
fn is_pem(text: &str) -> bool {
    let mut certificates = CertificateDer::pem_slice_iter(text.as_bytes()).peekable();
    let is_certificate = |der: CertificateDer<'_>| x509_parser::parse_x509_certificate(&der).is_ok();
    certificates.peek().is_some() && certificates.all(|der| der.is_ok_and(is_certificate))
}
