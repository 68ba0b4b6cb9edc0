//! What proxies are connected, what they hold, and who has what.

use serde::{Deserialize, Serialize};

/// `GET /v1/proxies`: one proxy, its identity and what it has acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyStatus {
    /// `namespace/name`.
    pub name: String,
    /// What the proxy calls itself. It is shown, never trusted.
    pub node_id: String,
    /// The authenticated SPIFFE ID; empty for a stream without TLS.
    pub identity: String,
    /// The `node.cluster` of its bootstrap.
    pub cluster: String,
    /// The version of Envoy.
    pub version: String,
    /// When its stream was opened.
    pub connected_since: String,
    /// One entry for each type the server knows.
    pub types: Vec<TypeStatus>,
}

/// What a proxy has of one resource type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TypeStatus {
    /// `CDS`, `LDS`, `EDS`, `RDS` or `SDS`.
    pub type_name: String,
    /// Whether the proxy has what it should have.
    pub state: TypeState,
    /// How many resources were sent.
    pub resources: usize,
    /// The version that was acknowledged last.
    pub version: String,
    /// Why the proxy refused the newest response, in its own words.
    pub error: Option<String>,
}

/// Whether a proxy has what it should have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TypeState {
    /// The newest version is acknowledged.
    Synced,
    /// The newest version is sent and not acknowledged.
    Stale,
    /// The proxy refused the newest version and keeps the one before.
    Rejected,
    /// The proxy has not asked, or there is nothing for it.
    #[default]
    NotSent,
}

impl TypeState {
    /// As it is written in JSON, with a space for the underscore.
    pub fn label(self) -> &'static str {
        match self {
            Self::Synced => "SYNCED",
            Self::Stale => "STALE",
            Self::Rejected => "REJECTED",
            Self::NotSent => "NOT SENT",
        }
    }
}

/// `GET /v1/secrets`: one certificate that a proxy holds. Each root of a bundle is an entry of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretStatus {
    /// The proxy, as `namespace/name`.
    pub node: String,
    /// The name in SDS: `default`, `ROOTCA`, or one that policy gives, such as `kubernetes://gateway`.
    pub name: String,
    /// What it is.
    pub r#type: SecretType,
    /// How far it has come.
    pub status: SecretState,
    /// Whether now is between `notBefore` and `notAfter`. `None`, with the rest empty: the certificate is in a file of the proxy's own
    /// machine, or the secret is not served any more.
    pub valid: Option<bool>,
    /// The certificate's serial number.
    pub serial: String,
    /// End of validity.
    pub not_after: String,
    /// Start of validity.
    pub not_before: String,
}

/// What a secret is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecretType {
    /// A secret that is not served any more, and that the proxy still holds.
    #[default]
    Unknown,
    /// A certificate chain with its key; the serial is the leaf's.
    #[serde(rename = "Cert Chain")]
    CertChain,
    /// A trust anchor.
    #[serde(rename = "CA")]
    Ca,
}

impl SecretType {
    /// As it is written in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::CertChain => "Cert Chain",
            Self::Ca => "CA",
        }
    }
}

/// How far a secret has come on its way to a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SecretState {
    /// Acknowledged.
    Active,
    /// Sent, and not acknowledged.
    #[default]
    Warming,
    /// Refused by the proxy.
    Rejected,
}

impl SecretState {
    /// As it is written in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Warming => "WARMING",
            Self::Rejected => "REJECTED",
        }
    }
}

/// `GET /v1/adoption`: who has acknowledged a secret, and who has not?
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AdoptionRequest {
    /// Its name in SDS.
    pub secret: String,
    /// The version that everyone should have; without it, each proxy what it is served now.
    #[serde(default)]
    pub version: Option<String>,
    /// How long to wait until all have it, at most [`MAX_WAIT_SECONDS`](super::MAX_WAIT_SECONDS); without it the answer comes at once.
    #[serde(default)]
    pub wait_seconds: Option<u64>,
}

/// The answer to an [`AdoptionRequest`]. It is about the proxies that are connected and are served a secret of that name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AdoptionStatus {
    /// The secret's name.
    pub secret: String,
    /// The version that was asked for.
    pub version: Option<String>,
    /// Whether every one that uses it has acknowledged it.
    pub complete: bool,
    /// How many streams of proxies have acknowledged it.
    pub acknowledged: usize,
    /// Who has not.
    pub missing: Vec<MissingProxy>,
    /// Who has had the time to ask for it, and has not: it does not use it. `namespace/name` each.
    pub unused: Vec<String>,
    /// How many proxies that were here before are not connected. What they hold may be old, and they may come back.
    pub away: usize,
}

/// A proxy that has not acknowledged what it should.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MissingProxy {
    /// The proxy, as `namespace/name`.
    pub node: String,
    /// What the proxy calls itself. It is shown, never trusted.
    pub node_id: String,
    /// The authenticated SPIFFE ID.
    pub identity: String,
    /// How far it is.
    pub state: AdoptionState,
    /// The same in words.
    pub reason: String,
    /// The version that it has instead.
    pub version: Option<String>,
    /// The serial number of the certificate in that, or of each root.
    pub serial: Option<String>,
}

/// How far a proxy is with what it should have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AdoptionState {
    /// It has not asked for it yet.
    #[default]
    NotAsked,
    /// It was sent, and is not acknowledged.
    Waiting,
    /// The proxy refused it.
    Rejected,
    /// The proxy has another version, and this one has not been sent.
    Behind,
}

impl AdoptionState {
    /// As it is written in JSON, with a space for the underscore.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotAsked => "NOT ASKED",
            Self::Waiting => "WAITING",
            Self::Rejected => "REJECTED",
            Self::Behind => "BEHIND",
        }
    }
}
