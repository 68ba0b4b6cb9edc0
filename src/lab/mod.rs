//! `countersign lab`: a whole mesh on this machine. Real Envoys, one for each workload, each workload on a loopback address of its
//! own, and checks of what a user would look at, while certificates rotate under traffic.
//!
//! The parts are used one by one by the tests with real Envoys: [`envoy_binary`] finds or fetches an Envoy, [`EnvoyProcess`] runs it
//! and [`EnvoyAdmin`] asks it, [`App`] answers with what it saw, [`http`] and [`intruder`] are the clients, [`Traffic`] is the load,
//! [`Topology`] the policy. [`run`] puts them together, over whatever [`ControlPlane`] it is given.

pub mod app;
pub mod checks;
pub mod envoy_binary;
pub mod http;
pub mod intruder;
pub mod traffic;
pub mod own_listener;
pub mod topology;
pub mod xfcc;
mod authority;
mod cert_manager;
mod control_plane;
mod envoy_admin;
mod envoy_process;
mod error;
mod latency;
mod linkerd;
mod mesh;
mod network;
mod progress;
mod rotation;
mod scenario;
mod script;
mod spire;

pub use app::App;
pub use control_plane::{ControlPlane, Node, RootStep, Rotation, Setup};
pub use envoy_admin::{EnvoyAdmin, HeldCertificate, HeldCertificates};
pub use envoy_process::{EnvoyOptions, EnvoyProcess};
pub use error::LabError;
pub use latency::Latencies;
pub use mesh::{Mesh, Prepared};
pub use network::{Network, Ports};
pub use progress::Progress;
pub use rotation::{RootResult, RotationPlan, RotationResult, rotate_root_under_traffic, rotate_under_traffic};
pub use scenario::{Scenario, Stage};
pub use script::{Options, Outcome, run};
pub use topology::{Topology, Workload};
pub use traffic::Traffic;
