//! The secrets that policy names or grants, as far as they can be served.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};

use time::OffsetDateTime;
use tracing::warn;

use super::super::granted;
use super::{Class, Model, layer};
use crate::mesh::Workload;
use crate::plan::SecretName;
use crate::policy::{Object, Secret, secret_named};
use crate::secrets::{self, Validity};
use crate::xds::{Layer, Resource, ResourceType};

/// Where Debian, Ubuntu, Alpine and the images of Envoy have the trust store. A proxy whose machine has it elsewhere needs
/// `caCertificates` with the path.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What people are told of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Described {
    /// Roots, and not a certificate with its key.
    pub(in crate::server) is_roots: bool,
    /// A certificate or roots. None: they are in a file of the proxy's own machine.
    pub(in crate::server) certificates: Vec<Validity>,
}

/// A namespace, a service account in it, and the Secrets that Gateways name for its workload.
pub(super) type Reader = (String, String, BTreeSet<String>);

/// What an identity may read, whatever is planned for it.
#[derive(Clone, Default)]
pub(in crate::server) struct Granted {
    pub(in crate::server) secrets: Arc<Layer>,
    /// The same for people, by name.
    pub(in crate::server) described: Arc<HashMap<String, Described>>,
}

/// What is granted to most.
static NOTHING: LazyLock<Granted> = LazyLock::new(Granted::default);

impl Model {
    /// The Secrets that the workload may read whatever is planned for it: those whose own annotations name its service account, and those
    /// that its Gateways name.
    pub(in crate::server) fn granted(&self, workload: &Workload, now: OffsetDateTime) -> Granted {
        let named = granted::named_by_gateways(&self.mesh, &self.set, workload);
        if !self.grants && named.is_empty() {
            return NOTHING.clone();
        }
        let place = (workload.key.namespace.clone(), workload.service_account.clone(), named);
        if let Some(found) = self.encoded.granted.get(&place) {
            return found.clone();
        }
        let (namespace, service_account, named) = &place;
        let mut readable = granted::granted(&self.set, namespace, service_account);
        readable.extend(named.iter().filter_map(|name| granted::named(&self.set, namespace, name)));
        let mut described = HashMap::new();
        let mut resources = Vec::new();
        for it in readable {
            let read = |secret: &Object<Secret>| {
                let offered = secrets::credential(&it.name, &secret.spec.data, now);
                offered.inspect_err(|error| warn!(at = %secret.at, %error, "a Secret cannot be served")).ok()
            };
            let Some(mut offered) = read(it.secret) else { continue };
            if let Some(roots) = it.roots {
                (offered.ca, offered.roots) = read(roots).map(|it| (it.ca, it.roots)).unwrap_or_default();
            }
            let certificates = offered.leaf.into_iter().collect();
            let parts = [
                (format!("kubernetes://{}", it.name), offered.certificate, Described { is_roots: false, certificates }),
                (
                    format!("kubernetes://{}-cacert", it.name),
                    offered.ca,
                    Described { is_roots: true, certificates: offered.roots },
                ),
            ];
            for (name, value, of_name) in parts {
                let Some(value) = value else { continue };
                resources.push((ResourceType::Secret, credential_resource(&name, &value)));
                described.insert(name, of_name);
            }
        }
        let before = self.before.granted.get(&place).map(|before| Arc::clone(&before.secrets));
        let secrets = layer(resources.into_iter(), before.as_ref());
        let made = Granted { secrets, described: Arc::new(described) };
        self.encoded.granted.entry(place).or_insert(made).clone()
    }

    pub(super) fn with_secrets(&self, class: Class, before: Option<&Class>, now: OffsetDateTime) -> Class {
        let mut described = HashMap::new();
        let secrets = class.refers_to.iter().filter_map(|name| {
            let (resource, of_name) = self.secret(name, now)?;
            described.insert(name.to_string(), of_name);
            Some((ResourceType::Secret, resource))
        });
        let secrets = layer(secrets, before.map(|class| &class.secrets));
        Class { secrets, described: Arc::new(described), ..class }
    }

    /// The secrets that policy names, as far as they can be served: the class's namespace is part of the name, so no class
    /// sees another namespace's.
    fn secret(&self, name: &SecretName, now: OffsetDateTime) -> Option<(Arc<Resource>, Described)> {
        let of_file = |is_roots| Described { is_roots, certificates: Vec::new() };
        let (value, described) = match name {
            SecretName::Workload | SecretName::Root | SecretName::AllRoots | SecretName::DomainRoots(_) => return None,
            SecretName::FileRoot(path) => (secrets::file_root(path), of_file(true)),
            SecretName::SystemRoots => (secrets::system_roots(SYSTEM_ROOTS), of_file(true)),
            SecretName::FileCert { certificate, key } => (secrets::file_certificate(certificate, key), of_file(false)),
            SecretName::Credential { namespace, name, ca } => self.credential(namespace, name, *ca, now)?,
        };
        Some((credential_resource(&name.to_string(), &value), described))
    }

    fn credential(
        &self,
        namespace: &str,
        name: &str,
        ca: bool,
        now: OffsetDateTime,
    ) -> Option<(bytes::Bytes, Described)> {
        let (of, secret) = secret_named(name, namespace);
        if of != namespace {
            // Those of other namespaces are granted to workloads, and not to a class.
            return None;
        }
        let find = |name: &str| {
            self.set.secrets.iter().find(|object| object.meta.namespace == namespace && object.meta.name == name)
        };
        // As in Istio, roots may have a Secret of their own, which then counts.
        let of_roots = if ca { find(&format!("{secret}-cacert")) } else { None };
        let Some(object) = of_roots.or_else(|| find(secret)) else {
            warn!(
                secret = %format!("{namespace}/{secret}"),
                "the credentialName of a DestinationRule or of a Gateway names a Secret that is not there"
            );
            return None;
        };
        match secrets::credential(name, &object.spec.data, now) {
            Ok(credential) if ca => {
                Some((credential.ca?, Described { is_roots: true, certificates: credential.roots }))
            }
            Ok(credential) => {
                let certificates = credential.leaf.into_iter().collect();
                Some((credential.certificate?, Described { is_roots: false, certificates }))
            }
            Err(error) => {
                warn!(at = %object.at, %error, "a Secret cannot be served");
                None
            }
        }
    }
}

/// It depends on files elsewhere, or on an operator, so it is more likely to be bad than what is made here.
fn credential_resource(name: &str, value: &[u8]) -> Arc<Resource> {
    Arc::new(Resource::new(ResourceType::Secret, name, value).restated_by(secrets::restate).alone())
}
