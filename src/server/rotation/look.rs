//! What each proxy trusts and shows, as far as is known: what it has acknowledged, or what is on its node's disk.

use std::collections::HashMap;
use std::sync::Arc;

use time::OffsetDateTime;

use super::super::blocking;
use super::super::flavour::flavour;
use super::super::peers::Entry;
use super::{Inner, Rotation};
use crate::fleet::{Look, State};
use crate::plan::Flavour;
use crate::rollout::{Held, ProxyView};
use crate::secrets;
use crate::trust::Serial;
use crate::xds::{ResourceType, Version};

/// A gRPC client reads the files of its credentials anew this often at the latest: what `countersign bootstrap` writes says 10 s.
const READ: time::Duration = time::Duration::seconds(15);

impl Rotation {
    /// Takes what the fleet knows now into the books.
    pub(super) async fn look(&self, state: &mut Inner, now: OffsetDateTime) {
        let roots = self.proxies.roots();
        let trusted: Vec<Serial> = roots.bundle.own_roots().iter().map(|root| root.serial.clone()).collect();
        let model = self.proxies.model.load_full();
        let federates = model.is_some_and(|it| !it.mesh.settings().further_trust_domains().is_empty());
        let served = self.proxies.served();
        let connections = self.proxies.peers.by_identity();
        let under_way = state.current.as_ref().filter(|current| !current.is_over());
        let since = under_way.map(|current| current.record().step_at);
        let connected = self.proxies.fleet.look(|stream| {
            let description = stream.description();
            let identity = description.identity.as_deref()?;
            let name = description.workload.clone();
            let shows_us = self.shown_to_us(&connections, identity);
            let Flavour::Envoy(node) = flavour(&description.node) else {
                let (trusts, shows) = self.on_disk(identity, since, &trusted);
                return Some(ProxyView { name, away_since: None, trusts, shows, shows_us });
            };
            // Contexts name our roots alone, or together with those of other trust domains; a client of its own mind may name either.
            let expected = |name: &str| name == secrets::ROOT || (federates && name == secrets::ALL);
            let has = |name: &str| stream.resource(ResourceType::Secret, name).is_some();
            let names = roots.own(node).iter().filter(|(name, _)| expected(name) || has(name));
            let trusts = names.map(|(name, version)| held(stream, name, Some(*version), now, || trusted.clone()));
            let trusts = trusts.reduce(worse).unwrap_or(Held::Unused);
            let leaf = served.get(&name);
            // It goes by one name for the certificate, or by both.
            let shows = leaf.and_then(|(names, issuer)| {
                let root = self.proxies.trust.root_of(issuer)?;
                let asked = names.iter().filter(|(name, _)| has(name));
                let names = if asked.clone().next().is_some() { asked.collect() } else { vec![names.first()?] };
                let shows =
                    names.into_iter().map(|(name, version)| held(stream, name, Some(*version), now, || root.clone()));
                shows.reduce(worse)
            });
            let shows = shows.unwrap_or(Held::Pending);
            Some(ProxyView { name, away_since: None, trusts, shows, shows_us })
        });
        let mut views: HashMap<String, ProxyView> = HashMap::new();
        for view in connected {
            match views.get_mut(&view.name) {
                Some(first) => {
                    first.trusts = worse(first.trusts.clone(), view.trusts);
                    first.shows = worse(first.shows.clone(), view.shows);
                }
                None => drop(views.insert(view.name.clone(), view)),
            }
        }
        let since = self.absent_since(now);
        let trust = Arc::clone(&self.proxies.trust);
        let seen = blocking(move || trust.seen_since(since)).await;
        let away: Vec<_> = seen.into_iter().filter(|(name, _)| !views.contains_key(name)).collect();
        for (name, at) in away {
            let last = state.known.get(&name).cloned();
            let unknown = (Held::Pending, Held::Pending, None);
            let (trusts, shows, shows_us) = last.map_or(unknown, |last| (last.trusts, last.shows, last.shows_us));
            let view = ProxyView { name: name.clone(), away_since: Some(at), trusts, shows, shows_us };
            views.insert(name, view);
        }
        state.views = views.values().cloned().collect();
        state.views.sort_by(|left, right| left.name.cmp(&right.name));
        state.known = views;
    }

    /// What a client that has no secrets over xDS trusts, and shows to its peers: what is on its disk. Certificate and roots are written
    /// there together, so they are as new as the last that it was given, which it has put into place some seconds later. Out of a
    /// rotation nobody waits for it: revocation lists, which others wait for, it does not have.
    fn on_disk(
        &self,
        identity: &str,
        since: Option<OffsetDateTime>,
        trusted: &[Serial],
    ) -> (Held<Vec<Serial>>, Held<Serial>) {
        let Some(since) = since else { return (Held::Unused, Held::Unused) };
        let given = identity.parse().ok().and_then(|id| self.proxies.trust.last_request(&id));
        let read = given.filter(|given| given.last + READ <= (self.proxies.clock)());
        let Some(given) = read else { return (Held::Pending, Held::Pending) };
        let shows = self.proxies.trust.root_of(&given.issuer).map_or(Held::Pending, Held::Acknowledged);
        // The newest one counts: with each of them came the roots of its time.
        (if since <= given.last { Held::Acknowledged(trusted.to_vec()) } else { Held::Pending }, shows)
    }

    /// The root above the certificate that this identity shows us; of several, one that does not sign any more.
    fn shown_to_us(&self, connections: &HashMap<String, Vec<Entry>>, identity: &str) -> Option<Serial> {
        let (trust, signing) = (&self.proxies.trust, self.proxies.trust.root());
        let of_identity = connections.get(identity)?.iter();
        let mut of_identity = of_identity.filter_map(|it| trust.root_of_key(it.certificate.authority_key.as_deref()?));
        let first = of_identity.next()?;
        Some(if first == signing { of_identity.find(|root| *root != signing).unwrap_or(first) } else { first })
    }
}

/// What a stream holds of a secret whose newest version is `version`.
fn held<T>(
    stream: Look<'_>,
    name: &str,
    version: Option<Version>,
    now: OffsetDateTime,
    value: impl FnOnce() -> T,
) -> Held<T> {
    let Some(record) = stream.resource(ResourceType::Secret, name) else {
        return if stream.is_settled(now) { Held::Unused } else { Held::Pending };
    };
    match record.state() {
        State::Synced if version.is_some() && record.acknowledged.as_ref().map(|it| it.version) == version => {
            Held::Acknowledged(value())
        }
        State::Rejected => Held::Rejected(record.rejected.as_ref().map(|it| it.error.to_string()).unwrap_or_default()),
        _ => Held::Pending,
    }
}

fn worse<T>(left: Held<T>, right: Held<T>) -> Held<T> {
    let rank = |it: &Held<T>| match it {
        Held::Unused => 0,
        Held::Acknowledged(_) => 1,
        Held::Pending => 2,
        Held::Rejected(_) => 3,
    };
    if rank(&right) > rank(&left) { right } else { left }
}
