//! From text to a [`SpireServer`].

use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::decode::decode;
use super::super::document::{self, Entry, Node, Position, Value};
use super::super::report::Report;
use super::super::{Located, Origin, PolicyError, Warning, hcl};
use super::server::RawServer;
use super::{NodeAttestor, SpireServer, expand, plugins, server};

#[derive(Deserialize)]
struct RawFile {
    server: Option<Located<RawServer>>,
    #[expect(dead_code, reason = "read on its own")]
    plugins: Option<IgnoredAny>,
    telemetry: Option<Located<IgnoredAny>>,
    health_checks: Option<Located<RawHealth>>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only known")]
struct RawHealth {
    listener_enabled: Option<IgnoredAny>,
    bind_address: Option<IgnoredAny>,
    bind_port: Option<IgnoredAny>,
    ready_path: Option<IgnoredAny>,
    live_path: Option<IgnoredAny>,
}

/// Where variables have their values from.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Reads a `server.conf`, and what in it has no effect. With `environment`, variables in it are replaced by their values first, as with
/// SPIRE's `-expandEnv`.
///
/// # Errors
/// The first mistake in the syntax, or every unknown key and bad value, with its place. Also where `k8s_psat` is the only way for nodes to
/// prove who they are: no Kubernetes API is configured. Never empty.
pub fn parse_spire_config(
    file: &str,
    text: &str,
    environment: Option<Environment<'_>>,
) -> Result<(SpireServer, Vec<Warning>), Vec<PolicyError>> {
    let report = Report::new(file.into());
    let expanded = environment.map(|variable| expand::expand(text, variable));
    let start = || Origin::new(file, 1, 1);
    for name in expanded.iter().flat_map(|(_, missing)| missing) {
        report.warn(&start(), format!("the variable ${name} is not set, and counts as empty"));
    }
    let text = expanded.as_ref().map_or(text, |(text, _)| text);
    let server = match tree(&report.file, text) {
        Ok(root) => read(&root, &report),
        Err(error) => {
            report.push(error);
            None
        }
    };
    if let Some(server) = &server {
        check_attestors(server, &report);
    }
    match (server, report.into_parts()) {
        (Some(server), (errors, warnings)) if errors.is_empty() => Ok((server, warnings)),
        (_, (errors, _)) if errors.is_empty() => Err(vec![PolicyError::new(start(), "", "the file could not be read")]),
        (_, (errors, _)) => Err(errors),
    }
}

/// Why `k8s_psat` is of no use, and what is.
pub(super) const PSAT: &str = "NodeAttestor \"k8s_psat\" needs a Kubernetes API, and none is configured: use \"join_token\" or \"x509pop\", \
                               which both work without one";

fn check_attestors(server: &SpireServer, report: &Report) {
    let has_others = server.attestors.iter().any(|it| it.value != NodeAttestor::K8sPsat);
    if let Some(psat) = server.attestors.iter().find(|it| it.value == NodeAttestor::K8sPsat) {
        match has_others {
            true => report.warn(&psat.at, PSAT),
            false => report.error(&psat.at, "plugins", PSAT),
        }
    }
}

/// A text that begins with a brace is JSON, as for HCL's own reader.
pub(super) fn tree(file: &Arc<str>, text: &str) -> Result<Node, PolicyError> {
    if !text.trim_start().starts_with('{') {
        return hcl::parse(file, text);
    }
    let mut documents = document::parse(file, text)?;
    let empty = Node { at: Position { line: 1, column: 1 }, value: Value::Map(Vec::new()) };
    let mut root = if documents.is_empty() { empty } else { documents.swap_remove(0) };
    blocks(file, &mut root)?;
    Ok(root)
}

/// In JSON a block may be in a list, as in `"KeyManager": [{"disk": {}}]`.
fn blocks(file: &Arc<str>, node: &mut Node) -> Result<(), PolicyError> {
    let is_block = |item: &Node| matches!(item.value, Value::Map(_));
    if let Value::Seq(items) = &mut node.value
        && !items.is_empty()
        && items.iter().all(is_block)
    {
        let mut all: Vec<Entry> = Vec::new();
        for item in std::mem::take(items) {
            let Value::Map(entries) = item.value else { continue };
            for entry in entries {
                if let Some(first) = all.iter().find(|it| it.key == entry.key) {
                    let message = format!("{:?} is here twice: it is in line {} already", entry.key, first.at.line);
                    return Err(PolicyError::new(entry.at.in_file(file), "", message));
                }
                all.push(entry);
            }
        }
        node.value = Value::Map(all);
    }
    match &mut node.value {
        Value::Map(entries) => entries.iter_mut().try_for_each(|entry| blocks(file, &mut entry.value)),
        _ => Ok(()),
    }
}

/// Reads the tree of a file.
pub(super) fn read(root: &Node, report: &Report) -> Option<SpireServer> {
    let raw: RawFile = decode(root, "", report)?;
    if let Some(it) = raw.telemetry {
        report.warn(&it.at, "telemetry has no effect here: metrics are on admin.address, at /metrics");
    }
    if let Some(it) = raw.health_checks {
        report.warn(&it.at, "health_checks has no effect here: admin.address has /live and /ready");
    }
    let start = report.origin(root.at);
    let Some(Located { value: raw, at }) = raw.server else {
        report.error(&start, "", "the block `server` is missing");
        return None;
    };
    let Some(node) = root.get("plugins") else {
        report.error(&start, "", "the block `plugins` is missing");
        return None;
    };
    server::check(raw, at, plugins::read(node, report), report)
}
