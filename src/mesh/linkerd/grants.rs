//! Who one authorization lets in.

use std::collections::BTreeSet;

use super::super::population::Population;
use super::super::workload::Registered;
use super::super::{Origin, Settings};
use super::names::{self, Ending};
use super::{CLUSTER_NETWORKS, ClientNetwork, DefaultPolicy, Identity};
use crate::policy::{Located, Network};

/// One authorization: whoever has one of the identities, and an address of one of the networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// `ServerAuthorization namespace/name`, and the like.
    pub name: String,
    /// Where it is written.
    pub at: Origin,
    /// `None`: whoever connects, also in plaintext.
    pub clients: Option<Vec<Client>>,
    /// Empty: from everywhere.
    pub networks: Vec<ClientNetwork>,
}

/// Whom an identity means, in the names that certificates of the mesh have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Client {
    /// Whoever has an identity.
    Any,
    /// A SPIFFE ID.
    Exact(String),
    /// The SPIFFE IDs that begin so.
    Prefix(String),
    /// A DNS name in a certificate of our own trust domains.
    Dns(String),
    /// The DNS names in certificates of our own trust domains that end so; with the dot.
    DnsSuffix(String),
}

impl Grant {
    /// Whether plaintext is let in.
    pub fn is_unauthenticated(&self) -> bool {
        self.clients.is_none()
    }

    /// What a default policy lets in; `None`: nobody.
    pub(in super::super) fn of_default(policy: DefaultPolicy, name: &str, at: &Origin) -> Option<Self> {
        if policy == DefaultPolicy::Deny {
            return None;
        }
        let network = |text: &str| Network::parse(text).map(|network| ClientNetwork { network, except: Vec::new() });
        let networks = CLUSTER_NETWORKS.iter().filter(|_| policy.is_of_cluster());
        Some(Self {
            name: name.to_owned(),
            at: at.clone(),
            clients: policy.is_authenticated().then(|| vec![Client::Any]),
            networks: networks.filter_map(|text| network(text)).collect(),
        })
    }
}

/// Everybody whom `identities`, written in `namespace`, mean.
pub(super) fn clients(
    settings: &Settings,
    population: &Population,
    namespace: &str,
    identities: &[Located<Identity>],
) -> Vec<Client> {
    let resolve = Resolve { settings, population, namespace };
    identities.iter().flat_map(|identity| resolve.identity(&identity.value)).collect()
}

struct Resolve<'a> {
    settings: &'a Settings,
    population: &'a Population,
    namespace: &'a str,
}

impl Resolve<'_> {
    fn identity(&self, identity: &Identity) -> Vec<Client> {
        match identity {
            Identity::Any => vec![Client::Any],
            Identity::Spiffe(id) => vec![Client::Exact(id.clone())],
            Identity::ServiceAccount { namespace, name } => {
                let namespace = namespace.as_deref().unwrap_or(self.namespace);
                self.account(self.settings.trust_domains(), namespace, name)
            }
            Identity::Namespace(namespace) => self.all_of(self.settings.trust_domains(), namespace),
            Identity::Name(name) => {
                let mut clients = names::account(name).map_or_else(Vec::new, |(account, namespace, domain)| {
                    self.account(self.domains(domain).into_iter(), namespace, account)
                });
                clients.push(Client::Dns(name.clone()));
                clients
            }
            Identity::Suffix(suffix) => {
                let mut clients = match names::ending(suffix, &self.settings.trust_domain) {
                    None => Vec::new(),
                    Some(Ending::Namespace(namespace, domain)) => {
                        self.all_of(self.domains(domain).into_iter(), namespace)
                    }
                    Some(Ending::Everybody(domain)) => {
                        let domains = self.domains(domain);
                        let everybody = |domain: &&str| Client::Prefix(format!("spiffe://{domain}/ns/"));
                        let of_path = domains.iter().map(everybody);
                        of_path.chain(self.registered(&domains, |_| true)).collect()
                    }
                };
                clients.push(Client::DnsSuffix(format!(".{suffix}")));
                clients
            }
        }
    }

    fn account<'d>(&self, domains: impl Iterator<Item = &'d str>, namespace: &str, name: &str) -> Vec<Client> {
        let domains: Vec<_> = domains.collect();
        let of_path = domains.iter().map(|domain| Client::Exact(super::super::spiffe_id(domain, namespace, name)));
        let is_one = |it: &Registered| it.key.namespace == namespace && it.service_account == name;
        of_path.chain(self.registered(&domains, is_one)).collect()
    }

    fn all_of<'d>(&self, domains: impl Iterator<Item = &'d str>, namespace: &str) -> Vec<Client> {
        let domains: Vec<_> = domains.collect();
        let of_path = domains.iter().map(|domain| Client::Prefix(format!("spiffe://{domain}/ns/{namespace}/")));
        of_path.chain(self.registered(&domains, |it| it.key.namespace == namespace)).collect()
    }

    /// The identities of workloads that SPIRE's kinds have given another than that of their service account, if these domains are ours.
    fn registered(&self, domains: &[&str], which: impl Fn(&Registered) -> bool) -> Vec<Client> {
        if !self.settings.trust_domains().any(|ours| domains.contains(&ours)) {
            return Vec::new();
        }
        let positions = self.population.registered.iter().filter_map(|(key, _)| self.population.by_key.get(key));
        let workloads = positions.map(|position| &self.population.all[*position]).filter(|it| which(it));
        let identities: BTreeSet<&String> = workloads.flat_map(|workload| workload.identities.iter()).collect();
        identities.into_iter().map(|it| Client::Exact(it.clone())).collect()
    }

    /// The trust domains that a name's end means: ours, under each of its names, or another one that is accepted here. `cluster.local`,
    /// Linkerd's default, is this mesh, unless another is called so.
    fn domains<'d>(&'d self, written: &'d str) -> Vec<&'d str> {
        let is_foreign = self.settings.further_trust_domains().iter().any(|it| it == written);
        let is_ours = self.settings.trust_domains().any(|it| it == written) || written == "cluster.local";
        match (is_foreign, is_ours) {
            (true, _) => vec![written],
            (false, true) => self.settings.trust_domains().collect(),
            (false, false) => Vec::new(),
        }
    }
}
