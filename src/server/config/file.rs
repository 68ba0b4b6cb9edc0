//! From the file's text to a [`Config`], with a place for every complaint.

use serde_saphyr::Error;

use super::{Config, ConfigError};

/// A file of comments only is a configuration of defaults.
pub(super) fn parse(file: &str, text: &str) -> Result<Config, ConfigError> {
    let blank = |line: &str| matches!(line.trim(), "" | "---") || line.trim_start().starts_with('#');
    if text.lines().all(blank) {
        return Ok(Config::default());
    }
    serde_saphyr::from_str(text).map_err(|error| ConfigError::Parse(message(file, &error)))
}

fn message(file: &str, error: &Error) -> String {
    let error = error.without_snippet();
    let place = match error.location() {
        Some(at) if at.line() > 0 => format!("{file}:{}", at.line()),
        _ => file.to_owned(),
    };
    match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("{place}: unknown key `{field}`{}", suggestion(field, expected))
        }
        Error::Message { msg, .. } => format!("{place}: {msg}"),
        other => {
            let text = other.to_string();
            format!("{place}: {}", text.lines().next().unwrap_or("not a configuration"))
        }
    }
}

/// The nearest name if one is near, else all of them: the reader needs one or the other.
fn suggestion(field: &str, expected: &[&str]) -> String {
    let nearest = expected.iter().map(|name| (strsim::jaro_winkler(&field.to_lowercase(), &name.to_lowercase()), name));
    match nearest.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((score, name)) if score >= 0.8 => format!(", did you mean `{name}`?"),
        _ => format!("; the keys here are {}", expected.join(", ")),
    }
}
