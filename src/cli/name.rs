//! `NAMESPACE/NAME` as an operator types it.

use std::fmt;
use std::str::FromStr;

use crate::admin::api::is_workload_name;

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
        match text.split_once('/') {
            Some((namespace, name)) if is_workload_name(text) => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            Some(_) => Err("both parts are lower-case letters, digits, `-` and `.`".to_owned()),
            None => Err(format!("expected NAMESPACE/NAME, as in `default/{text}`")),
        }
    }
}
