//! The trust bundle as proxies are shown it: the server's own roots, and those that a MeshConfig adds.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::warn;

use crate::mesh;
use crate::secrets::{self, Authority};
use crate::trust::TrustBundle;
use crate::xds::{Layer, Resource, ResourceType, Version};

/// What `ROOTCA` is at one time.
pub(super) struct Roots {
    pub(super) bundle: Arc<TrustBundle>,
    further: Further,
    pub(super) layer: Arc<Layer>,
    pub(super) version: Version,
}

/// `caCertificates` of a MeshConfig, and the trust domains that count as the server's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Further {
    aliases: BTreeSet<String>,
    authorities: Vec<Authority>,
}

impl From<&mesh::Settings> for Further {
    fn from(settings: &mesh::Settings) -> Self {
        let authority =
            |it: &mesh::CaCertificate| Authority { pem: it.pem.clone(), trust_domains: it.trust_domains.clone() };
        let authorities: Vec<_> = settings.ca_certificates().iter().map(authority).collect();
        // Without further authorities the aliases change nothing about the roots.
        let aliases = if authorities.is_empty() { &[][..] } else { &settings.trust_domain_aliases };
        Self { aliases: aliases.iter().cloned().collect(), authorities }
    }
}

impl Roots {
    pub(super) fn new(bundle: Arc<TrustBundle>, further: Further) -> Self {
        let value = if further.authorities.is_empty() {
            secrets::validation_context(secrets::ROOT, &bundle)
        } else {
            if bundle.crls().is_some() {
                warn!(
                    "proxies are given no revocation lists while a MeshConfig has caCertificates: what is revoked is refused by this server only"
                );
            }
            secrets::validation_by_trust_domain(secrets::ROOT, &bundle, &further.aliases, &further.authorities)
        };
        let serials: Vec<_> = bundle.roots().iter().map(|root| root.serial.to_string()).collect();
        let resource = Resource::new(ResourceType::Secret, secrets::ROOT, &value)
            .with_serial(serials.join(","))
            .restated_by(secrets::restate);
        let (version, resource) = (resource.version(), Arc::new(resource));
        let layer = Arc::new(Layer::new([(ResourceType::Secret, resource)], None));
        Self { bundle, further, layer, version }
    }

    /// The same with another bundle.
    pub(super) fn with_bundle(&self, bundle: &Arc<TrustBundle>) -> Self {
        Self::new(Arc::clone(bundle), self.further.clone())
    }

    /// The same with other authorities besides; `None` where they are the same.
    pub(super) fn with_further(&self, further: &Further) -> Option<Self> {
        (self.further != *further).then(|| Self::new(Arc::clone(&self.bundle), further.clone()))
    }
}
