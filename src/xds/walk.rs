//! Cuts a request's `node.extensions` out of its wire bytes while they arrive.
//!
//! A real Envoy's first request is 60 KB, nearly all of it the list of extensions that Envoy was built with. Nobody here reads it,
//! so it is never gathered: what a stream buffers is what it uses.

use bytes::{Buf, BufMut};
use prost::encoding::{WireType, encode_key, encode_varint};

#[cfg(test)]
mod tests;

/// `Node.extensions`.
const EXTENSIONS: u64 = 9;
/// A field's key (5 bytes at most) with its length or its varint (10 bytes at most).
const HEAD: usize = 15;

/// The bytes are no protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// One request on its way in.
pub(super) struct Walk {
    /// The number of the request's field `node`.
    node_field: u32,
    /// Bytes of the message that have yet to come.
    left: usize,
    /// While within `node`: the bytes of it that have yet to come.
    node_left: Option<usize>,
    head: [u8; HEAD],
    head_length: usize,
    /// Bytes of the current field's value that have yet to come, and whether they are kept.
    value_left: usize,
    keep: bool,
    message: Vec<u8>,
    node: Vec<u8>,
}

impl Walk {
    /// A message of `length` bytes, of a type that has its node in field `node_field`.
    pub(super) fn new(node_field: u32, length: usize) -> Self {
        Self {
            node_field,
            left: length,
            node_left: None,
            head: [0; HEAD],
            head_length: 0,
            value_left: 0,
            keep: true,
            message: Vec::new(),
            node: Vec::new(),
        }
    }

    /// Takes what belongs to this message from `data`. `true` when the message is complete.
    pub(super) fn push(&mut self, data: &mut impl Buf) -> Result<bool, Malformed> {
        while self.left > 0 && data.has_remaining() {
            if self.value_left > 0 {
                let chunk = data.chunk();
                let length = self.value_left.min(chunk.len());
                if self.keep {
                    self.target().extend_from_slice(&data.chunk()[..length]);
                }
                data.advance(length);
                self.value_left -= length;
                self.came(length);
            } else {
                self.head[self.head_length] = data.get_u8();
                self.head_length += 1;
                self.came(1);
                match Field::read(&self.head[..self.head_length])? {
                    Some(field) => self.begin(&field)?,
                    None if self.head_length == HEAD => return Err(Malformed),
                    None => {}
                }
            }
            if self.node_left == Some(0) {
                if self.value_left > 0 || self.head_length > 0 {
                    return Err(Malformed);
                }
                self.node_left = None;
            }
        }
        match self.left {
            0 if self.value_left > 0 || self.head_length > 0 || self.node_left.is_some() => Err(Malformed),
            left => Ok(left == 0),
        }
    }

    /// The message without what was cut out. `node` stands last: the order of fields means nothing.
    pub(super) fn finish(self) -> Vec<u8> {
        let Self { node_field, mut message, node, .. } = self;
        if !node.is_empty() {
            message.reserve_exact(node.len() + 16);
            encode_key(node_field, WireType::LengthDelimited, &mut message);
            encode_varint(node.len() as u64, &mut message);
            message.put_slice(&node);
        }
        message
    }

    fn came(&mut self, length: usize) {
        self.left -= length;
        if let Some(left) = &mut self.node_left {
            *left -= length;
        }
    }

    fn target(&mut self) -> &mut Vec<u8> {
        if self.node_left.is_some() { &mut self.node } else { &mut self.message }
    }

    fn begin(&mut self, field: &Field) -> Result<(), Malformed> {
        let (head, length) = (self.head, std::mem::take(&mut self.head_length));
        if field.length > self.node_left.unwrap_or(self.left) {
            return Err(Malformed);
        }
        if self.node_left.is_none() && field.is_message && field.number == u64::from(self.node_field) {
            self.node_left = Some(field.length);
            return Ok(());
        }
        self.keep = !(self.node_left.is_some() && field.is_message && field.number == EXTENSIONS);
        self.value_left = field.length;
        if self.keep {
            self.target().extend_from_slice(&head[..length]);
        }
        Ok(())
    }
}

/// A field's head: everything before its value, or all of it where the value is a varint.
struct Field {
    number: u64,
    /// Length-delimited, as messages are.
    is_message: bool,
    /// Bytes that follow the head.
    length: usize,
}

impl Field {
    /// The head that `bytes` are, or `None` if they are the beginning of one.
    fn read(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let Some((key, rest)) = varint(bytes) else { return Ok(None) };
        let field = |is_message, length| Ok(Some(Self { number: key >> 3, is_message, length }));
        match key & 7 {
            0 => {
                if varint(rest).is_some() {
                    field(false, 0)
                } else {
                    Ok(None)
                }
            }
            1 => field(false, 8),
            2 => match varint(rest) {
                Some((length, _)) => field(true, usize::try_from(length).map_err(|_| Malformed)?),
                None => Ok(None),
            },
            5 => field(false, 4),
            // Groups have not been in use since before xDS.
            _ => Err(Malformed),
        }
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0)?;
    let value = bytes[..=end].iter().rev().fold(0, |value: u64, byte| (value << 7) | u64::from(byte & 0x7f));
    Some((value, &bytes[end + 1..]))
}
