//! Messages put together from parts that are encoded already (protobuf's wire format: a field is its number, a length, and its content).
//!
//! To build and encode a message whole takes as long for what all clusters have alike as for what is one's own, and the first is much the
//! larger. What is alike is built with the generated types and encoded once; here it is copied. The numbers of fields are Envoy's.

use prost::encoding::{WireType, encode_key, encode_varint};

/// A field of this number whose content, a message or a text, is these parts one after another.
pub(super) fn field(number: u32, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    // A number below 2^11 takes two bytes, a length below 2^28 four.
    let mut encoded = Vec::with_capacity(length + 6);
    encode_key(number, WireType::LengthDelimited, &mut encoded);
    encode_varint(length as u64, &mut encoded);
    parts.iter().for_each(|part| encoded.extend_from_slice(part));
    encoded
}

/// The same for a text.
pub(super) fn text(number: u32, text: &str) -> Vec<u8> {
    field(number, &[text.as_bytes()])
}
