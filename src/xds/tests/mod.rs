//! The protocol's rules, one test each, named after the rule.

mod faults;
mod heartbeat;
mod memory;
mod model;
mod nack;
mod names;
mod order;
mod reconnect;
mod size;
mod wildcard;

use std::collections::BTreeMap;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
use prost::Message as _;

use super::*;
use ResourceType::{Cluster, Endpoint, Listener, Secret};

fn resource(ty: ResourceType, name: &str, content: &str) -> Resource {
    Resource::new(ty, name, content.as_bytes())
}

/// A secret that may share a response.
fn restatable(name: &str, content: &str) -> Resource {
    resource(Secret, name, content).restated_by(|value| Some([value, b"\n"].concat()))
}

/// A view of these, with nothing in common in memory with any other.
fn view(resources: impl IntoIterator<Item = Resource>) -> View {
    let layer = Layer::new(resources.into_iter().map(|it| (it.ty(), Arc::new(it))), None);
    View::new(&[Arc::new(layer)])
}

/// `name=content` for each resource, `-name` for each removal.
fn contents(response: &Response) -> Vec<String> {
    let named = response.contents.iter().map(|(name, resource)| match resource {
        Some(resource) => {
            let any = resource.any();
            let at = any.windows(2).rposition(|pair| pair[0] == 0x12).map_or(0, |at| at + 2);
            format!("{name}={}", String::from_utf8_lossy(&any[at..]))
        }
        None => format!("-{name}"),
    });
    named.collect()
}

fn delta_message(response: &Response) -> DeltaDiscoveryResponse {
    let mut wire = Vec::new();
    response.encode(&mut wire);
    DeltaDiscoveryResponse::decode(&*wire).unwrap()
}

fn sotw_message(response: &Response) -> DiscoveryResponse {
    let mut wire = Vec::new();
    response.encode(&mut wire);
    DiscoveryResponse::decode(&*wire).unwrap()
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A delta stream under test: what is sent, as text.
#[derive(Default)]
struct Delta(Session<DeltaSubscription>);

impl Delta {
    fn ask(&mut self, ty: ResourceType, subscribe: &[&str], unsubscribe: &[&str], view: &View) -> Outcome {
        let (subscribe, unsubscribe) = (strings(subscribe), strings(unsubscribe));
        self.0.on_request(ty, DeltaRequest { subscribe, unsubscribe, ..DeltaRequest::default() }, view)
    }

    fn hello(&mut self, ty: ResourceType, subscribe: &[&str], has: &BTreeMap<String, String>, view: &View) -> Outcome {
        let initial_versions = has.clone().into_iter().collect();
        let request = DeltaRequest { subscribe: strings(subscribe), initial_versions, ..DeltaRequest::default() };
        self.0.on_request(ty, request, view)
    }

    fn next(&mut self, view: &View) -> Option<Response> {
        self.0.next_response(view)
    }

    fn ack(&mut self, response: &Response, view: &View) -> Outcome {
        let request = DeltaRequest { nonce: response.nonce.to_string(), ..DeltaRequest::default() };
        self.0.on_request(response.ty, request, view)
    }

    fn nack(&mut self, response: &Response, view: &View) -> Outcome {
        let (nonce, error) = (response.nonce.to_string(), Some("no".to_owned()));
        self.0.on_request(response.ty, DeltaRequest { nonce, error, ..DeltaRequest::default() }, view)
    }

    /// Sends and acknowledges until nothing is left.
    fn drain(&mut self, view: &View) -> Vec<String> {
        let mut sent = Vec::new();
        while let Some(response) = self.next(view) {
            sent.extend(contents(&response));
            self.ack(&response, view);
        }
        sent
    }
}

/// A state-of-the-world stream under test.
#[derive(Default)]
struct Sotw(Session<SotwSubscription>);

impl Sotw {
    fn ask(&mut self, ty: ResourceType, names: &[&str], view: &View) -> Outcome {
        self.0.on_request(ty, SotwRequest { names: strings(names), ..SotwRequest::default() }, view)
    }

    fn hello(&mut self, ty: ResourceType, names: &[&str], version: &str, view: &View) -> Outcome {
        let request = SotwRequest { names: strings(names), version: version.to_owned(), ..SotwRequest::default() };
        self.0.on_request(ty, request, view)
    }

    fn next(&mut self, view: &View) -> Option<Response> {
        self.0.next_response(view)
    }

    fn ack(&mut self, response: &Response, names: &[&str], view: &View) -> Outcome {
        let version = sotw_message(response).version_info;
        let nonce = response.nonce.to_string();
        self.0.on_request(response.ty, SotwRequest { names: strings(names), version, nonce, error: None }, view)
    }

    fn nack(&mut self, response: &Response, names: &[&str], view: &View) -> Outcome {
        let (nonce, error) = (response.nonce.to_string(), Some("no".to_owned()));
        let request = SotwRequest { names: strings(names), nonce, error, ..SotwRequest::default() };
        self.0.on_request(response.ty, request, view)
    }

    fn drain(&mut self, names: &[&str], view: &View) -> Vec<String> {
        let mut sent = Vec::new();
        while let Some(response) = self.next(view) {
            sent.extend(contents(&response));
            self.ack(&response, names, view);
        }
        sent
    }
}
