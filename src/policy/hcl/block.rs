//! A block while it is read.

use super::super::document::{Entry, Node, Value};
use super::{Key, MAX_ENTRIES, Mistake, Parsed};

/// The entries of a block so far. Blocks of one key and different labels are one mapping.
#[derive(Default)]
pub(super) struct Block {
    pub(super) entries: Vec<Entry>,
}

impl Block {
    pub(super) fn add(&mut self, keys: Vec<Key>, value: Node) -> Parsed<()> {
        let mut entries = &mut self.entries;
        let (last, labelled) = (keys.len() - 1, keys);
        let mut value = Some(value);
        for (index, Key { at, text }) in labelled.into_iter().enumerate() {
            let known = entries.iter().position(|entry| entry.key == text);
            match known {
                Some(known) if index == last => {
                    let message =
                        format!("{:?} is here twice: it is in line {} already", shown(&text), entries[known].at.line);
                    return Err(Mistake { at, message });
                }
                Some(known) => {
                    let first = entries[known].at.line;
                    let Value::Map(inner) = &mut entries[known].value.value else {
                        let message = format!("{:?} is here twice: it is in line {first} already", shown(&text));
                        return Err(Mistake { at, message });
                    };
                    entries = inner;
                }
                None if entries.len() == MAX_ENTRIES => {
                    return Err(Mistake { at, message: format!("more than {MAX_ENTRIES} entries in one block") });
                }
                None => {
                    let node = if index == last {
                        value.take().unwrap_or(Node { at, value: Value::Null })
                    } else {
                        Node { at, value: Value::Map(Vec::new()) }
                    };
                    entries.push(Entry { key: text, at, value: node });
                    let Some(Value::Map(inner)) = entries.last_mut().map(|entry| &mut entry.value.value) else {
                        return Ok(());
                    };
                    entries = inner;
                }
            }
        }
        Ok(())
    }
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}
