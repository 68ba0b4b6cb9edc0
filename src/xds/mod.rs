//! The transport: subscriptions, state-of-the-world and delta, over the aggregated stream.
//!
//! It knows resources as (type, name, version, bytes) and nothing of policy. A [`View`] is what one client may see: a few
//! shared [`Layer`]s of encoded resources. A [`Session`] is the pure protocol state of one stream: requests and views go in,
//! encoded responses come out, with no clock, lock or task of its own.

mod delta;
mod interest;
mod resource;
mod session;
mod sotw;
mod subscription;
mod view;
mod wire;

pub use delta::{DeltaRequest, DeltaSubscription};
pub use resource::{Resource, ResourceType, Version};
pub use session::Session;
pub use sotw::{SotwRequest, SotwSubscription};
pub use subscription::{Outcome, Removals, Subscription};
pub use view::{Layer, View};
pub use wire::Response;
