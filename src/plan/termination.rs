//! How a proxy terminates TLS with a certificate of the operator's.

use serde::Serialize;

use super::SecretName;
use crate::mesh::{
    PeerNames, San, ServerCertificate, ServerTls, ServerTlsMode, ServerTlsVersion, TlsSettings, TlsVersion,
};

/// One server-side TLS context outside the mesh's PKI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Termination {
    /// What the server shows.
    pub certificate: SecretName,
    /// How clients are verified; `None`: they show nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<Clients>,
    /// The protocols agreed to (RFC 7301), best first.
    pub alpn: Vec<&'static str>,
    /// The oldest version of TLS.
    pub minimum: ServerTlsVersion,
    /// The newest.
    pub maximum: ServerTlsVersion,
    /// Of TLS 1.2 and before; empty: Envoy's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cipher_suites: Vec<String>,
    /// Of the key exchange, best first; empty: Envoy's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ecdh_curves: Vec<String>,
}

/// How clients are verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Clients {
    /// Against these roots.
    pub roots: SecretName,
    /// They must carry one of these names; `None`: the operator names none, and whoever these roots have certified is let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sans: Option<PeerNames>,
    /// A CRL file on the proxy's machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl: Option<String>,
    /// Whether a client without a certificate is refused.
    pub required: bool,
}

impl Termination {
    /// What `tls` asks for, of a proxy of `namespace`; where it says nothing, the mesh's `defaults` count. `None`: it shows no certificate of
    /// the operator's.
    pub(super) fn new(
        tls: &ServerTls,
        namespace: &str,
        alpn: Vec<&'static str>,
        defaults: &TlsSettings,
    ) -> Option<Self> {
        let credential =
            |name: &String, ca| SecretName::Credential { namespace: namespace.to_owned(), name: name.clone(), ca };
        let required = match tls.mode {
            ServerTlsMode::Simple => None,
            ServerTlsMode::Mutual => Some(true),
            ServerTlsMode::OptionalMutual => Some(false),
            ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough | ServerTlsMode::IstioMutual => return None,
        };
        let (certificate, roots) = match tls.certificate.as_ref()? {
            ServerCertificate::Credential(name) => (credential(name, false), credential(name, true)),
            ServerCertificate::Files { chain, key } => {
                let certificate = SecretName::FileCert { certificate: chain.clone(), key: key.clone() };
                (certificate, SecretName::FileRoot(tls.ca_certificates.clone().unwrap_or_default()))
            }
        };
        let clients = required.map(|required| Clients {
            roots,
            sans: PeerNames::any_of(tls.subject_alt_names.iter().map(|name| San::parse(name))),
            crl: tls.ca_crl.clone(),
            required,
        });
        let maximum = tls.maximum.unwrap_or(ServerTlsVersion::V1_3);
        let default = match defaults.minimum {
            None | Some(TlsVersion::V1_2) => ServerTlsVersion::V1_2,
            Some(TlsVersion::V1_3) => ServerTlsVersion::V1_3,
        };
        let suites = if tls.cipher_suites.is_empty() { &defaults.cipher_suites } else { &tls.cipher_suites };
        Some(Self {
            certificate,
            clients,
            alpn,
            // A server whose newest version is written is not to have an older one than its oldest: Envoy refuses that.
            minimum: tls.minimum.unwrap_or(default.min(maximum)),
            maximum,
            cipher_suites: suites.clone(),
            ecdh_curves: defaults.ecdh_curves.clone(),
        })
    }

    /// The secrets it refers to.
    pub(super) fn secrets(&self) -> impl Iterator<Item = SecretName> + use<> {
        let roots = self.clients.as_ref().map(|clients| clients.roots.clone());
        std::iter::once(self.certificate.clone()).chain(roots)
    }
}
