//! Decisions over policy sets written as YAML: what golden files show badly, such as which place a reason names.

mod after;
mod inbound;
mod kubernetes;
mod mesh_config;
mod outbound;
mod registration;
mod rules;
mod transit;

pub(crate) mod random;
pub(crate) mod text;

use std::sync::Arc;

use super::{IstioCompatibility, Mesh, Service, Settings, Topic, Warning, Workload};
use crate::policy::parse_set;

/// The model of one file, and what is surprising in it.
pub(crate) fn mesh(text: &str) -> (Mesh, Vec<String>) {
    mesh_with(text, &Settings::default())
}

pub(crate) fn mesh_with(text: &str, settings: &Settings) -> (Mesh, Vec<String>) {
    let (set, _) = parse_set([("f.yaml", text)]).unwrap_or_else(|errors| panic!("{}\n{text}", errors[0]));
    let (mesh, warnings) = Mesh::build(&set, settings);
    (mesh, warnings.iter().map(ToString::to_string).collect())
}

/// Istio's literal behaviour.
fn strict() -> Settings {
    Settings { istio_compatibility: IstioCompatibility::Strict, ..Settings::default() }
}

fn workload<'m>(mesh: &'m Mesh, key: &str) -> &'m Arc<Workload> {
    mesh.workload(&key.parse().unwrap()).unwrap()
}

fn service<'m>(mesh: &'m Mesh, host: &str) -> &'m Arc<Service> {
    mesh.services().find(|service| service.host == host).unwrap()
}

fn said(reasons: &[super::decide::Reason]) -> Vec<String> {
    let one = |reason: &super::decide::Reason| match &reason.at {
        Some(at) => format!("{at} {}", reason.text),
        None => reason.text.clone(),
    };
    reasons.iter().map(one).collect()
}
