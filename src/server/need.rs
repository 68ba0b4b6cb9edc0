//! What a proxy has to acknowledge before a step of a mode change is over, and whether it has.

use std::sync::Arc;

use time::OffsetDateTime;

use crate::fleet::{Look, Reason};
use crate::rollout::Part;
use crate::xds::{Resource, ResourceType, Version};

/// What one proxy has to acknowledge.
#[derive(Clone, Debug)]
pub(super) struct Need {
    resources: Vec<(ResourceType, Arc<str>, Version)>,
    /// Whether what refers to the mesh's secrets is among it: until those are there, Envoy has acknowledged it and does not use it.
    tls: bool,
    stamp: Version,
}

impl Need {
    pub(super) fn new<'a>(resources: impl Iterator<Item = &'a Resource>, tls: bool) -> Self {
        let resources: Vec<_> = resources.map(|it| (it.ty(), Arc::clone(it.name()), it.version())).collect();
        let stamp = Version::of_set(resources.iter().map(|(_, name, version)| (&**name, *version)));
        Self { resources, tls, stamp }
    }

    /// Whether there is anything to acknowledge.
    pub(super) fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// Equal for what is served alike.
    pub(super) fn stamp(&self) -> Version {
        self.stamp
    }

    /// How far a stream is with it. `secrets` are those of the mesh that it is served for TLS, with the version of each.
    pub(super) fn part(&self, stream: Look<'_>, secrets: &[(&str, Version)], now: OffsetDateTime) -> Part {
        if self.is_empty() {
            return Part::None;
        }
        let secrets = secrets.iter().map(|(name, version)| (ResourceType::Secret, *name, *version));
        let secrets = secrets.filter(|_| self.tls && stream.description().identity.is_some());
        let resources = self.resources.iter().map(|(ty, name, version)| (*ty, &**name, *version));
        for (ty, name, version) in resources.clone().chain(secrets) {
            match stream.lacks(ty, name, version) {
                None => {}
                Some(Reason::NotSubscribed) if stream.has_had_time(now) && !is_to_come(stream, ty) => {}
                Some(Reason::Rejected(refusal)) => {
                    return Part::Late(format!("it refuses {} {name}: {}", what(ty), refusal.error));
                }
                Some(_) => return Part::Late(format!("it has not acknowledged {} {name}", what(ty))),
            }
        }
        // What is sent once more, because something that refers to it was, has the version that was acknowledged before.
        let types = resources.map(|(ty, ..)| ty).chain(self.tls.then_some(ResourceType::Secret));
        match types.into_iter().find(|ty| stream.is_waiting(*ty)) {
            Some(ty) => Part::Late(format!("it has not acknowledged a response with {}", plural(ty))),
            None => Part::Done,
        }
    }

    /// How far somebody is who is away, and has not acknowledged it as far as we know.
    pub(super) fn unknown(&self) -> Part {
        match self.resources.first() {
            None => Part::None,
            Some((ty, name, _)) => Part::Late(format!("it has not acknowledged {} {name}", what(*ty))),
        }
    }
}

/// Whether a client has asked for clusters or listeners, and waits for the first of them. These wait for nothing but other types: until
/// it has them, a client that was here before runs the old.
fn is_to_come(stream: Look<'_>, ty: ResourceType) -> bool {
    matches!(ty, ResourceType::Cluster | ResourceType::Listener) && stream.is_beginning(ty)
}

fn what(ty: ResourceType) -> &'static str {
    match ty {
        ResourceType::Listener => "the listener",
        ResourceType::Cluster => "the cluster",
        ResourceType::Endpoint => "the endpoints of",
        ResourceType::Secret => "the secret",
        ResourceType::Route => "the route",
    }
}

fn plural(ty: ResourceType) -> &'static str {
    match ty {
        ResourceType::Listener => "listeners",
        ResourceType::Cluster => "clusters",
        ResourceType::Endpoint => "endpoints",
        ResourceType::Secret => "secrets",
        ResourceType::Route => "routes",
    }
}
