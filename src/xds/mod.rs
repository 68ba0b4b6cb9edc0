//! The transport: subscriptions, state-of-the-world and delta, over the aggregated stream and over those of one type.
//!
//! It knows resources as (type, name, version, bytes) and nothing of policy. A [`View`] is what one client may see: a few
//! shared [`Layer`]s of encoded resources. A [`Session`] is the pure protocol state of one stream: requests and views go in,
//! encoded responses come out, with no clock, lock or task of its own. [`XdsService`] is the thin asynchronous shell around it.
//! Whoever composes the server implements [`ControlPlane`]: it says who may have which view, and hears what clients acknowledged.

mod codec;
mod control;
mod delta;
mod drain;
mod fetch;
mod framing;
mod holdings;
mod interest;
mod lean;
mod limits;
mod memory;
mod method;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod model;
mod refusals;
mod requests;
mod resource;
mod scope;
mod service;
mod session;
mod sotw;
mod stream;
mod subscription;
#[cfg(test)]
mod tests;
mod view;
mod walk;
mod wire;

pub use control::{Attachment, ControlPlane, NodeInfo, StreamObserver};
pub use delta::{DeltaRequest, DeltaSubscription};
pub use drain::{Drain, DrainSignal};
pub use holdings::Holdings;
pub use limits::Limits;
pub use memory::{Memory, TypeMemory};
pub use resource::{Resource, ResourceType, Restate, Version};
pub use service::{XdsService, services};
pub use session::Session;
pub use sotw::{SotwRequest, SotwSubscription};
pub use subscription::{Outcome, Removals, Subscription};
pub use view::{Layer, TypeView, View};
pub use wire::{Content, Response};
