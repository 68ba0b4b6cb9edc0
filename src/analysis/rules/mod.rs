//! The rules, each a small function that looks for one code.

pub(super) mod authorization;
pub(super) mod certificates;
pub(super) mod issuers;
pub(super) mod origination;
pub(super) mod pairs;
pub(super) mod protection;
pub(super) mod references;
pub(super) mod said;
