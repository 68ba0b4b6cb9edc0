//! What the streams of clients leave to those that come after them.

use std::collections::{BTreeMap, HashMap};

use super::{Description, departed};
use crate::xds::Memory;

/// How many names are remembered of all clients together. Few clients leave any.
const NAMES: usize = 64 * 1024;

/// A workload identity, and which of its clients.
pub(super) type Key = (departed::Key, String);

pub(super) fn key(description: &Description) -> Key {
    (departed::key(description), description.node.id.clone())
}

/// What is remembered, by the time it was left. The oldest make room for the newest.
#[derive(Debug, Default)]
pub(super) struct Memories {
    by_key: HashMap<Key, u64>,
    by_age: BTreeMap<u64, (Key, Memory)>,
    next: u64,
    weight: usize,
}

/// A client counts, also one of whom no name is remembered.
fn weight(memory: &Memory) -> usize {
    1 + memory.names()
}

impl Memories {
    pub(super) fn get(&self, of: &Description) -> Memory {
        let number = self.by_key.get(&key(of));
        number.and_then(|number| self.by_age.get(number)).map(|(_, memory)| memory.clone()).unwrap_or_default()
    }

    pub(super) fn set(&mut self, of: &Description, memory: Memory) {
        if self.by_age.is_empty() && memory.is_empty() {
            return;
        }
        let key = key(of);
        if let Some(before) = self.by_key.remove(&key).and_then(|number| self.by_age.remove(&number)) {
            self.weight -= weight(&before.1);
        }
        if memory.is_empty() {
            return;
        }
        let number = self.next;
        self.next += 1;
        self.weight += weight(&memory);
        self.by_key.insert(key.clone(), number);
        self.by_age.insert(number, (key, memory));
        while self.weight > NAMES
            && let Some((_, (oldest, memory))) = self.by_age.pop_first()
        {
            self.by_key.remove(&oldest);
            self.weight -= weight(&memory);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_age.len()
    }
}
