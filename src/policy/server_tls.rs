//! Istio's `ServerTLSSettings`: how a Gateway's server, or one of a Sidecar's ingress listeners, terminates TLS.

use serde::Deserialize;

use super::fields::{Unserved, Unused, non_empty};
use super::mesh_config::{CIPHER_SUITES, TlsVersion};
use super::report::Report;
use super::{Located, Topic};

/// `tls.mode` of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServerTlsMode {
    /// TLS goes through as it is, by the name the client asks for. Istio's zero value.
    #[default]
    Passthrough,
    /// The server shows a certificate.
    Simple,
    /// The client shows one too.
    Mutual,
    /// By a host name in the server name that the client sends; not served.
    AutoPassthrough,
    /// Mutual TLS of the mesh.
    IstioMutual,
    /// The client may show a certificate, and one that it shows must be good.
    OptionalMutual,
}

/// Where a server's certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerCertificate {
    /// PEM files on the proxy's machine.
    Files {
        /// `serverCertificate`: the chain, leaf first.
        chain: String,
        /// `privateKey`.
        key: String,
    },
    /// `credentialName`: a Secret in the proxy's namespace, or `NAMESPACE/NAME`.
    Credential(String),
}

/// `tls` of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// `mode`.
    pub mode: ServerTlsMode,
    /// What the server shows (SIMPLE, MUTUAL, OPTIONAL_MUTUAL; always there in these).
    pub certificate: Option<ServerCertificate>,
    /// `caCertificates`: a PEM file on the proxy's machine, against which clients are verified.
    pub ca_certificates: Option<String>,
    /// `caCrl`: a PEM file on the proxy's machine.
    pub ca_crl: Option<String>,
    /// `subjectAltNames`: a client's certificate must carry one of these.
    pub subject_alt_names: Vec<String>,
    /// `minProtocolVersion`; `None`: what MeshConfig's `tlsDefaults` says, or TLS 1.2.
    pub minimum: Option<TlsVersion>,
    /// `maxProtocolVersion`; `None`: TLS 1.3.
    pub maximum: Option<TlsVersion>,
    /// `cipherSuites` of TLS 1.2 and before, by OpenSSL's names; empty: those of `tlsDefaults`, or Envoy's.
    pub cipher_suites: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "fields that are only known, to warn about or refuse")]
pub(super) struct Raw {
    #[serde(default)]
    pub(super) https_redirect: bool,
    pub(super) mode: Option<Located<ServerTlsMode>>,
    server_certificate: Option<String>,
    private_key: Option<String>,
    ca_certificates: Option<String>,
    ca_crl: Option<String>,
    credential_name: Option<Located<String>>,
    #[serde(default)]
    subject_alt_names: Vec<String>,
    min_protocol_version: Option<Located<RawVersion>>,
    max_protocol_version: Option<Located<RawVersion>>,
    #[serde(default)]
    cipher_suites: Vec<Located<String>>,
    credential_names: Option<Unserved>,
    ca_cert_credential_name: Option<Unserved>,
    tls_certificates: Option<Unserved>,
    verify_certificate_spki: Option<Unserved>,
    verify_certificate_hash: Option<Unserved>,
    ecdh_curves: Option<Unused>,
}

#[derive(Clone, Copy, Deserialize)]
enum RawVersion {
    #[serde(rename = "TLS_AUTO")]
    Auto,
    #[serde(rename = "TLSV1_0")]
    V1_0,
    #[serde(rename = "TLSV1_1")]
    V1_1,
    #[serde(rename = "TLSV1_2")]
    V1_2,
    #[serde(rename = "TLSV1_3")]
    V1_3,
}

/// Checks the settings of a server at `field`. `None`: they only redirect plaintext.
pub(super) fn check(raw: Located<Raw>, field: &str, report: &Report) -> Option<Located<ServerTls>> {
    let Located { value: raw, at } = raw;
    if raw.https_redirect && raw.mode.is_none() {
        return None;
    }
    let mode = raw.mode.as_ref().map_or_else(ServerTlsMode::default, |mode| mode.value);
    let credential = raw.credential_name.filter(|name| !name.value.is_empty());
    let (chain, key) = (non_empty(raw.server_certificate), non_empty(raw.private_key));
    let (ca_certificates, ca_crl) = (non_empty(raw.ca_certificates), non_empty(raw.ca_crl));
    let terminates = matches!(mode, ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual);
    let has_any = credential.is_some() || chain.is_some() || key.is_some() || ca_certificates.is_some();
    if mode == ServerTlsMode::AutoPassthrough {
        let help = "list the hosts, with mode PASSTHROUGH and a VirtualService";
        report.error_with_help(&at, &format!("{field}.mode"), "AUTO_PASSTHROUGH is not served", help);
    }
    if !terminates && has_any {
        let help = "SIMPLE, MUTUAL and OPTIONAL_MUTUAL show a certificate of the operator's";
        report.error_with_help(&at, field, "certificates in a mode that shows none of the operator's", help);
    }
    if let Some(name) = &credential {
        credential_name(name, chain.is_some() || key.is_some() || ca_certificates.is_some(), field, report);
    }
    let certificate = match (credential.map(|name| name.value), chain, key) {
        (Some(name), _, _) => Some(ServerCertificate::Credential(name)),
        (None, Some(chain), Some(key)) => Some(ServerCertificate::Files { chain, key }),
        _ => None,
    };
    if terminates && certificate.is_none() {
        let help = "credentialName, or both serverCertificate and privateKey";
        report.error_with_help(&at, field, "no certificate to show", help);
    }
    let verifies = matches!(mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual);
    if verifies && matches!(certificate, Some(ServerCertificate::Files { .. })) && ca_certificates.is_none() {
        report.error(&at, &format!("{field}.caCertificates"), "missing: clients are verified against it");
    }
    if !verifies && !raw.subject_alt_names.is_empty() {
        let help = "MUTUAL and OPTIONAL_MUTUAL look at clients";
        report.error_with_help(&at, &format!("{field}.subjectAltNames"), "this mode looks at no client", help);
    }
    if mode == ServerTlsMode::OptionalMutual && !raw.subject_alt_names.is_empty() {
        let message = format!(
            "{field}.subjectAltNames beside OPTIONAL_MUTUAL: Envoy then refuses clients without a certificate too"
        );
        report.warn(&at, message);
    }
    if verifies && raw.subject_alt_names.is_empty() {
        let message =
            format!("{field}.subjectAltNames is empty: whoever has any certificate of that authority is let in");
        report.warn_of(Topic::SkipsVerification, &at, message);
    }
    let has_tls_settings = raw.min_protocol_version.is_some()
        || raw.max_protocol_version.is_some()
        || !raw.cipher_suites.is_empty()
        || ca_crl.is_some();
    if mode == ServerTlsMode::IstioMutual && has_tls_settings {
        let message = format!(
            "{field}: versions, cipherSuites and caCrl have no effect with ISTIO_MUTUAL, which is TLS of the mesh: MeshConfig's \
             meshMTLS says how it is spoken"
        );
        report.warn(&at, message);
    }
    let (minimum, maximum) =
        (version(raw.min_protocol_version, field, report), version(raw.max_protocol_version, field, report));
    if minimum.unwrap_or(TlsVersion::V1_2) > maximum.unwrap_or(TlsVersion::V1_3) {
        report.error(&at, field, "minProtocolVersion is above maxProtocolVersion");
    }
    let tls = ServerTls {
        mode,
        certificate,
        ca_certificates,
        ca_crl,
        subject_alt_names: raw.subject_alt_names,
        minimum,
        maximum,
        cipher_suites: cipher_suites(raw.cipher_suites, field, report),
    };
    Some(Located::new(tls, at))
}

fn credential_name(name: &Located<String>, beside_paths: bool, field: &str, report: &Report) {
    let field = format!("{field}.credentialName");
    let (namespace, secret) = super::secret_named(&name.value, "default");
    if !super::host::is_namespace(namespace) || !super::host::is_object_name(secret) {
        let help = "a Secret in the proxy's namespace by its name, or NAMESPACE/NAME";
        report.error_with_help(&name.at, &field, "not a valid name", help);
    }
    if name.value.ends_with("-cacert") {
        report.error(&name.at, &field, "the name ends with \"-cacert\", which stands for the roots of another Secret");
    }
    if beside_paths {
        report.error_with_help(&name.at, &field, "beside paths of certificates", "one or the other");
    }
}

fn version(raw: Option<Located<RawVersion>>, field: &str, report: &Report) -> Option<TlsVersion> {
    let Located { value, at } = raw?;
    let version = match value {
        RawVersion::Auto => return None,
        RawVersion::V1_0 => TlsVersion::V1_0,
        RawVersion::V1_1 => TlsVersion::V1_1,
        RawVersion::V1_2 => TlsVersion::V1_2,
        RawVersion::V1_3 => TlsVersion::V1_3,
    };
    if version < TlsVersion::V1_2 {
        report.warn(&at, format!("{field}: TLS 1.0 and 1.1 are broken (RFC 8996)"));
    }
    Some(version)
}

fn cipher_suites(suites: Vec<Located<String>>, field: &str, report: &Report) -> Vec<String> {
    let mut known = Vec::new();
    for suite in suites {
        if CIPHER_SUITES.contains(&suite.value.as_str()) {
            known.push(suite.value);
        } else {
            // As in Istio, which drops what Envoy would refuse.
            let shown: String = suite.value.chars().take(60).collect();
            report
                .warn(&suite.at, format!("{field}.cipherSuites: {shown:?} is not a suite of Envoy's, and is left out"));
        }
    }
    known
}
