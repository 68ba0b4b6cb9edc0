//! HCL, first version, as trees of nodes that know their place: what SPIRE's configuration files are written in.
//!
//! The grammar is that of github.com/hashicorp/hcl (v1): `key = value`, blocks `key "label" { … }` whose labels are mappings within
//! mappings, comments in three forms, here-documents. Commas between entries are optional. HCL 2, which crates read, is another language:
//! it refuses quoted keys, several entries on a line, and `key "label" nested { … }`.
//!
//! A file may be hostile: size and depth are bounded, and time is linear in the size.

use std::sync::Arc;

use super::PolicyError;
use super::document::{Entry, Node, Position, Value};

mod block;
mod text;

use block::Block;

/// The largest text that is read, in bytes. Real ones have some kilobytes.
const MAX_BYTES: usize = 1 << 20;
/// How deeply blocks and lists may nest; each label is a level. The deepest known key is at level 8.
const MAX_DEPTH: usize = 48;
/// How many entries a block may have: each new one is compared with those before it.
const MAX_ENTRIES: usize = 1000;

/// The entries of a file, as one mapping.
///
/// # Errors
/// The first mistake in the syntax, exceeded limit, or key that is there twice.
pub(super) fn parse(file: &Arc<str>, text: &str) -> Result<Node, PolicyError> {
    let start = Position { line: 1, column: 1 };
    let error = |at: Position, message: String| PolicyError::new(at.in_file(file), "", message);
    if text.len() > MAX_BYTES {
        return Err(error(start, format!("this has {} bytes, the limit is {MAX_BYTES}", text.len())));
    }
    let mut parser = Parser { rest: text, at: start, depth: 0 };
    let entries = parser.entries(None).map_err(|Mistake { at, message }| {
        let column = at.column;
        error(at, format!("column {column}: not valid HCL: {message}"))
    })?;
    Ok(Node { at: start, value: Value::Map(entries) })
}

struct Mistake {
    at: Position,
    message: String,
}

type Parsed<T> = Result<T, Mistake>;

struct Parser<'t> {
    rest: &'t str,
    at: Position,
    depth: usize,
}

/// A key as written, or a label.
struct Key {
    at: Position,
    text: String,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.rest = &self.rest[next.len_utf8()..];
        if next == '\n' {
            self.at = Position { line: self.at.line.saturating_add(1), column: 1 };
        } else {
            self.at.column = self.at.column.saturating_add(1);
        }
        Some(next)
    }

    fn take(&mut self, sign: char) -> bool {
        let is_next = self.peek() == Some(sign);
        if is_next {
            self.next();
        }
        is_next
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.next();
        }
    }

    fn while_is(&mut self, is: impl Fn(char) -> bool) -> &'t str {
        let before = self.rest;
        while self.peek().is_some_and(&is) {
            self.next();
        }
        &before[..before.len() - self.rest.len()]
    }

    fn wrong<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err(Mistake { at: self.at, message: message.into() })
    }

    /// What stands here, for a message. Never more than a sign of it: it may be a secret.
    fn here(&self) -> String {
        self.peek().map_or_else(|| "the end of the file".to_owned(), |sign| format!("{sign:?}"))
    }

    /// Space and comments.
    fn blank(&mut self) -> Parsed<()> {
        loop {
            self.while_is(char::is_whitespace);
            if self.rest.starts_with("/*") {
                let began = self.at;
                self.skip(2);
                while !self.rest.starts_with("*/") {
                    if self.next().is_none() {
                        return Err(Mistake { at: began, message: "this comment does not end".to_owned() });
                    }
                }
                self.skip(2);
            } else if self.rest.starts_with('#') || self.rest.starts_with("//") {
                self.while_is(|sign| sign != '\n');
            } else {
                return Ok(());
            }
        }
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == MAX_DEPTH {
            return self.wrong(format!("nested more than {MAX_DEPTH} levels deep"));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Up to the closing brace of the block that began at `opened`, or to the end of the file.
    fn entries(&mut self, opened: Option<Position>) -> Parsed<Vec<Entry>> {
        let mut block = Block::default();
        loop {
            self.blank()?;
            match (self.peek(), opened) {
                (None, None) => return Ok(block.entries),
                (None, Some(at)) => return Err(Mistake { at, message: "this brace is never closed".to_owned() }),
                (Some('}'), Some(_)) => {
                    self.next();
                    return Ok(block.entries);
                }
                _ => self.entry(&mut block)?,
            }
            self.blank()?;
            self.take(',');
        }
    }

    fn entry(&mut self, block: &mut Block) -> Parsed<()> {
        let mut keys = vec![self.key()?];
        loop {
            self.blank()?;
            match self.peek() {
                Some('=') if keys.len() > 1 => return self.wrong("a block has no `=` behind its label"),
                Some('=') => {
                    self.next();
                    self.blank()?;
                    let value = self.value()?;
                    return block.add(keys, value);
                }
                Some('{') => {
                    self.depth += keys.len() - 1;
                    let value = self.object()?;
                    self.depth -= keys.len() - 1;
                    return block.add(keys, value);
                }
                // Each label is a level.
                _ if self.depth + keys.len() > MAX_DEPTH => {
                    return self.wrong(format!("nested more than {MAX_DEPTH} levels deep"));
                }
                _ => match self.key() {
                    Ok(label) => keys.push(label),
                    Err(_) => return self.wrong(format!("found {}, expected `=` or `{{`", self.here())),
                },
            }
        }
    }

    fn key(&mut self) -> Parsed<Key> {
        let at = self.at;
        let text = match self.peek() {
            Some('"') => self.string()?.to_string(),
            Some(sign) if is_letter(sign) => self.word().to_owned(),
            _ => return self.wrong(format!("found {}, expected a key", self.here())),
        };
        Ok(Key { at, text })
    }

    fn word(&mut self) -> &'t str {
        self.while_is(|sign| is_letter(sign) || sign.is_numeric() || matches!(sign, '-' | '.'))
    }

    fn object(&mut self) -> Parsed<Node> {
        let at = self.at;
        self.next();
        let entries = self.deeper(|parser| parser.entries(Some(at)))?;
        Ok(Node { at, value: Value::Map(entries) })
    }

    fn value(&mut self) -> Parsed<Node> {
        let at = self.at;
        let value = match self.peek() {
            Some('{') => return self.object(),
            Some('[') => Value::Seq(self.deeper(Self::list)?),
            Some('"') => Value::String(self.string()?),
            Some('<') if self.rest.starts_with("<<") => Value::String(self.here_document()?),
            Some(sign) if sign.is_ascii_digit() || matches!(sign, '-' | '.') => self.number()?,
            Some(sign) if is_letter(sign) => match self.word() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                _ => return Err(Mistake { at, message: "a word without quotes: put it in quotes".to_owned() }),
            },
            _ => return self.wrong(format!("found {}, expected a value", self.here())),
        };
        Ok(Node { at, value })
    }

    fn list(&mut self) -> Parsed<Vec<Node>> {
        let opened = self.at;
        self.next();
        let mut items = Vec::new();
        loop {
            self.blank()?;
            if self.take(']') {
                return Ok(items);
            }
            if self.peek().is_none() {
                return Err(Mistake { at: opened, message: "this bracket is never closed".to_owned() });
            }
            items.push(self.value()?);
            self.blank()?;
            if !self.take(',') && self.peek() != Some(']') {
                return self.wrong(format!("found {}, expected `,` or `]`", self.here()));
            }
        }
    }

    fn number(&mut self) -> Parsed<Value> {
        let at = self.at;
        let text = self.while_is(|sign| sign.is_ascii_alphanumeric() || matches!(sign, '-' | '+' | '.'));
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let radix = |radix: u32, digits: &str| i64::from_str_radix(digits, radix).ok();
        let number = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
            Some(hex) => radix(16, hex),
            None if digits.len() > 1 && digits.starts_with('0') && !digits.contains(['.', 'e', 'E']) => {
                radix(8, digits)
            }
            None => radix(10, digits),
        };
        let number = number.filter(|_| !digits.starts_with(['-', '+']));
        match (number, text.parse::<f64>()) {
            (Some(number), _) => Ok(Value::Int(i128::from(if negative { -number } else { number }))),
            (None, Ok(number)) if number.is_finite() && digits.contains(['.', 'e', 'E']) => Ok(Value::Float(number)),
            _ => Err(Mistake { at, message: "this is not a number; a text is in quotes".to_owned() }),
        }
    }
}

fn is_letter(sign: char) -> bool {
    sign.is_alphabetic() || sign == '_'
}
