//! Field types that the kinds share: maps that know where each key stands, and fields that are known and not used.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::decode::{LOCATED, UNSERVED, UNUSED};
use super::report::Report;
use super::{LabelSelector, Located, Origin};

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    /// Through this module's deserializer the value comes with its place; through any other it comes with an empty one.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LocatedVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for LocatedVisitor<T> {
            type Value = Located<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Located<T>, A::Error> {
                use serde::de::Error;
                let missing = || A::Error::custom("a located value has four parts");
                let file: String = parts.next_element()?.ok_or_else(missing)?;
                let line = parts.next_element()?.ok_or_else(missing)?;
                let column = parts.next_element()?.ok_or_else(missing)?;
                let value = parts.next_element()?.ok_or_else(missing)?;
                Ok(Located::new(value, Origin::new(file, line, column)))
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Located<T>, D::Error> {
                Ok(Located::new(T::deserialize(deserializer)?, Origin::new("", 0, 0)))
            }
        }

        deserializer.deserialize_newtype_struct(LOCATED, LocatedVisitor(PhantomData))
    }
}

/// A mapping in the order of the file, each key with its place.
pub(super) struct Entries<T>(pub(super) Vec<(Located<String>, T)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl Entries<String> {
    pub(super) fn into_map(self) -> BTreeMap<String, String> {
        self.0.into_iter().map(|(key, value)| (key.value, value)).collect()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

/// A field that Istio has and that means nothing here: its presence is a warning.
pub(super) struct Unused;

impl<'de> Deserialize<'de> for Unused {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UnusedVisitor;

        impl Visitor<'_> for UnusedVisitor {
            type Value = Unused;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_unit<E>(self) -> Result<Unused, E> {
                Ok(Unused)
            }
        }

        deserializer.deserialize_newtype_struct(UNUSED, UnusedVisitor)
    }
}

/// A field that Istio has and that is not served here, without which the rest would mean something else: its presence is an error.
pub(super) struct Unserved;

impl<'de> Deserialize<'de> for Unserved {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UnservedVisitor;

        impl Visitor<'_> for UnservedVisitor {
            type Value = Unserved;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_unit<E>(self) -> Result<Unserved, E> {
                Ok(Unserved)
            }
        }

        deserializer.deserialize_newtype_struct(UNSERVED, UnservedVisitor)
    }
}

/// The labels of a selector, checked as Istio checks them: no empty key, no `*` in keys or values.
pub(super) fn selector_labels(entries: Entries<Located<String>>, field: &str, report: &Report) -> LabelSelector {
    for (key, value) in &entries.0 {
        if key.value.is_empty() {
            report.error(&key.at, field, "a label without a name");
        }
        if key.value.contains('*') || value.value.contains('*') {
            let help = "a selector compares labels exactly; leave the label out to match any value";
            report.error_with_help(&key.at, field, "\"*\" is not a wildcard in labels", help);
        }
    }
    LabelSelector(entries.0.into_iter().map(|(key, value)| (key.value, value.value)).collect())
}

/// A selector with no labels: Istio takes it for none at all, which selects far more than its author may think.
pub(super) fn optional_selector(
    selector: Option<Located<Entries<Located<String>>>>,
    field: &str,
    report: &Report,
) -> Option<LabelSelector> {
    let Located { value, at } = selector?;
    if value.0.is_empty() {
        report
            .warn(&at, format!("{field} is empty, so it selects every workload of the namespace; remove it to say so"));
        return None;
    }
    Some(selector_labels(value, field, report))
}

/// A port number, which is 1 to 65535 everywhere; 0 in place of a number that is not.
pub(super) fn port_number(port: &Located<u32>, field: &str, report: &Report) -> u16 {
    match u16::try_from(port.value) {
        Ok(number) if number != 0 => number,
        _ => {
            report.error(&port.at, field, format!("{} is not a port: 1 to 65535", port.value));
            0
        }
    }
}

/// `None` for the empty string, which is how protobuf writes an absent one.
pub(super) fn non_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}
