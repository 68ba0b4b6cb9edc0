//! The only place where an mTLS mode is decided, for both ends of a connection.
//!
//! [`inbound`] says what a workload's port accepts, [`outbound`] how a client reaches a service port. Both return the chain
//! of reasons with the places they were written at. Istio decides clusters and endpoints in two places that can disagree
//! (istio/istio#56084); here the outbound decision asks the inbound one.
//!
//! A port may be on its way to another mode ([`Transit`](super::Transit)). Then its listener and its clients are decided by how far it is:
//!
//! | step | the listener takes | clients go by |
//! |---|---|---|
//! | accepting | both | what the port served before |
//! | switching | both | what the policy says |
//! | closing | what the policy says | what the policy says |

mod conflict;
mod explicit;
mod inbound;
mod linkerd;
mod outbound;
mod skipped;

use serde::Serialize;

use super::Origin;

pub use inbound::{
    InboundDecision, InboundMode, dialects, inbound, inbound_elsewhere, plaintext_as_before, ports_named, termination,
};
pub(super) use inbound::{is_unspoken, mode_and_place, written};
pub use linkerd::admission;
pub use outbound::{
    Choice, ClientCertificate, Destination, OutboundDecision, OutboundMode, Roots, ServerTrust, outbound, outbound_to,
    subsets,
};

/// One step of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// What was found, in words.
    pub text: String,
    /// Where it is written; `None` for defaults.
    #[serde(serialize_with = "as_text", skip_serializing_if = "Option::is_none")]
    pub at: Option<Origin>,
}

impl Reason {
    fn at(at: &Origin, text: impl Into<String>) -> Self {
        Self { text: text.into(), at: Some(at.clone()) }
    }

    fn default(text: impl Into<String>) -> Self {
        Self { text: text.into(), at: None }
    }
}

fn as_text<S: serde::Serializer>(at: &Option<Origin>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}
