//! The keys of mappings, which are texts whatever they look like: `8080` is a port where a port is expected.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::decode::{LOCATED, LocatedAccess, Part};
use super::decode_error::DecodeError;
use super::document::Position;
use super::report::Report;

/// One key, and where it stands.
#[derive(Clone, Copy)]
pub(super) struct KeyDeserializer<'n, 'p> {
    pub(super) text: &'n str,
    pub(super) at: Position,
    pub(super) report: &'p Report,
}

macro_rules! key_numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            match self.text.parse::<u64>() {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => Err(DecodeError::loose(format!("{:?} is not a number", self.text))),
            }
        }
    )*};
}

impl<'n> Deserializer<'n> for KeyDeserializer<'n, '_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_borrowed_str(self.text)
    }

    fn deserialize_newtype_struct<V: Visitor<'n>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name == LOCATED {
            visitor.visit_seq(LocatedAccess { value: Part::Key(self), at: self.at, report: self.report, index: 0 })
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    fn deserialize_enum<V: Visitor<'n>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        BorrowedStrDeserializer::new(self.text).deserialize_enum(name, variants, visitor)
    }

    fn deserialize_option<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_some(self)
    }

    key_numbers! { deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 }

    forward_to_deserialize_any! { <V: Visitor<'n>> bool i8 i16 i32 i64 i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct
    seq tuple tuple_struct map struct identifier ignored_any }
}
