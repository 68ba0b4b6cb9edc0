//! The same messages for the server's own configuration file.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::decode::decode;
use super::document::{self, Node, Position, Value};
use super::report::Report;
use super::{MeshConfig, Origin, PolicyError, Warning, mesh_config};

/// Reads one YAML or JSON document into any `T`, with a place and a dotted path in every error. An empty file is an empty
/// mapping. Fields that a struct does not know are errors, whether or not it says `deny_unknown_fields`; only
/// `#[serde(flatten)]`, `untagged` and internally tagged enums, which serde buffers, evade this and lose places.
/// [`super::Located`] fields receive theirs.
///
/// # Errors
/// A syntax error, a limit (4 MiB, 48 levels, see [`super::MAX_FILE_BYTES`]), a second document, or every unknown field and
/// the first value of a wrong type. Never empty.
pub fn parse_config<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, Vec<PolicyError>> {
    let file: Arc<str> = file.into();
    let mut documents = document::parse(&file, text).map_err(|error| vec![error])?;
    let report = Report::new(Arc::clone(&file));
    if let Some(second) = documents.get(1) {
        report.error(&report.origin(second.at), "", "a second document: a configuration file has one");
    }
    let empty = Node { at: Position { line: 1, column: 1 }, value: Value::Map(Vec::new()) };
    let root = if documents.is_empty() { empty } else { documents.swap_remove(0) };
    let value = decode(&root, "", &report);
    match (value, report.into_parts().0) {
        (Some(value), errors) if errors.is_empty() => Ok(value),
        (None, errors) if errors.is_empty() => {
            Err(vec![PolicyError::new(Origin::new(file, 1, 1), "", "the configuration could not be read")])
        }
        (_, errors) => Err(errors),
    }
}

/// Reads `meshConfig` of a configuration file, which has the fields of Istio's MeshConfig, and what has no effect of it. A file that is not
/// YAML has none: [`parse_config`] says why.
///
/// # Errors
/// Every value of a wrong type or out of range, with its place. Never empty.
pub fn parse_mesh_config(file: &str, text: &str) -> Result<(MeshConfig, Vec<Warning>), Vec<PolicyError>> {
    const KEY: &str = "meshConfig";
    let file: Arc<str> = file.into();
    let documents = document::parse(&file, text).unwrap_or_default();
    let report = Report::new(file);
    let node = documents.first().and_then(|root| root.get(KEY));
    let config = node.map(|node| mesh_config::read(node, KEY, &report)).unwrap_or_default();
    let (errors, warnings) = report.into_parts();
    if errors.is_empty() { Ok((config, warnings)) } else { Err(errors) }
}

/// Where these keys (dots between the levels) stand in a configuration file, of those that are there.
pub fn written_at(file: &str, text: &str, keys: &[&'static str]) -> BTreeMap<&'static str, Origin> {
    let file: Arc<str> = file.into();
    let documents = document::parse(&file, text).unwrap_or_default();
    let Some(root) = documents.first() else { return BTreeMap::new() };
    let find = |key: &'static str| {
        let node = key.split('.').try_fold(root, |node, part| node.get(part))?;
        Some((key, node.at.in_file(&file)))
    };
    keys.iter().filter_map(|key| find(key)).collect()
}
