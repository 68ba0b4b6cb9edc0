//! A serde `Deserializer` over [`Node`]s: every error has its place and its dotted path.
//!
//! It is stricter than serde's default where an operator would be hurt otherwise. An unknown field of a struct is an error by
//! itself (it is collected and skipped, so one run names all of them), and a field whose value is empty (`spec:` alone on a
//! line) counts as absent, as the Kubernetes API server has it.

use std::fmt;

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::decode_error::DecodeError;
use super::decode_key::KeyDeserializer;
use super::document::{Entry, Node, Position, Value};
use super::nearest;
use super::report::Report;

/// The newtype name by which [`super::Located`] asks for the place of the value.
pub(super) const LOCATED: &str = "$countersign::Located";
/// The newtype name by which [`super::fields::Unused`] says that the field is known and has no effect.
pub(super) const UNUSED: &str = "$countersign::Unused";
/// The newtype name by which [`super::fields::Unserved`] says that the field is known, and that leaving it out would change what the
/// rest means.
pub(super) const UNSERVED: &str = "$countersign::Unserved";

/// Reads a `T` from `node`, which stands at `base` in its document. Errors go to `report`; with a syntactically good
/// `T` and an unknown field beside it both come out, so that validation can find more.
pub(super) fn decode<'n, T: Deserialize<'n>>(node: &'n Node, base: &str, report: &Report) -> Option<T> {
    let path = Path::Root(base);
    T::deserialize(NodeDeserializer { node, path: &path, report })
        .map_err(|error| report.push(error.into_policy_error(node.at, &path, report)))
        .ok()
}

/// The way from the document's root to a node.
#[derive(Clone, Copy)]
pub(super) enum Path<'p> {
    Root(&'p str),
    Key(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(base) => f.write_str(base),
            Self::Key(Path::Root(""), key) => f.write_str(key),
            Self::Key(parent, key) if key.contains('.') => write!(f, "{parent}[{key:?}]"),
            Self::Key(parent, key) => write!(f, "{parent}.{key}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct NodeDeserializer<'n, 'p> {
    node: &'n Node,
    path: &'p Path<'p>,
    report: &'p Report,
}

impl<'n> NodeDeserializer<'n, '_> {
    fn wrong_type(&self, expected: &str) -> DecodeError {
        let error = DecodeError::loose(format!("found {}, expected {expected}", self.node.value.describe()));
        match (&self.node.value, expected) {
            (Value::Int(_) | Value::Float(_) | Value::Bool(_), "a string") => error.help("put it in quotes"),
            (Value::String(_), "a number") => error.help("remove the quotes, if it has any"),
            (Value::String(_), "true or false") => error.help("without quotes, and not yes, no, on or off"),
            _ => error,
        }
    }

    fn place<T>(&self, result: Result<T, DecodeError>) -> Result<T, DecodeError> {
        result.map_err(|error| error.placed(self.node.at, self.path, self.report))
    }

    fn entries(&self) -> Result<&'n [Entry], DecodeError> {
        match &self.node.value {
            Value::Map(entries) => Ok(entries),
            _ => Err(self.wrong_type("a mapping")),
        }
    }

    fn number<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.value {
            Value::Int(_) => self.deserialize_any(visitor),
            _ => self.place(Err(self.wrong_type("a number"))),
        }
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.number(visitor)
        }
    )*};
}

impl<'n> Deserializer<'n> for NodeDeserializer<'n, '_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let result = match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (_, Ok(value)) => visitor.visit_u64(value),
                (Ok(value), _) => visitor.visit_i64(value),
                _ => visitor.visit_i128(*value),
            },
            Value::Float(value) => visitor.visit_f64(*value),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Seq(items) => visitor.visit_seq(SeqAccess { of: self, items, index: 0 }),
            Value::Map(entries) => visitor.visit_map(MapAccess { of: self, entries, value: None, fields: None }),
        };
        self.place(result)
    }

    fn deserialize_option<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.value {
            Value::Null => self.place(visitor.visit_none()),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_bool<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.value {
            Value::Bool(_) => self.deserialize_any(visitor),
            _ => self.place(Err(self.wrong_type("true or false"))),
        }
    }

    fn deserialize_str<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.value {
            Value::String(_) => self.deserialize_any(visitor),
            _ => self.place(Err(self.wrong_type("a string"))),
        }
    }

    fn deserialize_string<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_seq<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.value {
            Value::Seq(_) => self.deserialize_any(visitor),
            _ => self.place(Err(self.wrong_type("a list"))),
        }
    }

    fn deserialize_map<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.place(self.entries().map(drop))?;
        self.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'n>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let entries = self.place(self.entries())?;
        self.place(visitor.visit_map(MapAccess { of: self, entries, value: None, fields: Some(fields) }))
    }

    fn deserialize_enum<V: Visitor<'n>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let (variant, value) = match &self.node.value {
            Value::String(text) => (text.as_str(), None),
            Value::Map(entries) if entries.len() == 1 => (entries[0].key.as_str(), Some(&entries[0].value)),
            _ => return self.place(Err(self.wrong_type(&format!("one of {}", variants.join(", "))))),
        };
        if !variants.contains(&variant) {
            let shown: String = variant.chars().take(40).collect();
            let error = DecodeError::loose(format!("unknown value {shown:?}"));
            return self.place(Err(match nearest::hint(variant, variants) {
                Some(hint) => error.help(&hint),
                None => error,
            }));
        }
        self.place(visitor.visit_enum(EnumAccess { of: self, variant, value }))
    }

    fn deserialize_newtype_struct<V: Visitor<'n>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match name {
            LOCATED => {
                let value = Part::Value(self);
                visitor.visit_seq(LocatedAccess { value, at: self.node.at, report: self.report, index: 0 })
            }
            UNUSED => {
                let message = format!("{} has no effect here", self.path);
                self.report.warn(&self.report.origin(self.node.at), message);
                visitor.visit_unit()
            }
            UNSERVED => {
                let at = self.report.origin(self.node.at);
                let help = "what is left would mean something else without it";
                self.report.error_with_help(&at, &self.path.to_string(), "not served here", help);
                visitor.visit_unit()
            }
            _ => self.place(visitor.visit_newtype_struct(self)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    numbers! { deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
    deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 }

    forward_to_deserialize_any! { <V: Visitor<'n>> f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct identifier }
}

struct SeqAccess<'n, 'p> {
    of: NodeDeserializer<'n, 'p>,
    items: &'n [Node],
    index: usize,
}

impl<'n> de::SeqAccess<'n> for SeqAccess<'n, '_> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'n>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        let Some(node) = self.items.get(self.index) else { return Ok(None) };
        let path = Path::Index(self.of.path, self.index);
        self.index += 1;
        let item = NodeDeserializer { node, path: &path, report: self.of.report };
        item.place(seed.deserialize(item)).map(Some)
    }
}

struct MapAccess<'n, 'p> {
    of: NodeDeserializer<'n, 'p>,
    entries: &'n [Entry],
    value: Option<&'n Entry>,
    /// The names a struct knows; `None` for a real map, whose keys are data.
    fields: Option<&'static [&'static str]>,
}

impl<'n> MapAccess<'n, '_> {
    fn accepts(&self, entry: &Entry) -> bool {
        let Some(fields) = self.fields else { return true };
        if fields.contains(&entry.key.as_str()) {
            return !matches!(entry.value.value, Value::Null);
        }
        if self.of.report.skip() {
            return false;
        }
        let shown: String = entry.key.chars().take(80).collect();
        let error = DecodeError::loose(format!("unknown field {shown:?}"));
        let error = match nearest::hint(&entry.key, fields) {
            Some(hint) => error.help(&hint),
            None => error,
        };
        self.of.report.push(error.into_policy_error(entry.at, self.of.path, self.of.report));
        false
    }
}

impl<'n> de::MapAccess<'n> for MapAccess<'n, '_> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'n>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        while let Some((entry, rest)) = self.entries.split_first() {
            self.entries = rest;
            if !self.accepts(entry) {
                continue;
            }
            self.value = Some(entry);
            let path = Path::Key(self.of.path, &entry.key);
            let key = KeyDeserializer { text: &entry.key, at: entry.at, report: self.of.report };
            return match seed.deserialize(key) {
                Ok(key) => Ok(Some(key)),
                Err(error) => Err(error.placed(entry.at, &path, self.of.report)),
            };
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'n>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        let Some(entry) = self.value.take() else { return Err(de::Error::custom("a value without a key")) };
        let path = Path::Key(self.of.path, &entry.key);
        let value = NodeDeserializer { node: &entry.value, path: &path, report: self.of.report };
        value.place(seed.deserialize(value))
    }
}

/// What a located value is.
#[derive(Clone, Copy)]
pub(super) enum Part<'n, 'p> {
    Value(NodeDeserializer<'n, 'p>),
    Key(KeyDeserializer<'n, 'p>),
}

/// The four parts of a [`super::Located`]: file, line, column, value.
pub(super) struct LocatedAccess<'n, 'p> {
    pub(super) value: Part<'n, 'p>,
    pub(super) at: Position,
    pub(super) report: &'p Report,
    pub(super) index: u8,
}

impl<'n> de::SeqAccess<'n> for LocatedAccess<'n, '_> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'n>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        self.index += 1;
        match (self.index, self.value) {
            (1, _) => seed.deserialize(StrDeserializer::new(&self.report.file)),
            (2, _) => seed.deserialize(self.at.line.into_deserializer()),
            (3, _) => seed.deserialize(self.at.column.into_deserializer()),
            (4, Part::Value(value)) => seed.deserialize(value),
            (4, Part::Key(key)) => seed.deserialize(key),
            _ => return Ok(None),
        }
        .map(Some)
    }
}

/// An enum: a word, or a mapping of one word to the variant's content.
struct EnumAccess<'n, 'p> {
    of: NodeDeserializer<'n, 'p>,
    variant: &'n str,
    value: Option<&'n Node>,
}

impl<'n, 'p> EnumAccess<'n, 'p> {
    fn with_content<T>(
        self,
        read: impl FnOnce(NodeDeserializer<'n, '_>) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let Some(node) = self.value else {
            return Err(DecodeError::loose(format!("{:?} needs a value: write it as a mapping", self.variant)));
        };
        let path = Path::Key(self.of.path, self.variant);
        let value = NodeDeserializer { node, path: &path, report: self.of.report };
        value.place(read(value))
    }
}

impl<'n> de::EnumAccess<'n> for EnumAccess<'n, '_> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'n>>(self, seed: V) -> Result<(V::Value, Self), DecodeError> {
        Ok((seed.deserialize(BorrowedStrDeserializer::new(self.variant))?, self))
    }
}

impl<'n> de::VariantAccess<'n> for EnumAccess<'n, '_> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        match self.value {
            None => Ok(()),
            Some(_) => Err(DecodeError::loose(format!("{:?} takes no value", self.variant))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'n>>(self, seed: T) -> Result<T::Value, DecodeError> {
        self.with_content(|content| seed.deserialize(content))
    }

    fn tuple_variant<V: Visitor<'n>>(self, _length: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.with_content(|content| content.deserialize_seq(visitor))
    }

    fn struct_variant<V: Visitor<'n>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.with_content(|content| content.deserialize_struct("", fields, visitor))
    }
}
