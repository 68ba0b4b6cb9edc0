//! What is kept of one stream, small enough to keep for every stream.
//!
//! What a client is in step with is a pointer it shares with its protocol state. Beside it stand a few words of their own: on what is
//! on its way, on what was refused, and on the newest changes, with their times.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use time::OffsetDateTime;

use super::{Departed, Description, Event, Reason, Refusal, ResourceRecord, State, StreamRecord, TypeRecord};
use crate::xds::{Holdings, Outcome, Resource, ResourceType, Response, Version};

/// How many of a type's newest changes keep their own times once they are acknowledged.
const RECENT: usize = 8;

/// How many secrets are remembered of a stream that has ended.
const SECRETS_REMEMBERED: usize = 16;

/// How many names that a stream may not have are remembered; the rest of a flood is counted nowhere.
const DENIED_REMEMBERED: usize = 64;

/// One stream.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) description: Arc<Description>,
    types: [TypeLedger; ResourceType::ALL.len()],
}

/// One type on one stream.
#[derive(Debug, Default)]
pub(super) struct TypeLedger {
    subscribed: bool,
    in_flight: Option<OffsetDateTime>,
    base: Option<Box<Base>>,
    /// What has to be said of a name beyond the base. Without `sent` it is gone. Records are in boxes because a tree has room for
    /// eleven from the first on.
    recent: BTreeMap<Arc<str>, Box<ResourceRecord>>,
    denied: BTreeSet<Arc<str>>,
}

/// What the client is in step with, and by when it had acknowledged all of it that has no word of its own.
#[derive(Debug)]
struct Base {
    holdings: Holdings,
    at: OffsetDateTime,
}

impl Ledger {
    pub(super) fn new(description: Description) -> Self {
        Self { description: Arc::new(description), types: std::array::from_fn(|_| TypeLedger::default()) }
    }

    pub(super) fn of(&self, ty: ResourceType) -> &TypeLedger {
        &self.types[ty as usize]
    }

    pub(super) fn of_mut(&mut self, ty: ResourceType) -> &mut TypeLedger {
        &mut self.types[ty as usize]
    }

    pub(super) fn record(&self) -> StreamRecord {
        StreamRecord {
            description: Description::clone(&self.description),
            types: std::array::from_fn(|index| self.types[index].record()),
        }
    }

    /// What is kept when the stream has ended.
    pub(super) fn depart(&self, now: OffsetDateTime) -> Departed {
        let secrets = self.of(ResourceType::Secret).resources().into_iter();
        let held = secrets.filter_map(|(name, record)| Some((name, record.acknowledged?.version)));
        let secrets = held.take(SECRETS_REMEMBERED).collect();
        Departed { description: Arc::clone(&self.description), last_seen: now, secrets }
    }
}

fn event(resource: &Resource, at: OffsetDateTime) -> Event {
    Event { version: resource.version(), serial: resource.serial().cloned(), at }
}

impl TypeLedger {
    /// Remembers that the stream asked for a name it may not have. `true` the first time.
    pub(super) fn deny(&mut self, name: &str) -> bool {
        self.denied.len() < DENIED_REMEMBERED && self.denied.insert(name.into())
    }

    pub(super) fn sent(&mut self, response: &Response, now: OffsetDateTime) {
        self.in_flight = Some(now);
        for (name, resource) in &*response.contents {
            if let Some(resource) = resource {
                self.word(name).sent = Some(event(resource, now));
            }
        }
    }

    pub(super) fn answered(&mut self, outcome: &Outcome, now: OffsetDateTime) {
        self.subscribed = true;
        match outcome {
            Outcome::Request | Outcome::Stale => {}
            Outcome::Resumed(has) => {
                for resource in has {
                    let has = Some(event(resource, now));
                    let word = ResourceRecord { sent: has.clone(), acknowledged: has, rejected: None };
                    self.recent.insert(Arc::clone(resource.name()), Box::new(word));
                }
            }
            Outcome::Acknowledged(contents) => {
                self.in_flight = None;
                for (name, resource) in &**contents {
                    let Some(resource) = resource else {
                        self.recent.insert(Arc::clone(name), Box::default());
                        continue;
                    };
                    let word = self.word(name);
                    if word.acknowledged.as_ref().is_none_or(|has| has.version != resource.version()) {
                        word.acknowledged = Some(event(resource, now));
                    }
                    word.rejected = None;
                }
            }
            Outcome::Rejected { resources, error } => {
                self.in_flight = None;
                let (error, others): (Arc<str>, _) = (error.as_str().into(), resources.len() - 1);
                for (name, resource) in &**resources {
                    let Some(version) = resource.as_ref().map(|resource| resource.version()) else { continue };
                    let word = self.word(name);
                    // What the client has taken before is not what it refuses now.
                    if word.acknowledged.as_ref().is_none_or(|has| has.version != version) {
                        word.rejected = Some(Refusal { version, error: Arc::clone(&error), at: now, others });
                    }
                }
            }
        }
    }

    /// The client is in step: what needs no word of its own any more has none.
    pub(super) fn settled(&mut self, holdings: &Holdings, now: OffsetDateTime) {
        let as_held = |name: &str, word: &ResourceRecord| {
            let held = holdings.get(name).map(|resource| resource.version());
            word.state() == State::Synced && word.acknowledged.as_ref().map(|has| has.version) == held
        };
        self.recent.retain(|name, word| word.sent.is_some() && holdings.covers(name));
        let mut folding: Vec<_> = self
            .recent
            .iter()
            .filter(|(name, word)| as_held(name, word))
            .filter_map(|(name, word)| Some((word.acknowledged.as_ref()?.at, Arc::clone(name))))
            .collect();
        let mut at = self.base.as_ref().map(|base| base.at);
        folding.sort_unstable();
        if at.is_some() {
            folding.truncate(folding.len().saturating_sub(RECENT));
        }
        for (acknowledged, name) in folding {
            self.recent.remove(&name);
            at = at.max(Some(acknowledged));
        }
        if self.recent.is_empty() {
            // An emptied tree keeps its last node.
            self.recent = BTreeMap::new();
        }
        let base = Base { holdings: holdings.clone(), at: at.unwrap_or(now) };
        match &mut self.base {
            Some(place) => **place = base,
            None => self.base = Some(Box::new(base)),
        }
    }

    /// Why the client does not have this version; `None` if it has.
    pub(super) fn reason(&self, name: &str, version: Version) -> Option<Reason> {
        let recent = self.recent.get(name).map(|word| ResourceRecord::clone(word));
        let word = recent.or_else(|| self.base_word(name)).unwrap_or_default();
        let is = |event: &Option<Event>| event.as_ref().is_some_and(|event| event.version == version);
        if is(&word.acknowledged) {
            return None;
        }
        if let Some(refusal) = word.rejected.filter(|refusal| refusal.version == version) {
            return Some(Reason::Rejected(refusal));
        }
        let covered = self.base.as_ref().is_some_and(|base| base.holdings.covers(name));
        Some(match (self.in_flight, word.sent) {
            (Some(since), Some(sent)) if sent.version == version => Reason::InFlight { since },
            (_, None) if !covered => Reason::NotSubscribed,
            _ => Reason::Holds(word.acknowledged),
        })
    }

    /// Whether the client has this version by its own word, and nothing else is on its way to it under the name.
    pub(super) fn is_at(&self, name: &str, version: Version) -> bool {
        let at = |word: &ResourceRecord| {
            let is = |event: &Option<Event>| event.as_ref().is_some_and(|event| event.version == version);
            is(&word.acknowledged) && is(&word.sent)
        };
        match self.recent.get(name) {
            Some(word) => at(word),
            None => self.base_word(name).is_some_and(|word| at(&word)),
        }
    }

    /// Whether the client has asked for the type and has not been in step with it since: what it uses of it is not known yet.
    pub(super) fn is_beginning(&self) -> bool {
        self.subscribed && self.base.is_none()
    }

    pub(super) fn in_flight(&self) -> Option<OffsetDateTime> {
        self.in_flight
    }

    #[cfg(test)]
    pub(super) fn words(&self) -> usize {
        self.recent.len()
    }

    fn base_word(&self, name: &str) -> Option<ResourceRecord> {
        let base = self.base.as_ref()?;
        base.holdings.get(name).map(|resource| base.record(&resource))
    }

    fn word(&mut self, name: &Arc<str>) -> &mut ResourceRecord {
        let base_word = if self.recent.contains_key(name) { None } else { self.base_word(name) };
        self.recent.entry(Arc::clone(name)).or_insert_with(|| Box::new(base_word.unwrap_or_default()))
    }

    /// How far the client is. What is in the base is acknowledged, so only the rest is looked at.
    pub(super) fn state(&self) -> State {
        if !self.subscribed {
            return State::NotSent;
        }
        let initial = if self.in_flight.is_some() { State::Stale } else { State::Synced };
        let sent = self.recent.values().filter(|word| word.sent.is_some());
        sent.map(|word| word.state()).fold(initial, State::max)
    }

    /// What is known of one resource; `None` if it was never sent, or is gone.
    pub(super) fn resource(&self, name: &str) -> Option<ResourceRecord> {
        let word = match self.recent.get(name) {
            Some(word) => Some(ResourceRecord::clone(word)),
            None => self.base_word(name),
        };
        word.filter(|word| word.sent.is_some())
    }

    pub(super) fn resources(&self) -> BTreeMap<Arc<str>, ResourceRecord> {
        let base = self.base.iter().flat_map(|base| {
            base.holdings.resources().into_iter().map(|(name, resource)| (name, base.record(&resource)))
        });
        let mut all: BTreeMap<_, _> = base.collect();
        all.extend(self.recent.iter().map(|(name, word)| (Arc::clone(name), ResourceRecord::clone(word))));
        all.retain(|_, record| record.sent.is_some());
        all
    }

    fn record(&self) -> TypeRecord {
        TypeRecord {
            subscribed: self.subscribed,
            in_flight: self.in_flight,
            resources: self.resources(),
            denied: self.denied.clone(),
        }
    }
}

impl Base {
    fn record(&self, resource: &Resource) -> ResourceRecord {
        let has = Some(event(resource, self.at));
        ResourceRecord { sent: has.clone(), acknowledged: has, rejected: None }
    }
}
