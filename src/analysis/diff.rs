//! What another policy set would change, for every client and everything that it reaches.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::{Status, Way};

/// A way that is not as before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Change {
    /// The clients for which it is so, `namespace/name` each.
    pub clients: Vec<String>,
    /// The service's host.
    pub host: String,
    /// The service's port.
    pub port: u16,
    /// A subset of a DestinationRule; empty for the whole service.
    pub subset: String,
    /// How it was; `None`: there was no such way.
    pub before: Option<Ends>,
    /// How it is; `None`: the way is gone.
    pub after: Option<Ends>,
    /// Whether connections that worked will fail.
    pub breaks: bool,
    /// Why it is now so.
    pub reasons: Vec<String>,
}

/// Both ends of a way.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ends {
    /// Whether they agree.
    pub status: Status,
    /// What the client speaks.
    pub client: String,
    /// What the server takes.
    pub server: String,
}

impl Ends {
    fn of(way: &Way) -> Self {
        Self { status: way.status, client: way.client.clone(), server: way.server.clone() }
    }
}

/// Clients for which the same changes, and why it is now so for the first of them.
#[derive(Default)]
struct Alike {
    clients: Vec<String>,
    reasons: Vec<String>,
}

type Port<'w> = (&'w str, u16, &'w str);

/// What is different in `after`: those that break first, then by host, port and subset. A way that is gone breaks too.
pub fn diff(before: &[Way], after: &[Way]) -> Vec<Change> {
    let (old, new) = (by_port(before), by_port(after));
    let mut changes = Vec::new();
    let ports: BTreeSet<&Port<'_>> = old.keys().chain(new.keys()).collect();
    for port in ports {
        let none = HashMap::new();
        let (was, is) = (old.get(port).unwrap_or(&none), new.get(port).unwrap_or(&none));
        let clients: BTreeSet<&str> = was.keys().chain(is.keys()).copied().collect();
        let mut alike: BTreeMap<_, Alike> = BTreeMap::new();
        for client in clients {
            let ends = (was.get(client).copied().map(Ends::of), is.get(client).copied().map(Ends::of));
            if ends.0 != ends.1 {
                let alike = alike.entry(ends).or_default();
                if let (Some(way), true) = (is.get(client), alike.clients.is_empty()) {
                    alike.reasons.clone_from(&way.reasons);
                }
                alike.clients.push(client.to_owned());
            }
        }
        changes.extend(alike.into_iter().map(|((before, after), Alike { clients, reasons })| {
            let worked = before.as_ref().is_some_and(|ends| ends.status != Status::Conflict);
            let works = after.as_ref().is_some_and(|ends| ends.status != Status::Conflict);
            let (host, port, subset) = *port;
            let (host, subset) = (host.to_owned(), subset.to_owned());
            Change { clients, host, port, subset, before, after, breaks: worked && !works, reasons }
        }));
    }
    changes.sort_by_key(|change| !change.breaks);
    changes
}

fn by_port(ways: &[Way]) -> HashMap<Port<'_>, HashMap<&str, &Way>> {
    let mut ports: HashMap<Port<'_>, HashMap<&str, &Way>> = HashMap::new();
    for way in ways {
        let clients = ports.entry((&way.host, way.port, &way.subset)).or_default();
        clients.extend(way.clients.iter().map(|client| (client.as_str(), way)));
    }
    ports
}
