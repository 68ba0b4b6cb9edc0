//! Certificates of operators' own issuers.

use serde::{Deserialize, Serialize};

/// `GET /v1/certificates`: one Certificate as it stands. It is what `cmctl status certificate` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateStatus {
    /// `namespace/name`.
    pub name: String,
    /// Where it is written: `file:line`.
    pub at: String,
    /// The Secret that it is for, in the same namespace.
    pub secret: String,
    /// Who signs it.
    pub issuer: IssuerStatus,
    /// Its common name.
    pub common_name: String,
    /// Its DNS names.
    pub dns_names: Vec<String>,
    /// How many certificates were issued for it.
    pub revision: u64,
    /// The serial number of the certificate in the Secret; empty if there is none.
    pub serial: String,
    /// Start of its validity.
    pub not_before: Option<String>,
    /// End of its validity.
    pub not_after: Option<String>,
    /// When it is renewed.
    pub renewal_time: Option<String>,
    /// Failures since the last success.
    pub failures: u32,
    /// `Ready`, and `Issuing` while there is something to say about it.
    pub conditions: Vec<Condition>,
    /// What has happened, the oldest first.
    pub events: Vec<CertificateEvent>,
}

/// An issuer as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IssuerStatus {
    /// `Issuer` or `ClusterIssuer`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Whether it can sign.
    pub ready: bool,
    /// Why not.
    pub message: String,
}

/// What is so, and since when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// `Ready` or `Issuing`.
    pub r#type: String,
    /// Whether it is so.
    pub status: bool,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// When `status` last changed.
    pub last_transition_time: String,
}

/// What has happened to a Certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateEvent {
    /// When.
    pub at: String,
    /// Whether it needs attention.
    pub warning: bool,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// `POST /v1/certificates/renew`: another certificate for each of these. It is kept when the answer comes, which is a list of
/// [`CertificateStatus`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RenewCertificatesRequest {
    /// `namespace/name` of each.
    #[serde(default)]
    pub certificates: Vec<String>,
    /// Every Certificate of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Every Certificate.
    #[serde(default)]
    pub all: bool,
}

/// `POST /v1/certificates/export`: what is in the Secret of a Certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExportCertificateRequest {
    /// `namespace/name` of the Certificate.
    pub certificate: String,
}

/// The answer to an [`ExportCertificateRequest`].
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExportedCertificate {
    /// The certificate and what is above it, as PEM.
    pub tls_crt: String,
    /// The key, as PEM.
    pub tls_key: String,
    /// The authority, as PEM.
    pub ca_crt: String,
}

/// Shows no key.
impl std::fmt::Debug for ExportedCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExportedCertificate").finish_non_exhaustive()
    }
}
