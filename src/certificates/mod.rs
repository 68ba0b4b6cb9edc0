//! cert-manager's controllers: Certificates that are issued by their issuers into Secrets, and renewed before they end.
//!
//! [`Controller`] is a pure state machine. A pass looks at a policy set and a time, issues what is to be issued, and says what has to be
//! kept ([`CertificateRecord`](crate::trust::CertificateRecord)) before anybody may see it; [`Controller::with_secrets`] is the policy set
//! as everybody else sees it, with the Secrets that were issued among the directory's. Whether a certificate is issued is cert-manager's
//! chain of checks (`trigger`), with its reasons, and one more: what an authority has signed is signed again by the one that follows it.

mod authority;
mod controller;
mod entry;
mod error;
mod extensions;
mod held;
mod key;
mod order;
mod pem;
mod request;
mod schedule;
mod secret;
mod sign;
mod state;
mod status;
mod subject;
mod trigger;
#[cfg(test)]
mod tests;

pub use controller::{Controller, Key, Outcome, Settings};
pub use error::{IssuerError, SigningError};
pub use state::{Condition, Event};
pub use status::{CertificateStatus, IssuerStatus};

/// The entry of a Secret with the certificate and what is above it.
const CHAIN: &str = "tls.crt";
/// The entry with the key.
const KEY: &str = "tls.key";
/// The entry with the authority.
const AUTHORITY: &str = "ca.crt";
