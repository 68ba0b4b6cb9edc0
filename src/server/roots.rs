//! Trust bundles as proxies are shown them: our own roots with those that a MeshConfig adds, those of other trust domains, and all of
//! them together.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::warn;

use crate::mesh;
use crate::secrets::{self, Authority};
use crate::trust::{Federation, TrustBundle};
use crate::xds::{Layer, Resource, ResourceType, Version};

/// The secrets that hold roots, at one time. Every proxy shares them.
pub(super) struct ServedRoots {
    pub(super) bundle: Arc<TrustBundle>,
    federation: Arc<Federation>,
    further: Further,
    /// The names under which a proxy may have our own roots, and what it should have there.
    own: Vec<(String, Version)>,
    layer: Arc<Layer>,
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
        let alone = authorities.is_empty() && settings.federated.is_empty();
        let aliases = if alone { &[][..] } else { &settings.trust_domain_aliases };
        Self { aliases: aliases.iter().cloned().collect(), authorities }
    }
}

impl ServedRoots {
    pub(super) fn new(bundle: Arc<TrustBundle>, federation: Arc<Federation>, further: Further) -> Self {
        let Further { aliases, authorities } = &further;
        let root = if authorities.is_empty() {
            secrets::validation_context(secrets::ROOT, &bundle)
        } else {
            if bundle.crls().is_some() && bundle.root_crls().is_none() {
                warn!(
                    "proxies are given no revocation lists while a MeshConfig has caCertificates and a root's key is elsewhere: what is \
                     revoked is refused by this server only"
                );
            }
            secrets::validation_by_trust_domain(secrets::ROOT, &bundle, aliases, authorities)
        };
        let foreign: Vec<&TrustBundle> = federation.bundles().map(|it| &it.bundle).collect();
        let federated = foreign
            .iter()
            .map(|it| Authority { pem: it.pem().to_owned(), trust_domains: vec![it.trust_domain().to_string()] });
        let everybody: Vec<Authority> = authorities.iter().cloned().chain(federated).collect();
        let all = secrets::validation_by_trust_domain(secrets::ALL, &bundle, aliases, &everybody);
        let alone = |it: &TrustBundle| {
            let name = it.trust_domain().uri();
            resource(&name, &secrets::validation_of(&name, it), &[it])
        };
        let own = [
            resource(secrets::ROOT, &root, &[&bundle]),
            resource(secrets::ALL, &all, &[&[&*bundle], &foreign[..]].concat()),
            alone(&bundle),
        ];
        let versions = own.iter().map(|it| (it.name().to_string(), it.version())).collect();
        let secrets = own.into_iter().chain(foreign.iter().map(|it| alone(it)));
        let secrets: Vec<_> = secrets.map(|it| (ResourceType::Secret, Arc::new(it))).collect();
        let layer = Arc::new(Layer::new(secrets, None));
        Self { bundle, federation, further, own: versions, layer }
    }

    /// The same with these bundles: our own, and those of other trust domains.
    pub(super) fn with(&self, bundle: &Arc<TrustBundle>, federation: &Arc<Federation>) -> Self {
        Self::new(Arc::clone(bundle), Arc::clone(federation), self.further.clone())
    }

    /// The same with other authorities besides; `None` where they are the same.
    pub(super) fn with_further(&self, further: &Further) -> Option<Self> {
        let other = || Self::new(Arc::clone(&self.bundle), Arc::clone(&self.federation), further.clone());
        (self.further != *further).then(other)
    }

    /// Whether these bundles are what is served.
    pub(super) fn are(&self, bundle: &TrustBundle, federation: &Federation) -> bool {
        *self.bundle == *bundle && *self.federation == *federation
    }

    pub(super) fn layer(&self) -> &Arc<Layer> {
        &self.layer
    }

    /// The names under which a proxy may have our own roots, with the version of each.
    pub(super) fn own(&self) -> &[(String, Version)] {
        &self.own
    }

    /// The bundles in the secret of this name, without what a MeshConfig adds. Empty: it is no secret of roots.
    pub(super) fn bundles(&self, name: &str) -> Vec<&TrustBundle> {
        let all = std::iter::once(&*self.bundle).chain(self.federation.bundles().map(|it| &it.bundle));
        match name {
            secrets::ROOT => vec![&*self.bundle],
            secrets::ALL => all.collect(),
            other => all.filter(|it| it.trust_domain().uri() == other).collect(),
        }
    }
}

fn resource(name: &str, value: &[u8], bundles: &[&TrustBundle]) -> Resource {
    let roots = bundles.iter().flat_map(|bundle| bundle.roots());
    let serials: Vec<_> = roots.map(|root| root.serial.to_string()).collect();
    Resource::new(ResourceType::Secret, name, value).with_serial(serials.join(",")).restated_by(secrets::restate)
}
