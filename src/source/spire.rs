//! The ConfigMap of a SPIRE server, which a server reads before it starts: it says which trust domain it is of, and where it listens.

use std::path::Path;

use super::listing;
use crate::policy::{PolicyError, SpireServer, parse_set};

/// What such a ConfigMap has.
const KEY: &str = "server.conf";

/// The `server.conf` of the ConfigMap `spire-server` in a policy directory: of several the first, by namespace. `None` where there is none,
/// or no directory. Only files that have one are looked at: what is wrong in others keeps no server from starting.
///
/// # Errors
/// Everything that is wrong with a file that has one: to start without it would be to start as somebody else.
pub fn spire_server(path: &Path) -> Result<Option<SpireServer>, Vec<PolicyError>> {
    let Ok(listing) = listing::list(path) else { return Ok(None) };
    let mut found = Vec::new();
    for (name, text) in listing.read().files.iter().filter(|(_, text)| text.contains(KEY)) {
        let (set, _) = parse_set([(name, text.as_str())])?;
        found.extend(set.spire_servers.iter().cloned());
    }
    found.sort_by(|a, b| a.meta.namespace.cmp(&b.meta.namespace));
    Ok(found.into_iter().next().map(|object| object.spec.clone()))
}
