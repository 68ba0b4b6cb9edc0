//! A `v1` `ConfigMap`: the one in which Istio keeps its MeshConfig. Its text is a YAML document within a YAML document, and what is wrong in
//! it is told with the line of the file.

use std::cell::OnceCell;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::document::{self, Node, Position, Value};
use super::fields::Unused;
use super::report::Report;
use super::{MeshConfig, PolicyError, mesh_config};

/// The name of Istio's, and the key in it.
const NAME: &str = "istio";
const KEY: &str = "mesh";

/// A ConfigMap's own fields; its data is read apart, by its places.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "read on their own, or only known")]
pub(super) struct Raw {
    api_version: Option<IgnoredAny>,
    kind: Option<IgnoredAny>,
    metadata: Option<IgnoredAny>,
    data: Option<IgnoredAny>,
    binary_data: Option<Unused>,
    immutable: Option<IgnoredAny>,
}

/// Whether this ConfigMap is Istio's. Others are somebody else's business.
pub(super) fn is_istios(root: &Node) -> bool {
    root.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Node::as_str) == Some(NAME)
}

/// Reads the MeshConfig of a ConfigMap. `source` is the file that `root` is from.
pub(super) fn read(root: &Node, source: &Source<'_>, report: &Report) -> MeshConfig {
    let data = root.get("data");
    if let Some(networks) = data.and_then(|data| data.get("meshNetworks")).filter(|node| !is_empty(node)) {
        report.warn(&report.origin(networks.at), "data.meshNetworks has no effect here");
    }
    let Some(node) = data.and_then(|data| data.get(KEY)) else { return MeshConfig::default() };
    let Some(inner) = node.as_str() else {
        let message = format!("found {}, expected a string: a YAML document in text", node.value.describe());
        report.error(&report.origin(node.at), "data.mesh", message);
        return MeshConfig::default();
    };
    let lines = Lines::of(node.at, source);
    match document::parse(&report.file, inner) {
        Ok(mut documents) if documents.len() < 2 => match documents.pop() {
            Some(mut document) => {
                lines.place(&mut document);
                mesh_config::read(&document, "", report)
            }
            None => MeshConfig::default(),
        },
        Ok(_) => {
            report.error(&report.origin(node.at), "data.mesh", "a second document: a MeshConfig is one");
            MeshConfig::default()
        }
        Err(error) => {
            let at = lines.in_file(Position { line: error.at.line, column: error.at.column });
            report.push(PolicyError { at: at.in_file(&Arc::clone(&report.file)), ..error });
            MeshConfig::default()
        }
    }
}

fn is_empty(node: &Node) -> bool {
    matches!(node.value, Value::Null)
        || node.as_str().is_some_and(|text| text.trim() == "networks: {}" || text.is_empty())
}

/// A file's text, by lines. They are counted once, and only where they are asked for: a file may have thousands of ConfigMaps.
pub(super) struct Source<'t> {
    text: &'t str,
    lines: OnceCell<Vec<&'t str>>,
}

impl<'t> Source<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, lines: OnceCell::new() }
    }

    /// A line, from 1; nothing beyond the file's ends.
    fn line(&self, number: u32) -> &'t str {
        let lines = self.lines.get_or_init(|| self.text.lines().collect());
        (number as usize).checked_sub(1).and_then(|index| lines.get(index)).copied().unwrap_or_default()
    }
}

/// Where the lines of a text within a text stand.
pub(super) enum Lines {
    /// A literal block (`|`): its first line, and how far it is indented.
    Block { first: u32, indent: u32 },
    /// Anything else has its lines somewhere within the value; the value's own place is as near as one can tell.
    Value(Position),
}

impl Lines {
    /// The place of a literal block is its first line that is not blank; its header is what stands above.
    pub(super) fn of(at: Position, source: &Source<'_>) -> Self {
        let blank = (1..at.line).rev().take_while(|number| source.line(*number).trim().is_empty()).count();
        let blank = u32::try_from(blank).unwrap_or(u32::MAX);
        let header = source.line(at.line.saturating_sub(blank).saturating_sub(1));
        let is_block = header.split_once(": |").is_some_and(|(_, rest)| {
            let style = rest.split('#').next().unwrap_or_default().trim_end();
            style.chars().all(|sign| matches!(sign, '-' | '+' | '1'..='9'))
        });
        if !is_block {
            return Self::Value(at);
        }
        let line = source.line(at.line);
        let indent = line.len() - line.trim_start().len();
        Self::Block { first: at.line - blank, indent: u32::try_from(indent).unwrap_or_default() }
    }

    pub(super) fn in_file(&self, inner: Position) -> Position {
        match *self {
            Self::Block { first, indent } => Position { line: first + inner.line - 1, column: indent + inner.column },
            Self::Value(at) => at,
        }
    }

    pub(super) fn place(&self, node: &mut Node) {
        node.at = self.in_file(node.at);
        match &mut node.value {
            Value::Seq(items) => items.iter_mut().for_each(|item| self.place(item)),
            Value::Map(entries) => {
                for entry in entries {
                    entry.at = self.in_file(entry.at);
                    self.place(&mut entry.value);
                }
            }
            _ => {}
        }
    }
}
