//! Whom Linkerd's policy lets in at one port, in what a proxy can compare. It comes on top of what AuthorizationPolicies say: who passes
//! is let in by both.

use serde::Serialize;

use super::{AccessRule, Condition, Pattern, Test};
use crate::mesh::decide::{admission, plaintext_as_before};
use crate::mesh::{Client, ClientNetwork, Grant, Mesh, Settings, Workload};

/// Who is let in at a port: whoever one of the rules matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Admission {
    /// None: nobody.
    pub rules: Vec<AccessRule>,
    /// Plaintext is let in whatever the rules say: it is all that the port took before, and its clients have not all changed yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub spares_plaintext: bool,
}

/// Who is let in at a port of `workload`, or without one at those of which nothing is said by number. `None`: Linkerd's policy keeps nobody
/// out.
pub(super) fn admitted(mesh: &Mesh, workload: &Workload, port: Option<u16>) -> Option<Admission> {
    let grants = admission(workload, port)?;
    if grants.iter().any(|grant| grant.is_unauthenticated() && grant.networks.is_empty()) {
        return None;
    }
    let asks_for_identities = !grants.is_empty() && !grants.iter().any(Grant::is_unauthenticated);
    let spares_plaintext = asks_for_identities && port.is_some_and(|port| plaintext_as_before(workload, port));
    Some(Admission { rules: grants.iter().map(|grant| rule(mesh.settings(), grant)).collect(), spares_plaintext })
}

/// Every identity with every network.
fn rule(settings: &Settings, grant: &Grant) -> AccessRule {
    let clients = grant.clients.as_ref().map_or_else(|| vec![Vec::new()], |clients| identities(settings, clients));
    let networks: Vec<Vec<Condition>> = match grant.networks.as_slice() {
        [] => vec![Vec::new()],
        networks => networks.iter().map(|network| vec![source(network)]).collect(),
    };
    let both = |client: &Vec<Condition>| {
        let with = |network: &Vec<Condition>| [client.as_slice(), network.as_slice()].concat();
        networks.iter().map(with).collect::<Vec<_>>()
    };
    AccessRule {
        name: grant.name.clone(),
        peers: clients.iter().flat_map(both).collect(),
        operations: vec![Vec::new()],
    }
}

/// A certificate's SPIFFE ID decides. A DNS name counts only beside an ID of our own trust domains: another authority may put into its
/// certificates whatever it likes.
fn identities(settings: &Settings, clients: &[Client]) -> Vec<Vec<Condition>> {
    let (mut ids, mut names) = (Vec::new(), Vec::new());
    for client in clients {
        match client {
            Client::Any => ids.push(Test::Peer(Pattern::Prefix("spiffe://".to_owned()))),
            Client::Exact(id) => ids.push(Test::Peer(Pattern::Exact(id.clone()))),
            Client::Prefix(start) => ids.push(Test::Peer(Pattern::Prefix(start.clone()))),
            Client::Dns(name) => names.push(Test::PeerDns(Pattern::Exact(name.clone()))),
            Client::DnsSuffix(end) => names.push(Test::PeerDns(Pattern::Suffix(end.clone()))),
        }
    }
    let one_of = |any_of| Condition { any_of, none_of: Vec::new() };
    let ours = || {
        let of_domain = |domain| Test::Peer(Pattern::Prefix(format!("spiffe://{domain}/")));
        one_of(settings.trust_domains().map(of_domain).collect())
    };
    let by_id = (!ids.is_empty()).then(|| vec![one_of(ids)]);
    let by_name = (!names.is_empty()).then(|| vec![one_of(names), ours()]);
    by_id.into_iter().chain(by_name).collect()
}

fn source(network: &ClientNetwork) -> Condition {
    Condition {
        any_of: vec![Test::Source(network.network)],
        none_of: network.except.iter().copied().map(Test::Source).collect(),
    }
}
