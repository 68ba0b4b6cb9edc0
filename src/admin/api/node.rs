//! What a new node is given: a certificate for its connection, or a token to join with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `POST /v1/bootstrap`: a certificate for a workload's connection to this server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BootstrapRequest {
    /// `namespace/name`.
    pub workload: String,
    /// A PKCS #10 request in PEM. Its public key and signature are used; the names in the certificate come from the server.
    pub csr: String,
}

/// The answer to a [`BootstrapRequest`]. It holds nothing secret: the key has never left the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BootstrapMaterial {
    /// `namespace/name`.
    pub workload: String,
    /// The SPIFFE ID in the certificate.
    pub identity: String,
    /// The trust domain of that ID.
    pub trust_domain: String,
    /// The certificate and its intermediates, leaf first, PEM.
    pub certificate_chain: String,
    /// The roots by which the server is verified, PEM.
    pub roots: String,
    /// `host:port` of the xDS server.
    pub xds_address: String,
    /// The SPIFFE ID that the xDS server must present.
    pub server_identity: String,
    /// The workload's service account.
    pub service_account: String,
    /// The workload's namespace.
    pub namespace: String,
    /// The workload's labels.
    pub labels: BTreeMap<String, String>,
}

/// The longest that a join token may live: 24 hours, in seconds.
pub const MAX_TOKEN_SECONDS: u64 = 24 * 3600;

/// `POST /v1/tokens`: a join token for a new node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenRequest {
    /// `namespace/name` of the workload that the node is for.
    pub workload: String,
    /// How long it may be used, 1 to [`MAX_TOKEN_SECONDS`].
    pub ttl_seconds: u64,
}

/// The answer to a [`TokenRequest`]: the only time that the token is shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NewToken {
    /// The token. Whoever has it can become the workload, once.
    pub token: String,
    /// What it is called from now on.
    #[serde(flatten)]
    pub status: TokenStatus,
}

impl std::fmt::Debug for NewToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewToken").field("status", &self.status).finish_non_exhaustive()
    }
}

/// `GET /v1/tokens`: one join token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenStatus {
    /// What `countersign token revoke` takes.
    pub id: String,
    /// `namespace/name`.
    pub workload: String,
    /// The SPIFFE ID that its user gets.
    pub identity: String,
    /// Whether it can be used.
    pub state: TokenState,
    /// When it was made.
    pub created_at: String,
    /// From when on it is of no use.
    pub expires_at: String,
    /// When it was used.
    pub used_at: Option<String>,
}

/// Whether a join token can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TokenState {
    /// Yes, once.
    #[default]
    Usable,
    /// It was.
    Used,
    /// It was not, and it is too late.
    Expired,
}

impl TokenState {
    /// As it is written in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Usable => "USABLE",
            Self::Used => "USED",
            Self::Expired => "EXPIRED",
        }
    }
}

/// `POST /v1/tokens/revoke`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokeTokenRequest {
    /// Which.
    pub id: String,
}
