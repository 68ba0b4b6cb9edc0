//! countersign: an Envoy-compatible xDS/SDS management server for mesh mTLS.
//!
//! The module list below is the way of the data, in order: documents come in through [`source`] and [`policy`], become an
//! indexed [`mesh`] in which every mTLS mode is decided, a [`plan`] for each class of proxies, and [`envoy`] resources that
//! [`xds`] streams to the proxies. [`trust`] issues what [`secrets`] serves, and [`certificates`] what operators' own issuers sign. [`fleet`] records what came back. `ARCHITECTURE.md`
//! has the picture; `tests/architecture.rs` holds the modules to it.

pub mod policy;
pub mod source;
pub mod mesh;
pub mod plan;
pub mod envoy;
pub mod xds;
pub mod identity;
pub mod trust;
pub mod certificates;
pub mod enrollment;
pub mod secrets;
pub mod analysis;
pub mod fleet;
pub mod rollout;
pub mod telemetry;
pub mod admin;
pub mod cli;
pub mod lab;
pub mod server;
