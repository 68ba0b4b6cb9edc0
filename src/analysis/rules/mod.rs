//! The rules, each a small function that looks for one code.

pub(super) mod authorization;
pub(super) mod certificates;
mod credentials;
pub(super) mod gateways;
pub(super) mod issuers;
pub(super) mod linkerd;
pub(super) mod origination;
pub(super) mod pairs;
pub(super) mod protection;
pub(super) mod references;
pub(super) mod said;
