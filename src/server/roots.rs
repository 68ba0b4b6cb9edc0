//! Trust bundles as proxies are shown them: our own roots with those that a MeshConfig adds, those of other trust domains, and all of
//! them together.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::warn;

use crate::mesh;
use crate::plan::Node;
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
    /// Why proxies are not given the revocation lists that there are.
    without_lists: Option<&'static str>,
    layer: Arc<Layer>,
    /// The same for clients that take the roots of one trust domain as they are.
    plain: Plain,
}

struct Plain {
    own: Vec<(String, Version)>,
    layer: Arc<Layer>,
}

/// `caCertificates` of a MeshConfig, and the trust domains that count as the server's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Further {
    aliases: BTreeSet<String>,
    authorities: Vec<Authority>,
    /// The trust domains with other roots than our own, whether or not these are known.
    domains: BTreeSet<String>,
}

impl Further {
    /// What is to be believed about our own identities: an authority that names others only is none of them.
    fn of_ours(&self) -> Vec<Authority> {
        let of_ours = |it: &Authority| {
            let mut trust_domains = it.trust_domains.clone();
            trust_domains.retain(|domain| !self.domains.contains(domain));
            let is_one = it.trust_domains.is_empty() || !trust_domains.is_empty();
            is_one.then(|| Authority { pem: it.pem.clone(), trust_domains })
        };
        self.authorities.iter().filter_map(of_ours).collect()
    }
}

impl From<&mesh::Settings> for Further {
    fn from(settings: &mesh::Settings) -> Self {
        let authority =
            |it: &mesh::CaCertificate| Authority { pem: it.pem.clone(), trust_domains: it.trust_domains.clone() };
        let authorities: Vec<_> = settings.ca_certificates().iter().map(authority).collect();
        // Without further authorities the aliases change nothing about the roots.
        let alone = authorities.is_empty() && settings.federated.is_empty();
        let aliases = if alone { &[][..] } else { &settings.trust_domain_aliases };
        let domains = settings.further_trust_domains().into_iter().collect();
        Self { aliases: aliases.iter().cloned().collect(), authorities, domains }
    }
}

impl ServedRoots {
    pub(super) fn new(bundle: Arc<TrustBundle>, federation: Arc<Federation>, further: Further) -> Self {
        let Further { aliases, authorities, domains } = &further;
        let of_ours = further.of_ours();
        let without_lists = without_lists(&bundle, &further, &of_ours);
        if let Some(reason) = without_lists {
            warn!("what is revoked is refused by this server only: {reason}");
        }
        let root = if of_ours.is_empty() {
            secrets::validation_context(secrets::ROOT, &bundle)
        } else {
            secrets::validation_by_trust_domain(secrets::ROOT, &bundle, aliases, &of_ours)
        };
        let foreign: Vec<&TrustBundle> = federation.bundles().map(|it| &it.bundle).collect();
        let federated = foreign
            .iter()
            .map(|it| Authority { pem: it.pem().to_owned(), trust_domains: vec![it.trust_domain().to_string()] });
        let everybody: Vec<Authority> = authorities.iter().cloned().chain(federated).collect();
        let all = secrets::validation_by_trust_domain(secrets::ALL, &bundle, aliases, &everybody);
        let alone_of = |it: &TrustBundle| {
            let name = it.trust_domain().uri();
            resource(&name, &secrets::validation_of(&name, it), &[it])
        };
        let own = [
            resource(secrets::ROOT, &root, &[&bundle]),
            resource(secrets::ALL, &all, &[&[&*bundle], &foreign[..]].concat()),
            alone_of(&bundle),
        ];
        let versions: Vec<_> = own.iter().map(|it| (it.name().to_string(), it.version())).collect();
        let imported: BTreeSet<&str> = foreign.iter().map(|it| it.trust_domain().as_str()).collect();
        let added = |domain: &str| authorities.iter().any(|it| it.trust_domains.iter().any(|named| named == domain));
        let mixed = domains.iter().filter(|domain| added(domain) || !imported.contains(domain.as_str()));
        let mixed: Vec<Resource> = mixed
            .map(|domain| {
                let name = format!("spiffe://{domain}");
                let bundles: Vec<&TrustBundle> =
                    foreign.iter().copied().filter(|it| it.trust_domain().as_str() == domain).collect();
                resource(&name, &secrets::validation_of_further(&name, domain, &bundle, &everybody), &bundles)
            })
            .collect();
        let alone = foreign.iter().filter(|it| !mixed.iter().any(|known| **known.name() == *it.trust_domain().uri()));
        let alone: Vec<Resource> = alone.map(|it| alone_of(it)).collect();
        let secrets = own.into_iter().chain(alone).chain(mixed);
        let secrets: Vec<_> = secrets.map(|it| (ResourceType::Secret, Arc::new(it))).collect();
        let layer = Arc::new(Layer::new(secrets.iter().cloned(), None));
        let plain = Plain::of(secrets, &versions, &[&[&*bundle], &foreign[..]].concat());
        Self { plain, bundle, federation, further, own: versions, without_lists, layer }
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

    /// What a proxy that says this of itself is shown.
    pub(super) fn layer(&self, node: Node) -> &Arc<Layer> {
        if node.plain_roots { &self.plain.layer } else { &self.layer }
    }

    /// The names under which a proxy may have our own roots, `ROOTCA` first, with the version of each.
    pub(super) fn own(&self, node: Node) -> &[(String, Version)] {
        if node.plain_roots { &self.plain.own } else { &self.own }
    }

    /// Why proxies believe what is revoked, although there are revocation lists; `None`: they do not, or there are no lists.
    pub(super) fn without_lists(&self) -> Option<&'static str> {
        self.without_lists
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

/// Who has a list demands one of every issuer that it meets, so there are lists of all of them or none (docs/decisions/0008).
fn without_lists(bundle: &TrustBundle, further: &Further, of_ours: &[Authority]) -> Option<&'static str> {
    bundle.crls()?;
    let is_ours = |domain: &String| domain == bundle.trust_domain().as_str() || further.aliases.contains(domain);
    let vouches = |it: &Authority| it.trust_domains.is_empty() || it.trust_domains.iter().any(is_ours);
    if of_ours.iter().any(vouches) {
        return Some(
            "caCertificates of the MeshConfig vouch for our own trust domain too, and their revocation lists are not ours to make, so \
             that proxies are given none; name in their trustDomains whom they are for",
        );
    }
    let by_domain = !of_ours.is_empty() || !further.domains.is_empty();
    (by_domain && bundle.root_crls().is_none()).then_some(
        "with roots of other trust domains Envoy demands a revocation list of every root, and the key of one is elsewhere, so that \
         proxies are given none",
    )
}

impl Plain {
    /// The secrets of each bundle's own domain are its roots and nothing more. A domain with further authorities keeps what it has: what
    /// those may vouch for, only the validator holds them to.
    fn of(
        mut secrets: Vec<(ResourceType, Arc<Resource>)>,
        own: &[(String, Version)],
        bundles: &[&TrustBundle],
    ) -> Self {
        for bundle in bundles {
            let name = bundle.trust_domain().uri();
            let is_alone = secrets::validation_of(&name, bundle);
            let in_validator = resource(&name, &is_alone, &[bundle]);
            for (_, secret) in secrets.iter_mut().filter(|(_, it)| it.version() == in_validator.version()) {
                *secret = Arc::new(resource(&name, &secrets::validation_context(&name, bundle), &[bundle]));
            }
        }
        let version = |name: &str| secrets.iter().find(|(_, it)| **it.name() == *name).map(|(_, it)| it.version());
        let own = own.iter().map(|(name, before)| (name.clone(), version(name).unwrap_or(*before))).collect();
        Self { own, layer: Arc::new(Layer::new(secrets, None)) }
    }
}

fn resource(name: &str, value: &[u8], bundles: &[&TrustBundle]) -> Resource {
    let roots = bundles.iter().flat_map(|bundle| bundle.roots());
    let serials: Vec<_> = roots.map(|root| root.serial.to_string()).collect();
    Resource::new(ResourceType::Secret, name, value).with_serial(serials.join(",")).restated_by(secrets::restate)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::admission::Admission;
    use super::super::tests::proxies;
    use super::*;
    use crate::identity::SpiffeId;
    use crate::trust::Revoke;

    #[test]
    fn an_authority_of_another_trust_domain_is_not_beside_our_roots() {
        let authority = |domains: &[&str]| Authority {
            pem: domains.join(" "),
            trust_domains: domains.iter().map(|it| (*it).to_owned()).collect(),
        };
        let further = Further {
            aliases: BTreeSet::new(),
            authorities: [&[][..], &["partner"], &["ours", "partner"]].map(authority).into(),
            domains: ["partner".to_owned()].into(),
        };
        let trusted = further.of_ours().into_iter().map(|it| it.trust_domains);
        assert_eq!(trusted.collect::<Vec<_>>(), [vec![], vec!["ours".to_owned()]]);
    }

    /// Who has one list demands one of every issuer, so that where one cannot be had there is none, and an operator is to know.
    #[test]
    fn revocation_lists_that_are_left_out_are_told_of() {
        let (_directory, proxies) = proxies(Admission::new(8, 8, Duration::from_secs(60)));
        let (trust, now) = (&proxies.trust, (proxies.clock)());
        let of = |domains: &[&str], authorities: &[&[&str]]| {
            let authority = |domains: &&[&str]| Authority {
                pem: trust.bundle().pem().to_owned(),
                trust_domains: domains.iter().map(|it| (*it).to_owned()).collect(),
            };
            let further = Further {
                aliases: BTreeSet::new(),
                authorities: authorities.iter().map(authority).collect(),
                domains: domains.iter().map(|it| (*it).to_owned()).collect(),
            };
            ServedRoots::new(trust.bundle(), trust.federation(), further).without_lists()
        };
        assert_eq!(of(&[], &[&[]]), None, "nothing is revoked");
        let id: SpiffeId = "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap();
        trust.renew_workload_certificates(&[("shop/web".to_owned(), id.clone())], now).unwrap();
        trust.revoke(&Revoke::Identity(id), now).unwrap();
        assert!(trust.bundle().crls().is_some());
        assert_eq!(of(&[], &[]), None);
        assert_eq!(of(&["partner"], &[&["partner"]]), None, "ours have their lists beside theirs");
        assert!(of(&[], &[&[]]).unwrap().contains("caCertificates"));
        assert!(of(&["partner"], &[&["cluster.local", "partner"]]).unwrap().contains("caCertificates"));
    }
}
