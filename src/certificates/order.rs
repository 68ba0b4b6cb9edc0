//! Whose a Secret is, and the order in which Certificates are looked at: authorities before what they sign.

use std::collections::BTreeMap;

use super::authority;
use super::controller::Controller;
use crate::policy::{Certificate, Object, PolicySet};

impl Controller {
    /// Certificates in an order in which authorities are issued first, and whether each would have to sign itself on the way.
    pub(super) fn ordered<'a>(
        &self,
        set: &'a PolicySet,
        owners: &BTreeMap<(&str, &str), &'a Object<Certificate>>,
    ) -> Vec<(&'a Object<Certificate>, bool)> {
        let above = |object: &Object<Certificate>| {
            let (cluster, namespace) = (&self.settings.cluster_resource_namespace, &object.meta.namespace);
            let found = authority::secret_of(set, namespace, &object.spec.issuer.value, cluster).ok()?.1;
            found.and_then(|place| owners.get(&place)).copied()
        };
        let mut all: Vec<_> = set
            .certificates
            .iter()
            .map(|object| {
                let object: &Object<Certificate> = object;
                let (mut depth, mut on_the_way) = (0, object);
                while let Some(next) = above(on_the_way) {
                    depth += 1;
                    if std::ptr::eq(next, object) || depth > set.certificates.len() {
                        return (depth, object, true);
                    }
                    on_the_way = next;
                }
                (depth, object, false)
            })
            .collect();
        all.sort_by_key(|(depth, ..)| *depth);
        all.into_iter().map(|(_, object, is_circle)| (object, is_circle)).collect()
    }
}

/// The Secret that a Certificate names.
pub(super) fn place(object: &Object<Certificate>) -> (&str, &str) {
    (&object.meta.namespace, &object.spec.secret_name.value)
}

/// Of several Certificates that name one Secret the oldest has it, and of those without a creation time the first by name.
pub(super) fn owners(set: &PolicySet) -> BTreeMap<(&str, &str), &Object<Certificate>> {
    let mut owners = BTreeMap::<_, &Object<Certificate>>::new();
    let age = |it: &Object<Certificate>| (it.meta.creation_timestamp.is_none(), it.meta.creation_timestamp);
    for object in &set.certificates {
        let owner = owners.entry(place(object)).or_insert(object);
        if (age(object), &object.meta.name) < (age(owner), &owner.meta.name) {
            *owner = object;
        }
    }
    owners
}
