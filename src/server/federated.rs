//! The bundles that a policy set brings for other trust domains: `trustDomainBundle` of SPIRE's `ClusterFederatedTrustDomain`.

use std::sync::Arc;

use tracing::{info, warn};

use super::blocking;
use super::model::Model;
use super::proxies::Proxies;
use crate::policy::PolicySet;

/// Takes in what is another than in the set before. A bad bundle is told of, and the one that is kept goes on.
pub(super) async fn take(proxies: &Proxies, before: Option<&Model>, set: &PolicySet) {
    if before.is_some_and(|before| before.set.federated_trust_domains.are(&set.federated_trust_domains)) {
        return;
    }
    for object in set.federated_trust_domains.iter() {
        let (domain, Some(bundle)) = (&object.spec.trust_domain, &object.spec.bundle) else { continue };
        let Ok(trust_domain) = domain.value.parse() else { continue };
        let (trust, now, text) = (Arc::clone(&proxies.trust), (proxies.clock)(), bundle.value.clone());
        match blocking(move || trust.import_bundle(&trust_domain, &text, now)).await {
            Ok(taken) => {
                info!(trust_domain = %domain.value, roots = taken.bundle.roots().len(), at = %bundle.at, "the bundle of another trust domain is taken in");
                proxies.changed.notify_one();
            }
            Err(error) => warn!(at = %bundle.at, %error, "the bundle of another trust domain is not taken in"),
        }
    }
}
