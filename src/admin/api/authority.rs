//! Whom the mesh trusts: bundles of trust domains, and authorities that come from elsewhere.

use serde::{Deserialize, Serialize};

/// `GET /v1/bundles`, and the answer to an [`ImportBundleRequest`]: the bundle of one trust domain. Our own is the first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BundleStatus {
    /// Whose it is.
    pub trust_domain: String,
    /// Whether that is our own trust domain.
    pub own: bool,
    /// Whether identities of the trust domain may connect: it is our own, or in `federatesWith`.
    pub accepted: bool,
    /// Rises with each change. `None`: its publisher counts none.
    pub sequence: Option<u64>,
    /// How often its publisher asks to look again.
    pub refresh_hint_seconds: Option<u64>,
    /// When it was taken in; `None` for our own.
    pub imported_at: Option<String>,
    /// Its roots.
    pub roots: Vec<RootStatus>,
}

/// One root of a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RootStatus {
    /// Its serial number.
    pub serial: String,
    /// Its name.
    pub subject: String,
    /// Start of validity.
    pub not_before: String,
    /// End of validity.
    pub not_after: String,
}

/// `GET /v1/bundle`: a bundle for others to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BundleDocument {
    /// Whose it is.
    pub trust_domain: String,
    /// The roots, PEM.
    pub pem: String,
    /// The same as a SPIFFE bundle: a JWK Set.
    pub spiffe: String,
}

/// `POST /v1/bundles/import`: the bundle of another trust domain, in place of an older one of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportBundleRequest {
    /// Whose it is. A bundle does not say that itself.
    pub trust_domain: String,
    /// A SPIFFE bundle or PEM.
    pub document: String,
}

/// `POST /v1/bundles/remove`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemoveBundleRequest {
    /// Whose.
    pub trust_domain: String,
}

/// The answer to `POST /v1/ca/csr`: a request for the certificate of an intermediate, whose key is kept here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthorityRequest {
    /// PKCS #10, PEM.
    pub csr: String,
}

/// `POST /v1/ca/import`: an intermediate under a root that is trusted already. Answered with an
/// [`IntermediateReport`](super::IntermediateReport).
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportAuthorityRequest {
    /// The intermediate, then what is between it and the root; PEM.
    pub chain: String,
    /// The root, PEM.
    pub root: String,
    /// The intermediate's key, PEM; `None` if it was made by `POST /v1/ca/csr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Shows no key.
impl std::fmt::Debug for ImportAuthorityRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImportAuthorityRequest").finish_non_exhaustive()
    }
}
