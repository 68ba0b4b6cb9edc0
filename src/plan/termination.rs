//! How a proxy terminates TLS with a certificate of the operator's.

use serde::Serialize;

use super::SecretName;
use crate::mesh::{PeerNames, San, ServerCertificate, ServerTls, ServerTlsMode, ServerTlsVersion};

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
    /// What `tls` asks for, of a proxy of `namespace`. `None`: it shows no certificate of the operator's.
    pub(super) fn new(tls: &ServerTls, namespace: &str, alpn: Vec<&'static str>) -> Option<Self> {
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
        Some(Self {
            certificate,
            clients,
            alpn,
            minimum: tls.minimum.unwrap_or(ServerTlsVersion::V1_2),
            maximum: tls.maximum.unwrap_or(ServerTlsVersion::V1_3),
            cipher_suites: tls.cipher_suites.clone(),
        })
    }

    /// The secrets it refers to.
    pub(super) fn secrets(&self) -> impl Iterator<Item = SecretName> + use<> {
        let roots = self.clients.as_ref().map(|clients| clients.roots.clone());
        std::iter::once(self.certificate.clone()).chain(roots)
    }
}
