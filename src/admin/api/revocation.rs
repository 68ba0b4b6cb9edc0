//! Certificates that are not believed any more.

use serde::{Deserialize, Serialize};

/// `POST /v1/revoke`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokeRequest {
    /// The serial number of a certificate, or a SPIFFE ID for all that it has.
    pub target: String,
}

/// The answer to a [`RevokeRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RevokeReport {
    /// The certificates, those among them that were revoked before too.
    pub revoked: Vec<RevokedCertificate>,
    /// How many connections to this server were ended.
    pub connections_ended: usize,
    /// Whether proxies are given revocation lists. If not, they believe what is revoked until it ends.
    pub lists: bool,
}

/// `GET /v1/revocations`: a certificate that is revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RevokedCertificate {
    /// Its serial number.
    pub serial: String,
    /// The SPIFFE ID in it.
    pub identity: String,
    /// When it would have ended.
    pub not_after: String,
    /// When it was revoked.
    pub revoked_at: String,
}
