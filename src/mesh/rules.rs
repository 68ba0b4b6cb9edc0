//! DestinationRules by namespace and host, and which of them governs a client's way to a service.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::index::oldest_first;
use super::visibility::exports;
use super::{Object, Service, Settings, Workload};
use crate::policy::{ClientTls, DestinationRule, LabelSelector, Located, Objects, TrafficPolicy};

type Rule = Arc<Object<DestinationRule>>;

/// Every DestinationRule.
#[derive(Debug, Default)]
pub(super) struct RuleIndex {
    /// What it was made from.
    from: Objects<DestinationRule>,
    root_namespace: String,
    namespaces: HashMap<String, NamespaceRules>,
}

#[derive(Debug, Default)]
struct NamespaceRules {
    exact: HashMap<String, Vec<Rule>>,
    /// `.suffix` of each `*.suffix` host, longest first.
    wildcards: Vec<(String, Vec<Rule>)>,
    client_label_keys: HashSet<String>,
}

impl RuleIndex {
    /// That of `rules`: the one before, if it was made from the very same.
    pub(super) fn after(
        before: Option<&Arc<Self>>,
        rules: &Objects<DestinationRule>,
        settings: &Settings,
    ) -> Arc<Self> {
        match before.filter(|before| before.from.are(rules)) {
            Some(before) => Arc::clone(before),
            None => Arc::new(Self::new(rules, settings)),
        }
    }

    fn new(rules: &Objects<DestinationRule>, settings: &Settings) -> Self {
        let mut sorted = rules.to_vec();
        oldest_first(&mut sorted);
        let mut namespaces: HashMap<String, NamespaceRules> = HashMap::new();
        let mut wildcards: HashMap<String, BTreeMap<String, Vec<Rule>>> = HashMap::new();
        for rule in sorted {
            let namespace = &rule.meta.namespace;
            let index = namespaces.entry(namespace.clone()).or_default();
            if let Some(selector) = &rule.spec.workload_selector {
                index.client_label_keys.extend(selector.0.keys().cloned());
            }
            let host = qualified(&rule.spec.host.value, namespace, &settings.cluster_domain);
            match host.strip_prefix('*') {
                Some(suffix) => {
                    let by_suffix = wildcards.entry(namespace.clone()).or_default();
                    by_suffix.entry(suffix.to_owned()).or_default().push(rule);
                }
                None => index.exact.entry(host).or_default().push(rule),
            }
        }
        for (namespace, by_suffix) in wildcards {
            let mut list: Vec<_> = by_suffix.into_iter().collect();
            list.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(&b.0)));
            namespaces.entry(namespace).or_default().wildcards = list;
        }
        Self { from: rules.clone(), root_namespace: settings.root_namespace.clone(), namespaces }
    }

    pub(super) fn client_label_keys(&self, namespace: &str) -> Option<&HashSet<String>> {
        self.namespaces.get(namespace).map(|rules| &rules.client_label_keys)
    }

    /// The rules that govern `client`'s way to `service`. Istio asks the client's namespace, the service's, and the root
    /// namespace, and stops at the first with any match: a wildcard there hides an exact host further out.
    pub(super) fn find(&self, client: &Workload, service: &Service) -> Option<MatchedRule<'_>> {
        let client_namespace = client.key.namespace.as_str();
        // The root namespace's exported rules are everybody's last resort, its own workloads' too: these ask their private ones first.
        let own = if client_namespace == self.root_namespace { Seen::Private } else { Seen::Visible };
        [(client_namespace, own), (&service.namespace, Seen::Visible), (&self.root_namespace, Seen::Visible)]
            .into_iter()
            .find_map(|(namespace, seen)| self.namespaces.get(namespace)?.find(namespace, client, &service.host, seen))
    }
}

/// Which rules of a namespace count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Those exported to the client.
    Visible,
    /// Those exported to their own namespace alone.
    Private,
}

impl NamespaceRules {
    /// The most exact host with any rule for the client wins, and takes nothing from the wider ones. Where it sets no TLS and a wider
    /// one does, that one is remembered for a warning.
    fn find(&self, namespace: &str, client: &Workload, host: &str, seen: Seen) -> Option<MatchedRule<'_>> {
        let exact = self.exact.get(host).into_iter();
        let wildcard =
            self.wildcards.iter().filter(|(suffix, _)| host.ends_with(suffix.as_str())).map(|(_, rules)| rules);
        let mut matched = exact.chain(wildcard).filter_map(|rules| MatchedRule::among(rules, namespace, client, seen));
        let mut found = matched.next()?;
        if found.policy().is_none_or(|policy| policy.tls.is_none()) {
            found.hidden_tls = matched.find_map(|wider| wider.policy()?.tls.as_ref());
        }
        Some(found)
    }
}

/// The rules of one host in one namespace: their subsets are united, and the oldest traffic policy counts whole.
#[derive(Debug)]
pub(super) struct MatchedRule<'a> {
    rules: Vec<&'a Rule>,
    /// TLS settings of a wider host, which these rules hide without having any.
    pub(super) hidden_tls: Option<&'a Located<ClientTls>>,
}

impl<'a> MatchedRule<'a> {
    fn among(rules: &'a [Rule], namespace: &str, client: &Workload, seen: Seen) -> Option<Self> {
        let counts = |rule: &&Rule| match seen {
            Seen::Visible => exports(&rule.spec.export_to, namespace, &client.key.namespace),
            Seen::Private => rule.spec.export_to == ["."],
        };
        let visible = || rules.iter().filter(counts);
        // A rule for certain workloads holds in its own namespace only, and there before the rules for all.
        let selecting: Vec<&Rule> =
            visible().filter(|rule| namespace == client.key.namespace && selects(rule, client)).collect();
        let rules = if selecting.is_empty() {
            visible().filter(|rule| rule.spec.workload_selector.is_none()).collect()
        } else {
            selecting
        };
        (!rules.is_empty()).then_some(Self { rules, hidden_tls: None })
    }

    /// The rule whose traffic policy counts, for messages.
    pub(super) fn governing(&self) -> &'a Rule {
        self.rules.iter().find(|rule| rule.spec.traffic_policy.is_some()).unwrap_or(&self.rules[0])
    }

    /// The traffic policy that counts.
    fn policy(&self) -> Option<&'a TrafficPolicy> {
        self.rules.iter().find_map(|rule| rule.spec.traffic_policy.as_ref())
    }

    /// Each subset once, ordered by name; the oldest rule's of a name wins.
    pub(super) fn subsets(&self) -> BTreeMap<&'a str, &'a LabelSelector> {
        let mut subsets = BTreeMap::new();
        for subset in self.rules.iter().flat_map(|rule| &rule.spec.subsets) {
            subsets.entry(subset.name.as_str()).or_insert(&subset.labels);
        }
        subsets
    }

    /// The TLS settings for a port of a subset (or of the whole service). Port settings replace the policy wholesale, a
    /// subset's policy overrides it field by field, and the subset's own port settings are wholesale again.
    pub(super) fn client_tls(&self, port: u16, subset: Option<&str>) -> Option<&'a Located<ClientTls>> {
        let base = self.policy().and_then(|policy| at_port(policy, port));
        let of_subset = subset.and_then(|name| {
            self.rules.iter().flat_map(|rule| &rule.spec.subsets).find(|s| s.name == name)?.traffic_policy.as_ref()
        });
        match of_subset {
            None => base,
            Some(policy) => match policy.port_tls.get(&port) {
                Some(tls) => tls.as_ref(),
                None => policy.tls.as_ref().or(base),
            },
        }
    }
}

fn at_port(policy: &TrafficPolicy, port: u16) -> Option<&Located<ClientTls>> {
    match policy.port_tls.get(&port) {
        Some(tls) => tls.as_ref(),
        None => policy.tls.as_ref(),
    }
}

fn selects(rule: &Rule, client: &Workload) -> bool {
    rule.spec.workload_selector.as_ref().is_some_and(|selector| selector.matches(&client.labels))
}

/// A name without dots is a Service of the rule's own namespace.
pub(super) fn qualified(host: &str, namespace: &str, cluster_domain: &str) -> String {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if host.contains('.') || host.starts_with('*') { host } else { format!("{host}.{namespace}.svc.{cluster_domain}") }
}
