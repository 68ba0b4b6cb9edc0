//! What the parser accepts, and what it says about what it does not.

mod after;
mod authorization_policy;
mod cert_manager;
mod bombs;
mod kinds;
mod kubernetes;
mod mesh_config;
mod messages;
mod seeds;
mod spire;
mod spire_kinds;

use super::*;

/// A good set and its warnings, as text.
fn good(text: &str) -> (PolicySet, Vec<String>) {
    match parse_set([("f.yaml", text)]) {
        Ok((set, warnings)) => (set, warnings.iter().map(ToString::to_string).collect()),
        Err(errors) => panic!("{}", lines(&errors)),
    }
}

/// The errors of a bad set, one a line.
fn bad(text: &str) -> String {
    match parse_set([("f.yaml", text)]) {
        Ok((set, _)) => panic!("accepted: {set:?}"),
        Err(errors) => lines(&errors),
    }
}

fn lines(errors: &[PolicyError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// An object whose spec is `spec`, already indented by two.
fn object(kind: &str, spec: &str) -> String {
    let version = match kind {
        "PeerAuthentication" => "security.istio.io/v1",
        "Service" => "v1",
        _ => "networking.istio.io/v1",
    };
    format!("apiVersion: {version}\nkind: {kind}\nmetadata:\n  name: it\nspec:\n{spec}\n")
}
