//! What both variants of the protocol have in common: one type on one stream.

use std::sync::Arc;

use super::wire::Response;
use super::{ResourceType, Version, View};

/// What a request said of the response before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is no answer: a first request, or a change of the subscription alone.
    Request,
    /// The first request of a client that comes back: it has these already, as they are now, from a stream before.
    Resumed(Vec<(Arc<str>, Version)>),
    /// It answers an older response and says nothing of the newest.
    Stale,
    /// The client took these (`None`: their removal).
    Acknowledged(Vec<(Arc<str>, Option<Version>)>),
    /// The client refused the response that held these; what it had before keeps serving.
    Rejected {
        /// The refused names and versions.
        resources: Vec<(Arc<str>, Option<Version>)>,
        /// The client's own words (`error_detail.message`).
        error: String,
    },
}

/// Whether a response may take resources away. On an aggregated stream the removal of a cluster waits until the listeners
/// and routes that named it have been replaced and acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removals {
    /// Keep what is gone for now.
    Hold,
    /// Take away what is gone.
    Send,
}

/// One type's subscription on one stream. Pure: what it returns depends on the calls made before and nothing else.
pub trait Subscription: Send {
    /// The variant's request, reduced to what concerns one type.
    type Request;

    /// A subscription of the type; nothing is asked for yet.
    fn new(ty: ResourceType) -> Self;

    /// Takes a request into account. `view` is what the client may see now.
    fn on_request(&mut self, request: Self::Request, view: &View) -> Outcome;

    /// The next response, if one is due and none is in flight.
    fn respond(&mut self, view: &View, removals: Removals) -> Option<Response>;

    /// Whether no response waits for its acknowledgement.
    fn is_idle(&self) -> bool;

    /// How many names the client is subscribed to.
    fn names(&self) -> usize;

    /// Sends these names again although they did not change, as far as the client subscribed to them.
    fn refresh(&mut self, names: &[Arc<str>]);

    /// Forgets what was refused, so that it is offered again: what it depended on has changed.
    fn retry_rejected(&mut self);
}
