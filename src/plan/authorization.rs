//! Who may connect to a workload, and what they may ask of it: AuthorizationPolicies with every name resolved.

use serde::Serialize;

use crate::mesh::{
    AccessAction, AccessRule as Written, AuthorizationPolicy, Condition as WrittenCondition, Matcher, Mesh, Network,
    Object, Pattern, Settings, Workload,
};

/// What is asked of every connection or request, in this order: whoever a DENY rule matches is refused; then, where there is any ALLOW
/// policy, whoever no ALLOW rule matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Authorization {
    /// The rules of DENY policies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<AccessRule>,
    /// The rules of ALLOW policies; `None`: there is no such policy. An empty list lets nobody pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<AccessRule>>,
}

/// A rule matches where one of its peers and one of its operations do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccessRule {
    /// Istio's name: `ns[NAMESPACE]-policy[NAME]-rule[INDEX]`.
    pub name: String,
    /// Who: every condition of one of these. Never empty; a list without conditions is everybody.
    pub peers: Vec<Vec<Condition>>,
    /// What for: every condition of one of these. Never empty; a list without conditions is anything.
    pub operations: Vec<Vec<Condition>>,
}

/// One of `any_of`, if there are any, and none of `none_of`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// One of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub any_of: Vec<Test>,
    /// None of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub none_of: Vec<Test>,
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// The SPIFFE ID of the peer, over mutual TLS. Nobody has one in plaintext.
    Peer(Pattern),
    /// The SPIFFE ID of the peer ends so, in whatever trust domain. Other names of its certificate may end so too, and do not count.
    PeerSuffix(String),
    /// A DNS name of the peer's certificate, over mutual TLS.
    PeerDns(Pattern),
    /// The peer's namespace is so, in this trust domain.
    PeerNamespace {
        /// The trust domain; `None`: any.
        trust_domain: Option<String>,
        /// The namespace.
        namespace: Pattern,
    },
    /// The peer is this service account, in whatever trust domain.
    PeerServiceAccount {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The address that the connection comes from.
    Source(Network),
    /// The client's address.
    Remote(Network),
    /// The address that the connection goes to.
    Destination(Network),
    /// The workload's port.
    Port(u16),
    /// The server name that the client asked for.
    ServerName(Pattern),
    /// A header, such as `:method`; of `:authority` in any case.
    Header(String, Pattern),
    /// The path.
    Path(Pattern),
    /// What no request has.
    Never,
}

impl Test {
    fn is_http(&self) -> bool {
        matches!(self, Self::Header(..) | Self::Path(_) | Self::Never)
    }
}

/// The policies that hold for a workload.
pub(super) fn authorization(mesh: &Mesh, workload: &Workload) -> Authorization {
    let mut authorization = Authorization::default();
    for policy in workload.access() {
        let rules = || rules(mesh, policy);
        match policy.spec.action {
            AccessAction::Deny => authorization.deny.extend(rules()),
            AccessAction::Allow => authorization.allow.get_or_insert_default().extend(rules()),
            AccessAction::Audit | AccessAction::Custom => {}
        }
    }
    authorization
}

/// Nobody has names in several trust domains of different roots. A proxy verifies a certificate by the roots of its first name, and
/// compares any of its names: whoever vouches for one trust domain would vouch for the others' identities by a second name.
pub(super) fn in_several_domains(settings: &Settings) -> Vec<AccessRule> {
    let accepted = settings.accepted_trust_domains();
    let named_in = |domain: &String| Test::Peer(Pattern::Prefix(format!("spiffe://{domain}/")));
    let one_of = |any_of| Condition { any_of, none_of: Vec::new() };
    let rule = |domain: &String| AccessRule {
        name: format!("several-trust-domains[{domain}]"),
        peers: vec![vec![
            one_of(vec![named_in(domain)]),
            one_of(accepted.iter().filter(|it| *it != domain).map(named_in).collect()),
        ]],
        operations: vec![Vec::new()],
    };
    settings.further_trust_domains().iter().map(rule).collect()
}

impl Authorization {
    /// Whether everybody may do everything.
    pub fn is_open(&self) -> bool {
        self.deny.is_empty() && self.allow.is_none()
    }

    /// What is left of it where there are no requests to look at. Istio errs on the safe side both ways: an ALLOW rule that needs a request
    /// matches nothing, and what a DENY rule asks of a request counts as so (istio.io, "Authorization for TCP traffic").
    #[must_use]
    pub fn of_bytes(&self) -> Self {
        let needs_no_request = |rule: &&AccessRule| {
            let all = || rule.peers.iter().chain(&rule.operations).flatten();
            !all().any(Condition::is_http)
        };
        let without = |lists: &[Vec<Condition>]| {
            let keep = |list: &Vec<Condition>| list.iter().filter(|it| !it.is_http()).cloned().collect();
            lists.iter().map(keep).collect()
        };
        let deny = self.deny.iter().map(|rule| AccessRule {
            name: rule.name.clone(),
            peers: without(&rule.peers),
            operations: without(&rule.operations),
        });
        Self {
            deny: deny.collect(),
            allow: self.allow.as_ref().map(|rules| rules.iter().filter(needs_no_request).cloned().collect()),
        }
    }
}

impl Condition {
    fn is_http(&self) -> bool {
        self.any_of.iter().chain(&self.none_of).any(Test::is_http)
    }
}

fn rules(mesh: &Mesh, policy: &Object<AuthorizationPolicy>) -> Vec<AccessRule> {
    let is_allow = policy.spec.action == AccessAction::Allow;
    let resolve = Resolve { mesh, settings: mesh.settings(), namespace: &policy.meta.namespace, is_allow };
    let named = policy.spec.rules.iter().enumerate().map(|(index, rule)| {
        let name = format!("ns[{}]-policy[{}]-rule[{index}]", policy.meta.namespace, policy.meta.name);
        resolve.rule(name, rule)
    });
    named.collect()
}

/// Turns what is written into what Envoy can compare.
struct Resolve<'a> {
    mesh: &'a Mesh,
    settings: &'a Settings,
    /// The policy's.
    namespace: &'a str,
    is_allow: bool,
}

impl Resolve<'_> {
    fn rule(&self, name: String, rule: &Written) -> AccessRule {
        let of_peer = |condition: &&WrittenCondition| {
            condition.values.iter().chain(&condition.not_values).any(Matcher::is_of_peer)
        };
        let (peer, other): (Vec<_>, Vec<_>) = rule.when.iter().partition(of_peer);
        AccessRule { name, peers: self.lists(&rule.from, &peer), operations: self.lists(&rule.to, &other) }
    }

    /// Every one of `lists` with the conditions that hold for all of them.
    fn lists(&self, lists: &[Vec<WrittenCondition>], of_all: &[&WrittenCondition]) -> Vec<Vec<Condition>> {
        let common = || of_all.iter().map(|condition| self.condition(condition));
        if lists.is_empty() {
            return vec![common().collect()];
        }
        let one = |list: &Vec<WrittenCondition>| list.iter().map(|it| self.condition(it)).chain(common()).collect();
        lists.iter().map(one).collect()
    }

    fn condition(&self, written: &WrittenCondition) -> Condition {
        let tests = |matchers: &[Matcher], grants| matchers.iter().flat_map(|it| self.tests(it, grants)).collect();
        Condition { any_of: tests(&written.values, self.is_allow), none_of: tests(&written.not_values, !self.is_allow) }
    }

    /// `grants`: whether a match lets somebody pass. Names of this mesh then mean its own trust domains; where a match refuses, any,
    /// as in Istio, which takes any for both.
    fn tests(&self, matcher: &Matcher, grants: bool) -> Vec<Test> {
        match matcher {
            Matcher::Principal(pattern) => self.principal(pattern, grants),
            Matcher::Namespace(pattern) => {
                let mut tests: Vec<Test> = match grants {
                    true => self.settings.trust_domains().map(|domain| namespace(domain, pattern)).collect(),
                    false => vec![Test::PeerNamespace { trust_domain: None, namespace: pattern.clone() }],
                };
                tests.extend(self.registered(|workload| matches(pattern, &workload.key.namespace)));
                tests
            }
            Matcher::ServiceAccount(of, name) => {
                let of = of.as_deref().unwrap_or(self.namespace);
                let exact = |domain: &str| Test::Peer(Pattern::Exact(format!("spiffe://{domain}/ns/{of}/sa/{name}")));
                let mut tests: Vec<Test> = match grants {
                    true => self.settings.trust_domains().map(exact).collect(),
                    false => vec![Test::PeerServiceAccount { namespace: of.to_owned(), name: name.clone() }],
                };
                let is_one = |workload: &Workload| workload.key.namespace == of && workload.service_account == *name;
                tests.extend(self.registered(is_one));
                tests
            }
            Matcher::SourceIp(network) => vec![Test::Source(*network)],
            Matcher::RemoteIp(network) => vec![Test::Remote(*network)],
            Matcher::DestinationIp(network) => vec![Test::Destination(*network)],
            Matcher::DestinationPort(port) => vec![Test::Port(*port)],
            Matcher::ServerName(pattern) => vec![Test::ServerName(pattern.clone())],
            Matcher::Host(pattern) => vec![Test::Header(":authority".to_owned(), pattern.clone())],
            Matcher::Method(pattern) => vec![Test::Header(":method".to_owned(), pattern.clone())],
            Matcher::Path(pattern) => vec![Test::Path(pattern.clone())],
            Matcher::Header(name, pattern) => vec![Test::Header(name.clone(), pattern.clone())],
            Matcher::Token => vec![Test::Never],
        }
    }

    /// The identities of workloads whose identity does not say their namespace and service account: those that SPIRE's kinds have registered.
    fn registered(&self, which: impl Fn(&Workload) -> bool) -> Vec<Test> {
        let workloads = self.mesh.registered().filter(|workload| which(workload));
        let mut identities: Vec<&String> = workloads.flat_map(|workload| workload.identities()).collect();
        identities.sort_unstable();
        identities.dedup();
        identities.into_iter().map(|it| Test::Peer(Pattern::Exact(it.clone()))).collect()
    }

    /// A principal of one of the mesh's trust domains means the same workload under each of them; so does `cluster.local`, Istio's default.
    /// Where that is another mesh whose identities are accepted, it means that one, and ours too only where a match refuses.
    fn principal(&self, pattern: &Pattern, grants: bool) -> Vec<Test> {
        let peer = |make: fn(String) -> Pattern, rest: &str| Test::Peer(make(format!("spiffe://{rest}")));
        let (text, make): (&str, fn(String) -> Pattern) = match pattern {
            Pattern::Present => return vec![peer(Pattern::Prefix, "")],
            // The trust domain is not said.
            Pattern::Suffix(suffix) => return vec![Test::PeerSuffix(suffix.clone())],
            Pattern::Exact(text) => (text, Pattern::Exact),
            Pattern::Prefix(text) => (text, Pattern::Prefix),
        };
        let Some((domain, path)) = text.split_once('/') else { return vec![peer(make, text)] };
        let is_foreign = self.settings.further_trust_domains().iter().any(|it| it == domain);
        let means_ours = match domain {
            "cluster.local" => !is_foreign || !grants,
            _ => self.settings.trust_domains().any(|it| it == domain),
        };
        let ours = self.settings.trust_domains().filter(|_| means_ours);
        let mut tests: Vec<Test> = ours.map(|domain| peer(make, &format!("{domain}/{path}"))).collect();
        if is_foreign || !means_ours {
            tests.push(peer(make, text));
        }
        tests
    }
}

fn matches(pattern: &Pattern, text: &str) -> bool {
    match pattern {
        Pattern::Present => true,
        Pattern::Exact(exact) => text == exact,
        Pattern::Prefix(start) => text.starts_with(start.as_str()),
        Pattern::Suffix(end) => text.ends_with(end.as_str()),
    }
}

fn namespace(trust_domain: &str, pattern: &Pattern) -> Test {
    match pattern {
        Pattern::Present => Test::Peer(Pattern::Prefix(format!("spiffe://{trust_domain}/ns/"))),
        Pattern::Exact(name) => Test::Peer(Pattern::Prefix(format!("spiffe://{trust_domain}/ns/{name}/"))),
        Pattern::Prefix(start) => Test::Peer(Pattern::Prefix(format!("spiffe://{trust_domain}/ns/{start}"))),
        Pattern::Suffix(_) => {
            Test::PeerNamespace { trust_domain: Some(trust_domain.to_owned()), namespace: pattern.clone() }
        }
    }
}
