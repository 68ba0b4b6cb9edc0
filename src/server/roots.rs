//! Trust bundles as they are served: our own, those of other trust domains, and all of them together.

use std::sync::Arc;

use crate::secrets;
use crate::trust::{Federation, TrustBundle};
use crate::xds::{Layer, Resource, ResourceType, Version};

/// The secrets that hold roots. Every proxy shares them.
pub(super) struct ServedRoots {
    pub(super) bundle: Arc<TrustBundle>,
    pub(super) federation: Arc<Federation>,
    /// The names under which a proxy may have our own roots, and what it should have there.
    own: Vec<(String, Version)>,
    layer: Arc<Layer>,
}

impl ServedRoots {
    /// `before` is what was served until now: what is the same keeps its place in memory.
    pub(super) fn new(bundle: Arc<TrustBundle>, federation: Arc<Federation>, before: Option<&Self>) -> Self {
        let foreign: Vec<&TrustBundle> = federation.bundles().map(|it| &it.bundle).collect();
        let all: Vec<&TrustBundle> = std::iter::once(&*bundle).chain(foreign.iter().copied()).collect();
        let own_name = bundle.trust_domain().uri();
        let own = [
            resource(secrets::ROOT, &secrets::validation_context(secrets::ROOT, &bundle), &[&bundle]),
            together(secrets::ALL, &all),
            together(&own_name, &[&bundle]),
        ];
        let versions = own.iter().map(|it| (it.name().to_string(), it.version())).collect();
        let foreign = foreign.iter().map(|it| together(&it.trust_domain().uri(), &[it]));
        let secrets: Vec<_> = own.into_iter().chain(foreign).map(|it| (ResourceType::Secret, Arc::new(it))).collect();
        let layer = Arc::new(Layer::new(secrets, before.map(|before| &*before.layer)));
        Self { bundle, federation, own: versions, layer }
    }

    pub(super) fn layer(&self) -> &Arc<Layer> {
        &self.layer
    }

    /// The names under which a proxy may have our own roots, with the version of each.
    pub(super) fn own(&self) -> &[(String, Version)] {
        &self.own
    }

    /// The bundles in the secret of this name.
    pub(super) fn bundles(&self, name: &str) -> Vec<&TrustBundle> {
        let all = std::iter::once(&*self.bundle).chain(self.federation.bundles().map(|it| &it.bundle));
        match name {
            secrets::ROOT => vec![&*self.bundle],
            secrets::ALL => all.collect(),
            other => all.filter(|it| it.trust_domain().uri() == other).collect(),
        }
    }
}

fn together(name: &str, bundles: &[&TrustBundle]) -> Resource {
    resource(name, &secrets::spiffe_validation_context(name, bundles), bundles)
}

fn resource(name: &str, value: &[u8], bundles: &[&TrustBundle]) -> Resource {
    let roots = bundles.iter().flat_map(|bundle| bundle.roots());
    let serials: Vec<_> = roots.map(|root| root.serial.to_string()).collect();
    Resource::new(ResourceType::Secret, name, value).with_serial(serials.join(",")).restated_by(secrets::restate)
}
