//! How a proxy terminates TLS with a certificate of the operator's.

use serde::Serialize;

use super::{AccessRule, Condition, Pattern, SecretName, Test};
use crate::mesh::{PeerNames, San, ServerCertificate, ServerTls, ServerTlsMode, Settings, TlsVersion};

/// What a server of HTTP agrees to.
pub(super) const HTTP_ALPN: [&str; 2] = ["h2", "http/1.1"];

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
    pub minimum: TlsVersion,
    /// The newest.
    pub maximum: TlsVersion,
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
    /// Who is refused although these roots vouch for them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<AccessRule>,
}

/// An authority of the operator's vouches for nobody of the mesh: whoever it certifies could have a second name in the certificate, and
/// pass for a workload before AuthorizationPolicies and the application. Unless the operator names such identities.
fn identities_not_named(settings: &Settings, names: &[String]) -> Vec<AccessRule> {
    let prefixes: Vec<String> = settings.accepted_trust_domains().iter().map(|it| format!("spiffe://{it}/")).collect();
    if names.iter().any(|name| prefixes.iter().any(|prefix| name.starts_with(prefix))) {
        return Vec::new();
    }
    let any_of = prefixes.into_iter().map(|prefix| Test::Peer(Pattern::Prefix(prefix))).collect();
    let of_the_mesh = Condition { any_of, none_of: Vec::new() };
    vec![AccessRule {
        name: "identities-of-the-mesh".to_owned(),
        peers: vec![vec![of_the_mesh]],
        operations: vec![Vec::new()],
    }]
}

impl Termination {
    /// What `tls` asks for, of a proxy of `namespace`; where it says nothing, the mesh's `tlsDefaults` count. `None`: it shows no certificate of
    /// the operator's.
    pub(super) fn new(tls: &ServerTls, namespace: &str, alpn: Vec<&'static str>, settings: &Settings) -> Option<Self> {
        let defaults = settings.tls_defaults();
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
            refused: identities_not_named(settings, &tls.subject_alt_names),
        });
        let maximum = tls.maximum.unwrap_or(TlsVersion::V1_3);
        let default = defaults.minimum.unwrap_or(TlsVersion::V1_2);
        let suites = if tls.cipher_suites.is_empty() { defaults.cipher_suites } else { tls.cipher_suites.clone() };
        Some(Self {
            certificate,
            clients,
            alpn,
            // A server whose newest version is written is not to have an older one than its oldest: Envoy refuses that.
            minimum: tls.minimum.unwrap_or(default.min(maximum)),
            maximum,
            cipher_suites: suites,
            ecdh_curves: defaults.ecdh_curves,
        })
    }

    /// The secrets it refers to.
    pub(super) fn secrets(&self) -> impl Iterator<Item = SecretName> + use<> {
        let roots = self.clients.as_ref().map(|clients| clients.roots.clone());
        std::iter::once(self.certificate.clone()).chain(roots)
    }
}
