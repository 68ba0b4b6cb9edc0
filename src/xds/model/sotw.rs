//! The client of the state-of-the-world variant.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryResponse;
use prost::Message as _;

use super::super::{Outcome, ResourceType, SotwRequest, SotwSubscription};
use super::{Asked, Client, Wish, world};

/// A state-of-the-world client.
#[derive(Default)]
pub struct SotwClient {
    types: BTreeMap<ResourceType, Type>,
}

#[derive(Default)]
struct Type {
    /// `*` included.
    names: BTreeSet<String>,
    /// It has asked for everything by an empty first list.
    legacy: bool,
    started: bool,
    version: String,
    nonce: String,
    has: BTreeMap<String, u8>,
    stored: BTreeMap<String, Vec<u8>>,
}

impl Type {
    fn covers(&self, name: &str) -> bool {
        self.legacy || self.names.contains("*") || self.names.contains(name)
    }

    fn forget(&mut self, covered: impl Fn(&str) -> bool) {
        self.has.retain(|name, _| covered(name));
        self.stored.retain(|name, _| covered(name));
    }

    fn list(&self) -> SotwRequest {
        SotwRequest {
            version: self.version.clone(),
            nonce: self.nonce.clone(),
            error: None,
            names: self.names.iter().cloned().collect(),
        }
    }
}

impl Client for SotwClient {
    type Subscription = SotwSubscription;

    fn change(&mut self, ty: ResourceType, wish: Wish) -> Option<SotwRequest> {
        let it = self.types.entry(ty).or_default();
        let first = !std::mem::replace(&mut it.started, true);
        match wish {
            Wish::Name(name) => {
                // The first name ends what an empty list asks for. A list cannot say that a name it holds is wanted anew.
                it.legacy = false;
                if !it.names.insert(name.clone()) {
                    it.started = !first;
                    return None;
                }
                it.forget(|other| other != name);
            }
            Wish::NoName(name) => {
                if !it.names.remove(&name) {
                    it.started = !first;
                    return None;
                }
            }
            Wish::Everything if first && ty.is_full_state() => it.legacy = true,
            Wish::Everything if !ty.is_full_state() || it.legacy => {
                it.started = !first;
                return None;
            }
            Wish::Everything => {
                it.names.insert("*".to_owned());
            }
            Wish::NotEverything => {
                if !it.names.remove("*") {
                    it.started = !first;
                    return None;
                }
            }
        }
        let (wildcard, names) = (it.covers("*"), it.names.clone());
        it.forget(|name| wildcard || names.contains(name));
        Some(it.list())
    }

    fn hello(&mut self, ty: ResourceType) -> Option<SotwRequest> {
        let it = self.types.get_mut(&ty).filter(|it| it.legacy || !it.names.is_empty());
        let Some(it) = it else {
            self.types.remove(&ty);
            return None;
        };
        it.nonce.clear();
        Some(it.list())
    }

    fn unread(&mut self, ty: ResourceType, request: &SotwRequest, before: Option<&SotwRequest>) {
        // Nobody can know that it dropped a name and asked for it again, so this client names no version then.
        if before.is_none_or(|before| before.names != request.names)
            && let Some(it) = self.types.get_mut(&ty)
        {
            it.version.clear();
        }
    }

    fn counts(outcome: &Outcome) -> bool {
        !matches!(outcome, Outcome::Stale)
    }

    fn stale(request: &SotwRequest) -> Option<SotwRequest> {
        let nonce = request.nonce.parse::<u64>().ok().filter(|nonce| *nonce > 1)? - 1;
        Some(SotwRequest { nonce: nonce.to_string(), ..request.clone() })
    }

    fn subscribe(asked: &mut Asked, ty: ResourceType, request: &SotwRequest) {
        asked.named |= !request.names.is_empty();
        asked.names = request.names.iter().cloned().collect();
        asked.wildcard = asked.names.contains("*") || (ty.is_full_state() && !asked.named);
    }

    fn asked(request: &SotwRequest, before: Option<&SotwRequest>) -> Vec<String> {
        let known = |name: &String| before.is_some_and(|before| before.names.contains(name));
        request.names.iter().filter(|name| !known(name)).cloned().collect()
    }

    fn take(&mut self, ty: ResourceType, wire: &[u8]) -> (SotwRequest, bool) {
        let response = DiscoveryResponse::decode(wire).unwrap();
        let it = self.types.entry(ty).or_default();
        let mut bad = false;
        let contents = read_names(&response);
        let listed: BTreeSet<String> = contents.iter().map(|(name, _)| name.clone()).collect();
        for (name, value) in contents {
            if !it.covers(&name) {
                continue;
            }
            if ty == ResourceType::Secret {
                let known = it.stored.insert(name.clone(), value.clone());
                if known.as_ref() == Some(&value) {
                    world::assert_not_refused(&name, &value);
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
            it.has.insert(name, value[0]);
        }
        if ty.is_full_state() {
            it.has.retain(|name, _| listed.contains(name));
        }
        it.nonce = response.nonce;
        if !bad {
            // As in Envoy, whether or not it has let something of it go since.
            it.version = response.version_info;
        }
        let error = bad.then(|| "bad".to_owned());
        (SotwRequest { error, ..it.list() }, bad)
    }

    fn read(wire: &[u8]) -> Vec<(String, Vec<u8>)> {
        read_names(&DiscoveryResponse::decode(wire).unwrap())
    }

    fn state(&self, ty: ResourceType, name: &str) -> (bool, Option<u8>) {
        let Some(it) = self.types.get(&ty) else { return (false, None) };
        (it.covers(name), it.has.get(name).copied())
    }

    fn hears_removals(ty: ResourceType) -> bool {
        ty.is_full_state()
    }
}

fn read_names(response: &DiscoveryResponse) -> Vec<(String, Vec<u8>)> {
    response.resources.iter().map(|any| (world::name(&any.value), any.value.clone())).collect()
}
