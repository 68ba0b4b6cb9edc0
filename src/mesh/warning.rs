//! What the operator should know of a policy set that works, but perhaps not as meant.

use std::fmt;

use serde::Serialize;

use super::Origin;

/// Something the operator should know: what was written works, but perhaps not as meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Warning {
    /// The place to look at.
    #[serde(serialize_with = "as_text")]
    pub at: Origin,
    /// What kind of surprise it is.
    pub topic: Topic,
    /// What is surprising there, and what happens instead.
    pub message: String,
}

/// The kinds of surprises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// A client's rule and a server's policy cannot both be had: connections fail.
    Contradiction,
    /// A client's rule asks for mutual TLS from a plaintext port, and the client follows the port.
    Followed,
    /// A rule hides the TLS settings of a wider one.
    DroppedTls,
    /// A client verifies its server less than it could, or shows it less than was asked for.
    Unverified,
    /// Another object counts instead of this one.
    Shadowed,
    /// The object is in a place where it means nothing.
    Ignored,
    /// What is written has no effect here.
    NoEffect,
    /// A selector that selects no workload.
    SelectsNothing,
    /// A workload that no policy protects.
    Unprotected,
    /// An address or host that cannot be reached as written.
    Unreachable,
    /// An AuthorizationPolicy for a workload that has no proxy.
    Unenforced,
    /// What the mesh's configuration says and what the server does are not the same.
    Disagreement,
    /// Istio's policy and Linkerd's speak of one thing, and differ.
    Dialects,
    /// Two Servers select one port.
    TwoServers,
    /// A Server that lets nobody in.
    NobodyAdmitted,
    /// An annotation that Linkerd does not read where it stands.
    Misplaced,
    /// A reference to an object that is not there.
    LeadsNowhere,
    /// A port that there is not.
    NoSuchPort,
    /// An identity that is not of our trust domain.
    ForeignIdentity,
    /// A template that makes no identity of a workload.
    InvalidIdentity,
    /// One identity for workloads of different service accounts.
    SharedIdentity,
    /// A registration that fits nobody.
    RegistersNobody,
    /// What counts at the start of the server only, and is another than it was.
    NeedsRestart,
}

impl Warning {
    /// A warning about the thing written at `at`.
    pub fn new(topic: Topic, at: &Origin, message: impl Into<String>) -> Self {
        Self { at: at.clone(), topic, message: message.into() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

fn as_text<S: serde::Serializer>(at: &Origin, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}
