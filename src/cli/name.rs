//! `NAMESPACE/NAME` as an operator types it.

use std::fmt;
use std::str::FromStr;

/// A workload: `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadName {
    namespace: String,
    name: String,
}

impl WorkloadName {
    /// The part before the slash.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The part after the slash.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for WorkloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for WorkloadName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        let part = |p: &str| (1..=253).contains(&p.len()) && p.chars().all(legal);
        match text.split_once('/') {
            Some((namespace, name)) if part(namespace) && part(name) => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            Some(_) => Err("both parts are lower-case letters, digits, `-` and `.`".to_owned()),
            None => Err(format!("expected NAMESPACE/NAME, as in `default/{text}`")),
        }
    }
}
