//! Secrets in the form Envoy takes them: `envoy.extensions.transport_sockets.tls.v3.Secret`, encoded.
//!
//! Envoy checks little of what it is given: it accepts certificates that have expired or that no peer can verify, and an empty bundle
//! turns verification off. So what comes from operators is checked here ([`credential`]), and what comes from
//! [`trust`](crate::trust) cannot be empty by its type.

mod by_trust_domain;
mod credential;
mod sds;

pub use by_trust_domain::{Authority, validation_by_trust_domain, validation_of, validation_of_further};
pub use credential::{Credential, CredentialError, Validity, credential};
pub use sds::{file_certificate, file_root, restate, system_roots, tls_certificate, validation_context};

/// The SDS name of a workload's own certificate, as Istio has it.
pub const WORKLOAD: &str = "default";
/// The SDS name of the trust bundle, as Istio has it.
pub const ROOT: &str = "ROOTCA";
/// The SDS name of the bundles of all trust domains, as SPIRE has it. One domain's alone is named by its SPIFFE ID.
pub const ALL: &str = "ALL";

#[cfg(test)]
mod tests;
