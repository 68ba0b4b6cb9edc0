//! How a node gets and keeps its own certificate: the gRPC contracts, both ends of them, and the join token.
//!
//! An Envoy's workload certificate comes over SDS. The certificate of its connection to us cannot: it is what lets the connection in.
//! Its key is made on the node and never leaves it. [`Enrollment`] serves Istio's `CreateCertificate` to whoever has shown a certificate,
//! `Join` to whoever has a [`JoinToken`], and `Attest` to whoever has the key of a certificate that another authority has signed
//! ([`x509pop`]); [`Client`] is the other end. What is signed, and for whom, the server's [`Enroller`] decides.

mod anybody;
mod client;
mod service;
mod token;
pub mod x509pop;

pub use anybody::Anybody;
pub use client::{Client, ClientError, Credentials};
pub use service::{Enroller, Enrollment, Joined};
pub use token::{JoinToken, JoinTokenError};

/// The messages of `proto/istio/v1/auth/ca.proto`.
#[allow(missing_docs, clippy::pedantic, clippy::style)]
pub mod istio {
    tonic::include_proto!("istio.v1.auth");
}

/// The messages of `proto/countersign/v1/enrollment.proto`.
#[allow(missing_docs, clippy::pedantic, clippy::style)]
pub mod v1 {
    tonic::include_proto!("countersign.v1");
}

#[cfg(test)]
mod tests;
