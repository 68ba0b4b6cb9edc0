//! The client of the incremental variant.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use prost::Message as _;

use super::super::{DeltaRequest, DeltaSubscription, Outcome, ResourceType};
use super::{Asked, Client, Wish, world};

/// A delta client.
#[derive(Default)]
pub struct DeltaClient {
    types: BTreeMap<ResourceType, Type>,
}

#[derive(Default)]
struct Type {
    started: bool,
    legacy: bool,
    wildcard: bool,
    names: BTreeSet<String>,
    has: BTreeMap<String, u8>,
    /// What it says that it has: as in Envoy, what came in responses that it took whole.
    versions: BTreeMap<String, String>,
    /// The bytes that a secret was last given, accepted or not.
    stored: BTreeMap<String, Vec<u8>>,
}

impl Type {
    fn covers(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    fn forget(&mut self, name: &str) {
        self.has.remove(name);
        self.versions.remove(name);
        self.stored.remove(name);
    }
}

impl Client for DeltaClient {
    type Subscription = DeltaSubscription;

    fn change(&mut self, ty: ResourceType, wish: Wish) -> Option<DeltaRequest> {
        let it = self.types.entry(ty).or_default();
        let mut request = DeltaRequest::default();
        let first = !std::mem::replace(&mut it.started, true);
        match wish {
            Wish::Name(name) => {
                it.names.insert(name.clone());
                it.forget(&name);
                request.subscribe.push(name);
            }
            Wish::NoName(name) => {
                it.names.remove(&name);
                if !it.wildcard {
                    it.forget(&name);
                }
                request.unsubscribe.push(name);
                it.started = !first;
                return (!first).then_some(request);
            }
            Wish::Everything => {
                it.wildcard = true;
                it.legacy = first && ty.is_full_state();
                if !it.legacy {
                    request.subscribe.push("*".to_owned());
                }
            }
            Wish::NotEverything => {
                it.wildcard = false;
                let names = it.names.clone();
                it.has.retain(|name, _| names.contains(name));
                it.versions.retain(|name, _| names.contains(name));
                it.stored.retain(|name, _| names.contains(name));
                request.unsubscribe.push("*".to_owned());
                it.started = !first;
                return (!first).then_some(request);
            }
        }
        Some(request)
    }

    fn hello(&mut self, ty: ResourceType) -> Option<DeltaRequest> {
        let it = self.types.get(&ty).filter(|it| it.wildcard || !it.names.is_empty());
        let Some(it) = it else {
            self.types.remove(&ty);
            return None;
        };
        let mut subscribe: Vec<_> = it.names.iter().cloned().collect();
        if it.wildcard && !(it.legacy && subscribe.is_empty()) {
            subscribe.push("*".to_owned());
        }
        let initial_versions = it.versions.clone().into_iter().collect();
        Some(DeltaRequest { subscribe, initial_versions, ..DeltaRequest::default() })
    }

    fn unread(&mut self, _: ResourceType, _: &DeltaRequest, _: Option<&DeltaRequest>) {}

    fn counts(_: &Outcome) -> bool {
        true
    }

    fn stale(request: &DeltaRequest) -> Option<DeltaRequest> {
        let (nonce, error) = (request.nonce.clone(), request.error.clone());
        (!nonce.is_empty()).then(|| DeltaRequest { nonce, error, ..DeltaRequest::default() })
    }

    fn subscribe(asked: &mut Asked, ty: ResourceType, request: &DeltaRequest) {
        let first = !std::mem::replace(&mut asked.started, true);
        asked.wildcard |= first && ty.is_full_state() && request.subscribe.is_empty();
        for (names, wanted) in [(&request.subscribe, true), (&request.unsubscribe, false)] {
            for name in names {
                match (&**name, wanted) {
                    ("*", wanted) => asked.wildcard = wanted,
                    (name, true) => drop(asked.names.insert(name.to_owned())),
                    (name, false) => drop(asked.names.remove(name)),
                }
            }
        }
    }

    fn asked(request: &DeltaRequest, _: Option<&DeltaRequest>) -> Vec<String> {
        request.subscribe.iter().chain(&request.unsubscribe).cloned().collect()
    }

    fn take(&mut self, ty: ResourceType, wire: &[u8]) -> (DeltaRequest, bool) {
        let response = DeltaDiscoveryResponse::decode(wire).unwrap();
        let it = self.types.entry(ty).or_default();
        let (mut bad, mut versions) = (false, BTreeMap::new());
        for resource in response.resources {
            if !it.covers(&resource.name) {
                continue;
            }
            let value = resource.resource.unwrap().value;
            if ty == ResourceType::Secret {
                let known = it.stored.insert(resource.name.clone(), value.clone());
                if known.as_ref() == Some(&value) {
                    world::assert_not_refused(&resource.name, &value);
                    versions.insert(resource.name, resource.version);
                    continue;
                }
            }
            if world::is_bad(value[0]) {
                bad = true;
                if ty == ResourceType::Secret {
                    break;
                }
                continue;
            }
            versions.insert(resource.name.clone(), resource.version);
            it.has.insert(resource.name, value[0]);
        }
        if !bad {
            it.versions.extend(versions);
            for name in response.removed_resources {
                it.forget(&name);
            }
        }
        let error = bad.then(|| "bad".to_owned());
        let initial_versions = HashMap::new();
        (DeltaRequest { nonce: response.nonce, error, initial_versions, ..DeltaRequest::default() }, bad)
    }

    fn read(wire: &[u8]) -> Vec<(String, Vec<u8>)> {
        let response = DeltaDiscoveryResponse::decode(wire).unwrap();
        let resources = response.resources.into_iter().map(|it| (it.name, it.resource.unwrap().value));
        resources.chain(response.removed_resources.into_iter().map(|name| (name, Vec::new()))).collect()
    }

    fn state(&self, ty: ResourceType, name: &str) -> (bool, Option<u8>) {
        let Some(it) = self.types.get(&ty) else { return (false, None) };
        (it.covers(name), it.has.get(name).copied())
    }

    fn hears_removals(_: ResourceType) -> bool {
        true
    }
}
