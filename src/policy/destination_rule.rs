//! Istio `DestinationRule` (`networking.istio.io` `v1`, `v1beta1`, `v1alpha3`), the TLS part: how clients reach a host.

use std::collections::BTreeMap;

use super::{LabelSelector, Located};

/// `trafficPolicy.tls.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClientTlsMode {
    /// No TLS.
    #[default]
    Disable,
    /// TLS, the server is verified.
    Simple,
    /// TLS with a client certificate of the operator's own.
    Mutual,
    /// Mutual TLS with the workload's mesh certificate.
    IstioMutual,
}

/// `trafficPolicy.tls` (Istio `ClientTLSSettings`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// `mode`.
    pub mode: ClientTlsMode,
    /// `clientCertificate`: a PEM chain, as a path on the proxy's machine (MUTUAL).
    pub client_certificate: Option<String>,
    /// `privateKey`: a path on the proxy's machine (MUTUAL).
    pub private_key: Option<String>,
    /// `caCertificates`: a path on the proxy's machine; absent means the system's roots (SIMPLE, MUTUAL).
    pub ca_certificates: Option<String>,
    /// `caCrl`: a path on the proxy's machine.
    pub ca_crl: Option<String>,
    /// `credentialName`: a Secret instead of the paths.
    pub credential_name: Option<String>,
    /// `subjectAltNames`: exact names, one of which the server must carry.
    pub subject_alt_names: Vec<String>,
    /// `sni`.
    pub sni: Option<String>,
    /// `insecureSkipVerify`.
    pub insecure_skip_verify: bool,
}

/// A `trafficPolicy`, reduced to its TLS parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficPolicy {
    /// `tls`.
    pub tls: Option<Located<ClientTls>>,
    /// `portLevelSettings`, by service port. They replace the policy for that port wholesale, so an entry without
    /// `tls` means the port has no TLS setting at all.
    pub port_tls: BTreeMap<u16, Option<Located<ClientTls>>>,
}

/// One of `subsets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subset {
    /// `name`.
    pub name: String,
    /// `labels` of the endpoints that belong to it.
    pub labels: LabelSelector,
    /// `trafficPolicy`, overriding the rule's field by field.
    pub traffic_policy: Option<TrafficPolicy>,
}

/// The spec of a `DestinationRule`.
#[derive(Clone, Debug)]
pub struct DestinationRule {
    /// `host`: a name, a short name (resolved in the rule's namespace) or `*.suffix`.
    pub host: Located<String>,
    /// `trafficPolicy`.
    pub traffic_policy: Option<TrafficPolicy>,
    /// `subsets`.
    pub subsets: Vec<Subset>,
    /// `exportTo`: namespaces, `.` for its own, `*` for all. Empty means all.
    pub export_to: Vec<String>,
    /// `workloadSelector.matchLabels`: only these clients of the rule's own namespace.
    pub workload_selector: Option<LabelSelector>,
}
