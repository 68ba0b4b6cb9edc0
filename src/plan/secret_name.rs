//! Secrets by name.

use std::fmt;

use serde::{Serialize, Serializer};

/// A secret that some TLS context of a plan refers to. Its text is the SDS name, in Istio's spelling.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretName {
    /// The workload's own certificate: `default`.
    Workload,
    /// The mesh's roots: `ROOTCA`.
    Root,
    /// The roots of every trust domain, each for its own identities: `ALL`.
    AllRoots,
    /// The roots of one trust domain that is not ours: `spiffe://DOMAIN`.
    DomainRoots(String),
    /// Roots in a file on the proxy's machine: `file-root:PATH`.
    FileRoot(String),
    /// The trust store of the proxy's machine: `file-root:system`. It is a secret since Envoy has no other way to it: a context with
    /// `system_root_certs` and names to verify is refused for want of a trusted CA.
    SystemRoots,
    /// A certificate and key in files on the proxy's machine: `file-cert:CERTIFICATE~KEY`.
    FileCert {
        /// The chain, leaf first.
        certificate: String,
        /// The key.
        key: String,
    },
    /// A Kubernetes Secret: `kubernetes://NAME`, or `kubernetes://NAME-cacert` for its roots.
    Credential {
        /// The client's own namespace.
        namespace: String,
        /// As the `credentialName` has it: a Secret of that namespace, or `NAMESPACE/NAME`.
        name: String,
        /// Whether its roots are meant, and not its certificate.
        ca: bool,
    },
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload => f.write_str("default"),
            Self::Root => f.write_str("ROOTCA"),
            Self::AllRoots => f.write_str("ALL"),
            Self::DomainRoots(domain) => write!(f, "spiffe://{domain}"),
            Self::FileRoot(path) => write!(f, "file-root:{path}"),
            Self::SystemRoots => f.write_str("file-root:system"),
            Self::FileCert { certificate, key } => write!(f, "file-cert:{certificate}~{key}"),
            Self::Credential { name, ca: false, .. } => write!(f, "kubernetes://{name}"),
            Self::Credential { name, ca: true, .. } => write!(f, "kubernetes://{name}-cacert"),
        }
    }
}

impl Serialize for SecretName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
