//! TLS contexts. A peer that is verified is verified by its name too: roots alone would let every workload of the mesh pass for any
//! other.

use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::{DataSource, TransportSocket};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SubjectAltNameMatcher, TlsParameters,
};
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::google::protobuf::BoolValue;
use prost::Message;

use super::message::transport_socket;
use super::{sds, wire};
use crate::plan::{PeerNames, San, SecretName, Termination, TlsSettings, TlsVersion, UpstreamTls, Validation};

pub(super) const TLS_SOCKET: &str = "envoy.transport_sockets.tls";

/// The suites between proxies of the mesh, for TLS 1.2: Istio's, in its order. TLS 1.3 has its own.
const MESH_CIPHERS: [&str; 6] = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
];

/// The server's side of mutual TLS within the mesh: anyone of these trust domains, and nobody else.
pub(super) fn downstream(
    trust_domains: &[String],
    roots: &SecretName,
    settings: &TlsSettings,
    alpn: &[&str],
) -> TransportSocket {
    let prefix = |domain: &String| matcher(&San::UriPrefix(format!("spiffe://{domain}/")));
    let context = DownstreamTlsContext {
        require_client_certificate: Some(BoolValue { value: true }),
        common_tls_context: Some(CommonTlsContext {
            tls_params: Some(mesh_parameters(settings)),
            tls_certificate_sds_secret_configs: vec![sds::secret(&SecretName::Workload)],
            alpn_protocols: alpn.iter().map(|it| (*it).to_owned()).collect(),
            validation_context_type: Some(combined(
                CertificateValidationContext {
                    match_typed_subject_alt_names: trust_domains.iter().map(prefix).collect(),
                    ..Default::default()
                },
                roots,
            )),
            ..Default::default()
        }),
        ..Default::default()
    };
    transport_socket(TLS_SOCKET, &context)
}

/// What the contexts of many clusters have alike, encoded once: all but the names.
#[derive(Default)]
pub(super) struct Alike(Vec<AlikeContext>);

struct AlikeContext {
    of: UpstreamTls,
    /// Of the common context, without how the server is verified.
    common: Vec<u8>,
    /// Of that, the roots.
    roots: Vec<u8>,
}

impl Alike {
    fn context(&mut self, tls: &UpstreamTls) -> &AlikeContext {
        let is_alike = |known: &AlikeContext| {
            known.of.certificate == tls.certificate
                && known.of.validation.roots() == tls.validation.roots()
                && known.of.alpn == tls.alpn
                && known.of.settings == tls.settings
        };
        // Whoever is outside the mesh has certificates and roots of his own: many such, and none alike, are not to be searched.
        let known = self.0.iter().position(|known| tls.mesh && known.of.mesh && is_alike(known));
        let position = known.unwrap_or_else(|| {
            self.0.push(AlikeContext::new(tls));
            self.0.len() - 1
        });
        &self.0[position]
    }
}

impl AlikeContext {
    fn new(tls: &UpstreamTls) -> Self {
        let common = CommonTlsContext {
            tls_params: Some(if tls.mesh { mesh_parameters(&tls.settings) } else { parameters(&tls.settings) }),
            tls_certificate_sds_secret_configs: tls.certificate.iter().map(sds::secret).collect(),
            alpn_protocols: tls.alpn.iter().map(|it| (*it).to_owned()).collect(),
            ..Default::default()
        };
        let roots = tls.validation.roots().map(|roots| sds::secret(roots).encode_to_vec()).unwrap_or_default();
        Self { of: tls.clone(), common: common.encode_to_vec(), roots }
    }
}

/// The client's side: a transport socket, encoded.
pub(super) fn upstream(tls: &UpstreamTls, alike: &mut Alike) -> Vec<u8> {
    let AlikeContext { common, roots, .. } = alike.context(tls);
    let verified = match &tls.validation {
        Validation::InsecureSkipVerify => Vec::new(),
        Validation::Verified { sans, crl, .. } => {
            let crl = crl.clone().map(file);
            let named = CertificateValidationContext {
                match_typed_subject_alt_names: matchers(sans),
                crl,
                ..Default::default()
            };
            // Names from here, roots from a secret: with names in it, Envoy refuses the context while the secret is empty instead of
            // verifying nobody.
            let combined = [wire::field(1, &[&named.encode_to_vec()]), wire::field(2, &[roots])].concat();
            wire::field(COMBINED_VALIDATION_CONTEXT, &[&combined])
        }
    };
    let sni = tls.sni.as_deref().map(|sni| wire::text(2, sni)).unwrap_or_default();
    let context = wire::field(1, &[common, &verified]);
    let any = [wire::text(1, UPSTREAM_CONTEXT), wire::field(2, &[&context, &sni])].concat();
    [wire::text(1, TLS_SOCKET), wire::field(3, &[&any])].concat()
}

const UPSTREAM_CONTEXT: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
const COMBINED_VALIDATION_CONTEXT: u32 = 8;

/// The server's side with a certificate of the operator's.
pub(super) fn terminating(plan: &Termination) -> TransportSocket {
    let clients = plan.clients.as_ref().map(|clients| {
        let context = CertificateValidationContext {
            match_typed_subject_alt_names: clients.sans.as_ref().map(matchers).unwrap_or_default(),
            crl: clients.crl.clone().map(file),
            ..Default::default()
        };
        combined(context, &clients.roots)
    });
    let required = plan.clients.as_ref().is_some_and(|clients| clients.required);
    let context = DownstreamTlsContext {
        require_client_certificate: Some(BoolValue { value: required }),
        common_tls_context: Some(CommonTlsContext {
            tls_params: Some(TlsParameters {
                tls_minimum_protocol_version: version(plan.minimum).into(),
                tls_maximum_protocol_version: version(plan.maximum).into(),
                cipher_suites: plan.cipher_suites.clone(),
                ecdh_curves: plan.ecdh_curves.clone(),
                ..Default::default()
            }),
            tls_certificate_sds_secret_configs: vec![sds::secret(&plan.certificate)],
            alpn_protocols: plan.alpn.iter().map(|it| (*it).to_owned()).collect(),
            validation_context_type: clients,
            ..Default::default()
        }),
        ..Default::default()
    };
    transport_socket(TLS_SOCKET, &context)
}

fn version(version: TlsVersion) -> TlsProtocol {
    match version {
        TlsVersion::V1_0 => TlsProtocol::TlSv10,
        TlsVersion::V1_1 => TlsProtocol::TlSv11,
        TlsVersion::V1_2 => TlsProtocol::TlSv12,
        TlsVersion::V1_3 => TlsProtocol::TlSv13,
    }
}

fn file(path: String) -> DataSource {
    DataSource { specifier: Some(Specifier::Filename(path)), ..Default::default() }
}

/// Names from here, roots from a secret: with names in it, Envoy refuses the context while the secret is empty instead of verifying
/// nobody.
fn combined(context: CertificateValidationContext, roots: &SecretName) -> ValidationContextType {
    ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
        default_validation_context: Some(context),
        validation_context_sds_secret_config: Some(sds::secret(roots)),
        ..Default::default()
    })
}

fn matchers(sans: &PeerNames) -> Vec<SubjectAltNameMatcher> {
    sans.iter().map(matcher).collect()
}

fn matcher(san: &San) -> SubjectAltNameMatcher {
    let (kind, pattern) = match san {
        San::Dns(name) => (SanType::Dns, MatchPattern::Exact(name.clone())),
        San::Ip(address) => (SanType::IpAddress, MatchPattern::Exact(address.to_string())),
        San::Uri(uri) => (SanType::Uri, MatchPattern::Exact(uri.clone())),
        San::UriPrefix(prefix) => (SanType::Uri, MatchPattern::Prefix(prefix.clone())),
    };
    SubjectAltNameMatcher {
        san_type: kind.into(),
        matcher: Some(StringMatcher { match_pattern: Some(pattern), ..Default::default() }),
        ..Default::default()
    }
}

/// TLS 1.2 and 1.3, unless the mesh asks for more. Said for both ends: left to itself, an Envoy that is a client stops at 1.2.
fn parameters(settings: &TlsSettings) -> TlsParameters {
    TlsParameters {
        tls_minimum_protocol_version: version(settings.minimum.unwrap_or(TlsVersion::V1_2)).into(),
        tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
        cipher_suites: settings.cipher_suites.clone(),
        ecdh_curves: settings.ecdh_curves.clone(),
        ..Default::default()
    }
}

fn mesh_parameters(settings: &TlsSettings) -> TlsParameters {
    let mut parameters = parameters(settings);
    if parameters.cipher_suites.is_empty() {
        parameters.cipher_suites = MESH_CIPHERS.map(str::to_owned).into();
    }
    parameters
}
