//! YAML (and so JSON) text as trees of nodes that know their place. The only file that knows the YAML library.
//!
//! A policy file is input that may be hostile (threat: parser bombs). Everything that could grow faster than the file is
//! bounded here, so parsing takes time and memory linear in the file's size.

use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};
use zeroize::Zeroizing;

use super::{Origin, PolicyError};

/// The largest file that is read, in bytes: 4 MiB, about 15,000 ordinary objects.
pub const MAX_FILE_BYTES: usize = 4 << 20;

/// How deeply mappings and lists may nest. The deepest known kind needs 9 levels, a `List` 3 more.
const MAX_DEPTH: usize = 48;

/// A place within the file the tree came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Position {
    fn of(location: Location) -> Self {
        let clamp = |number: u64| u32::try_from(number.max(1)).unwrap_or(u32::MAX);
        Self { line: clamp(location.line()), column: clamp(location.column()) }
    }

    pub(super) fn in_file(self, file: &Arc<str>) -> Origin {
        Origin::new(Arc::clone(file), self.line, self.column)
    }
}

/// A value and where it stands. For an alias (`*name`) that is where the alias is.
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

/// What a node is. Strings are wiped when dropped, since any of them may belong to a Secret.
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    String(Zeroizing<String>),
    Seq(Vec<Node>),
    Map(Vec<Entry>),
}

/// One `key: value` of a mapping, in the order of the file. Keys are unique and kept as written (`8080` is "8080").
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Position,
    pub(super) value: Node,
}

impl Value {
    /// What to call it in a message; never its content.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "a number",
            Self::Float(_) => "a fraction",
            Self::String(_) => "a string",
            Self::Seq(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    /// The value of `key`, when this is a mapping that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value),
            _ => None,
        }
    }

    /// The string, when it is one.
    pub(super) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

/// The documents of one file. Empty documents are left out.
///
/// # Errors
/// The first syntax error, duplicate key or exceeded limit, with its line and column.
pub(super) fn parse(file: &Arc<str>, text: &str) -> Result<Vec<Node>, PolicyError> {
    let start = Position { line: 1, column: 1 };
    if text.len() > MAX_FILE_BYTES {
        let message = format!("the file has {} bytes, the limit is {MAX_FILE_BYTES}", text.len());
        return Err(PolicyError::new(start.in_file(file), "", message).with_help("split it into several files"));
    }
    let documents = serde_saphyr::from_multiple_with_options::<Node>(text, options()).map_err(|error| {
        let at = error.location().map_or(start, Position::of);
        explain(error.without_snippet(), at.in_file(file))
    })?;
    Ok(documents.into_iter().filter(|document| !matches!(document.value, Value::Null)).collect())
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH + 1,
            max_documents: 50_000,
            max_nodes: 1_000_000,
            max_events: 2_000_000,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_merge_keys: 1_000,
            max_total_scalar_bytes: 2 * MAX_FILE_BYTES,
            max_recorded_anchor_bytes: 2 * MAX_FILE_BYTES,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 50_000,
            max_replay_stack_depth: 16,
        },
        // YAML 1.2: `on`, `no` and `y` are words. A namespace may be called `n`.
        strict_booleans: true,
        // A snippet quotes the file, and the file may hold a Secret.
        with_snippet: false,
    }
}

/// The library's error in words that say nothing of the content.
fn explain(error: &serde_saphyr::Error, at: Origin) -> PolicyError {
    use serde_saphyr::Error as E;
    let (message, help) = match error {
        E::Budget { breach, .. } => (format!("refused: {}", limit(breach)), None),
        E::AliasReplayLimitExceeded { .. }
        | E::AliasExpansionLimitExceeded { .. }
        | E::AliasReplayStackDepthExceeded { .. }
        | E::AliasReplayCounterOverflow { .. } => {
            ("refused: its aliases expand to more than the limit".to_owned(), Some("write the values out"))
        }
        E::AliasError { error, .. } => return explain(error, at),
        E::DuplicateMappingKey { key: Some(key), .. } => {
            (format!("the key {key:?} is in this mapping twice"), Some("remove one of them"))
        }
        E::DuplicateMappingKey { key: None, .. } => ("a key is in this mapping twice".to_owned(), None),
        E::UnknownAnchor { .. } => ("this alias names no anchor".to_owned(), None),
        E::Message { msg, .. } => (format!("not valid YAML: {msg}"), None),
        E::Eof { .. } => ("not valid YAML: the file ends in the middle of a value".to_owned(), None),
        other => {
            let text = other.to_string();
            (format!("not valid YAML: {}", text.lines().next().unwrap_or_default()), None)
        }
    };
    // The syntax is wrong at a column, not merely on a line.
    let error = PolicyError::new(at.clone(), "", format!("column {}: {message}", at.column));
    match help {
        Some(help) => error.with_help(help),
        None => error,
    }
}

fn limit(breach: &serde_saphyr::budget::BudgetBreach) -> String {
    use serde_saphyr::budget::BudgetBreach as B;
    match breach {
        B::Depth { .. } => format!("nested more than {MAX_DEPTH} levels deep"),
        B::Nodes { .. } | B::Events { .. } => "more values than a policy file may have (1,000,000)".to_owned(),
        B::Documents { .. } => "more than 50,000 documents in one file".to_owned(),
        B::Aliases { .. } | B::Anchors { .. } | B::MergeKeys { .. } | B::AliasAnchorRatio { .. } => {
            "more anchors, aliases or merge keys than a policy file may have (1,000)".to_owned()
        }
        B::ScalarBytes { .. } => "its values, aliases written out, are larger than 8 MiB".to_owned(),
        _ => "beyond a limit of the YAML parser".to_owned(),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { at: Position::of(spanned.referenced), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        self.visit_string(value.to_owned())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(Zeroizing::new(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Seq(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let value = map.next_value()?;
            entries.push(Entry { key: key.value, at: Position::of(key.referenced), value });
        }
        Ok(Value::Map(entries))
    }
}
