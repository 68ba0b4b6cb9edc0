//! `server.conf` within a ConfigMap, where SPIRE's own manifests keep it.

use std::sync::Arc;

use super::super::config_map::{Lines, Source};
use super::super::document::{Node, Position};
use super::super::report::Report;
use super::super::{Located, PolicyError};
use super::read::{PSAT, read as read_tree, tree};
use super::{NodeAttestor, SpireServer};

/// The name of SPIRE's.
pub(in super::super) const CONFIG_MAP: &str = "spire-server";
/// The key in it.
const KEY: &str = "server.conf";

fn text_of(root: &Node) -> Option<&Node> {
    root.get("data").and_then(|data| data.get(KEY))
}

/// Whether this ConfigMap is that of a SPIRE server.
pub(in super::super) fn is_server_conf(root: &Node) -> bool {
    let name = root.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Node::as_str);
    name == Some(CONFIG_MAP) && text_of(root).is_some()
}

/// Reads it. `source` is the file that `root` is from. `None`: what is wrong has been reported.
pub(in super::super) fn read(root: &Node, source: &Source<'_>, report: &Report) -> Option<SpireServer> {
    let node = text_of(root)?;
    let Some(text) = node.as_str() else {
        let message = format!("found {}, expected a string: a configuration file in text", node.value.describe());
        report.error(&report.origin(node.at), "data[\"server.conf\"]", message);
        return None;
    };
    let lines = Lines::of(node.at, source);
    match tree(&report.file, text) {
        Ok(mut tree) => {
            lines.place(&mut tree);
            let server = read_tree(&tree, report)?;
            warn_of_psat(&server, report);
            Some(server)
        }
        Err(error) => {
            let at = lines.in_file(Position { line: error.at.line, column: error.at.column });
            report.push(PolicyError { at: at.in_file(&Arc::clone(&report.file)), ..error });
            None
        }
    }
}

/// A policy set is not refused for a way in that is not there: there are others.
fn warn_of_psat(server: &SpireServer, report: &Report) {
    let is_psat = |it: &&Located<NodeAttestor>| it.value == NodeAttestor::K8sPsat;
    if let Some(psat) = server.attestors.iter().find(is_psat) {
        report.warn(&psat.at, PSAT);
    }
}
