//! What both variants of the protocol have in common: one type on one stream.

use std::sync::Arc;
use std::time::Duration;

use super::holdings::Holdings;
use super::memory::TypeMemory;
use super::wire::{Content, Response};
use super::{Resource, ResourceType, Version, View};

/// What a request said of the response before it.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It is no answer: a first request, or a change of the subscription alone.
    Request,
    /// The first request of a client that comes back: it has these already, as they are now, from a stream before.
    Resumed(Vec<Arc<Resource>>),
    /// It answers an older response and says nothing of the newest.
    Stale,
    /// The client took these (`None`: their removal).
    Acknowledged(Arc<[Content]>),
    /// The client refused the response that held these; what it had before keeps serving.
    Rejected {
        /// What the response held.
        resources: Arc<[Content]>,
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

    /// A subscription of the type by a client of which this is remembered; nothing is asked for yet.
    fn new(ty: ResourceType, memory: TypeMemory) -> Self;

    /// Takes a request into account. `view` is what the client may see now.
    fn on_request(&mut self, request: Self::Request, view: &View) -> Outcome;

    /// The next response, if one is due and none is in flight.
    fn respond(&mut self, view: &View, removals: Removals) -> Option<Response>;

    /// A response that keeps what has a time to live alive, if the client has such and no response is in flight.
    fn heartbeat(&mut self) -> Option<Response>;

    /// The shortest time to live of what the client has.
    fn shortest_ttl(&self) -> Option<Duration>;

    /// Whether no response waits for its acknowledgement.
    fn is_idle(&self) -> bool;

    /// How many names the client is subscribed to.
    fn names(&self) -> usize;

    /// What these names take, in bytes.
    fn name_bytes(&self) -> usize;

    /// Whether the client has refused something that it should have.
    fn is_refused(&self) -> bool;

    /// Whether the response in flight replaces something that the client had, or had refused.
    fn is_replacing(&self) -> bool;

    /// What the client has, once it is in step with the newest view. It is told once each time.
    fn take_settled(&mut self) -> Option<&Holdings>;

    /// What the client's next stream needs to know.
    fn memory(&self) -> TypeMemory;

    /// Sends these names again although they did not change, as far as the client subscribed to them.
    fn refresh(&mut self, names: &[Arc<str>]);

    /// Forgets what was refused, so that it is offered again: what it depended on has changed.
    fn retry_rejected(&mut self);
}

/// For which view there was nothing left to send.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Settled {
    at: Option<(Option<Version>, Removals)>,
    untold: bool,
}

impl Settled {
    pub(super) fn is_for(&self, stamp: Option<Version>, removals: Removals) -> bool {
        // Where nothing is left to send with removals, nothing is without.
        self.at.is_some_and(|(at, with)| at == stamp && (with == Removals::Send || with == removals))
    }

    pub(super) fn set(&mut self, stamp: Option<Version>, removals: Removals) {
        self.at = Some((stamp, removals));
        self.untold = true;
    }

    pub(super) fn unset(&mut self) {
        self.at = None;
    }

    pub(super) fn take_untold(&mut self) -> bool {
        std::mem::take(&mut self.untold)
    }
}
