//! What is wrong, where, and what to do about it.

use std::fmt;

use thiserror::Error;

use super::Origin;

/// One mistake in the operator's files. Its text never holds a string value of a document, so no Secret can leak through it;
/// what it quotes are field names, enum-like words, numbers and names of objects.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{at}: {}{message}{}", Prefix(field), Help(help.as_deref()))]
pub struct PolicyError {
    /// The place to edit.
    pub at: Origin,
    /// The dotted path of the field from the document's root (`spec.portLevelMtls.8080.mode`); empty for the document itself.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do instead, where that is known.
    pub help: Option<String>,
}

impl PolicyError {
    /// An error at `at` about `field`.
    pub fn new(at: Origin, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { at, field: field.into(), message: message.into(), help: None }
    }

    /// The same error with a hint.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The error for a terminal: the line of `text` (the content of the file it is in) with the place marked, several lines,
    /// no colours. A file in which a Secret stands is never excerpted, since a broken line may be the secret itself.
    pub fn render(&self, text: &str) -> String {
        use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report};

        let Some(start) = self.byte_offset(text).filter(|_| !text.contains("Secret")) else { return self.to_string() };
        let rest = text[start..].lines().next().unwrap_or_default();
        let length = rest.split([' ', ':', ',']).next().map_or(1, str::len).max(1);
        let mut diagnostic = MietteDiagnostic::new(format!("{}{}", Prefix(&self.field), self.message))
            .with_label(LabeledSpan::at(start..(start + length).min(text.len()), "here"));
        diagnostic.help.clone_from(&self.help);
        let report = Report::new(diagnostic).with_source_code(NamedSource::new(&*self.at.file, text.to_owned()));
        let mut out = String::new();
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_context_lines(1);
        match handler.render_report(&mut out, report.as_ref()) {
            Ok(()) => out,
            Err(fmt::Error) => self.to_string(),
        }
    }

    fn byte_offset(&self, text: &str) -> Option<usize> {
        let line = text.split_inclusive('\n').nth(self.at.line.checked_sub(1)? as usize)?;
        let start = line.as_ptr() as usize - text.as_ptr() as usize;
        let column = self.at.column.saturating_sub(1) as usize;
        Some(start + line.char_indices().nth(column).map_or(0, |(index, _)| index))
    }
}

/// Something the server can live with, but that the operator should know: a field without effect, a policy that is shadowed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Warning {
    /// Where it stands.
    pub at: Origin,
    /// What kind of thing it is about.
    pub topic: Topic,
    /// What to know.
    pub message: String,
}

/// What a [`Warning`] is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Something that is not served, or has no effect.
    #[default]
    Unserved,
    /// An object that a cluster has for other purposes.
    Elsewhere,
    /// `tls` without a mode, which is plaintext.
    NoTlsMode,
    /// A port's settings, which drop the rule's `tls`.
    PortDropsTls,
    /// A server that nobody verifies.
    SkipsVerification,
    /// An authority that does not live long enough for what it signs.
    ShortCa,
}

impl Warning {
    /// A warning about something at `at` that is not served or has no effect.
    pub fn new(at: Origin, message: impl Into<String>) -> Self {
        Self { at, topic: Topic::default(), message: message.into() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

struct Prefix<'a>(&'a str);

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "{}: ", self.0) }
    }
}

struct Help<'a>(Option<&'a str>);

impl fmt::Display for Help<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |help| write!(f, " ({help})"))
    }
}
