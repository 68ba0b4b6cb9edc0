//! Who was here.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use time::OffsetDateTime;

use super::Description;
use crate::xds::Version;

/// How many workload identities are remembered after their last stream.
const REMEMBERED: usize = 16 * 1024;

/// A workload identity whose stream has ended.
#[derive(Clone, Debug)]
pub struct Departed {
    /// Who it was.
    pub description: Arc<Description>,
    /// When its stream ended.
    pub last_seen: OffsetDateTime,
    /// The secrets it had then, by name, in the versions it had acknowledged; of many, the first sixteen.
    pub secrets: Vec<(Arc<str>, Version)>,
}

pub(super) type Key = (String, Option<String>);

/// What makes a workload identity.
pub(super) fn key(description: &Description) -> Key {
    (description.workload.clone(), description.identity.clone())
}

/// The departed, by the time they were last seen. The oldest make room for the newest.
#[derive(Debug, Default)]
pub(super) struct Departures {
    by_key: HashMap<Key, u64>,
    by_age: BTreeMap<u64, Departed>,
    next: u64,
    forgotten: u64,
}

impl Departures {
    pub(super) fn insert(&mut self, gone: Departed) {
        let number = self.next;
        self.next += 1;
        if let Some(before) = self.by_key.insert(key(&gone.description), number) {
            self.by_age.remove(&before);
        }
        self.by_age.insert(number, gone);
        if self.by_age.len() > REMEMBERED
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.by_key.remove(&key(&oldest.description));
            self.forgotten += 1;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Departed> {
        self.by_age.values()
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}
