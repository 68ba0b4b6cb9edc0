//! An error on its way up through serde, before and after it knows its place.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::PolicyError;
use super::decode::Path;
use super::document::Position;
use super::report::Report;

/// What the deserializer returns. Boxed, because serde returns it through every level.
#[derive(Debug)]
pub(super) struct DecodeError(Box<Stage>);

#[derive(Debug)]
enum Stage {
    /// Raised by a visitor, which does not know where it is.
    Loose { message: String, help: Option<String> },
    /// Its place is settled; outer levels leave it alone.
    Placed(PolicyError),
}

impl DecodeError {
    pub(super) fn loose(message: String) -> Self {
        Self(Box::new(Stage::Loose { message, help: None }))
    }

    pub(super) fn help(mut self, hint: &str) -> Self {
        if let Stage::Loose { help, .. } = &mut *self.0 {
            *help = Some(hint.to_owned());
        }
        self
    }

    /// The same error, at this place unless a deeper level has already placed it.
    pub(super) fn placed(self, at: Position, path: &Path<'_>, report: &Report) -> Self {
        Self(Box::new(Stage::Placed(self.into_policy_error(at, path, report))))
    }

    pub(super) fn into_policy_error(self, at: Position, path: &Path<'_>, report: &Report) -> PolicyError {
        match *self.0 {
            Stage::Placed(error) => error,
            Stage::Loose { message, help } => {
                PolicyError { at: report.origin(at), field: path.to_string(), message, help }
            }
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Stage::Loose { message, .. } => f.write_str(message),
            Stage::Placed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::loose(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::loose(format!("found {}, expected {}", Found(found), plain(expected)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::loose(format!("the field {field:?} is missing"))
    }
}

/// Serde's `Unexpected` without string contents, which may be a secret.
struct Found<'a>(Unexpected<'a>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Unexpected::Unsigned(number) => number.fmt(f),
            Unexpected::Signed(number) => number.fmt(f),
            Unexpected::Bool(_) => f.write_str("a boolean"),
            Unexpected::Float(_) => f.write_str("a fraction"),
            Unexpected::Str(_) | Unexpected::Char(_) | Unexpected::Bytes(_) => f.write_str("a string"),
            Unexpected::Unit | Unexpected::Option => f.write_str("nothing"),
            Unexpected::Seq => f.write_str("a list"),
            Unexpected::Map => f.write_str("a mapping"),
            _ => f.write_str("something else"),
        }
    }
}

fn plain(expected: &dyn Expected) -> String {
    match expected.to_string().as_str() {
        "u8" => "a number from 0 to 255".to_owned(),
        "u16" => "a number from 0 to 65535".to_owned(),
        "u32" | "u64" | "usize" => "a number that is not negative and not too large".to_owned(),
        other => other.to_owned(),
    }
}
