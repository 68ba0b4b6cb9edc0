//! Authorization: Envoy's RBAC filters, on connections and on requests.
//!
//! An `RBAC` holds its policies in a map, which comes out of the encoder in any order. Protobuf joins the fields of messages that are
//! concatenated, maps entry by entry, so each policy is encoded in a message of its own, and they are put one after the other.

use envoy_types::pb::envoy::config::core::v3::CidrRange;
use envoy_types::pb::envoy::config::listener::v3::Filter;
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::config::rbac::v3::permission::Rule;
use envoy_types::pb::envoy::config::rbac::v3::principal::{Authenticated, Identifier};
use envoy_types::pb::envoy::config::rbac::v3::rbac::Action;
use envoy_types::pb::envoy::config::rbac::v3::{Permission, Policy, Principal, Rbac, permission, principal};
use envoy_types::pb::envoy::config::route::v3::HeaderMatcher;
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac as HttpRbac;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{HttpFilter, http_filter};
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3::Rbac as NetworkRbac;
use envoy_types::pb::envoy::r#type::matcher::v3::path_matcher::Rule as PathRule;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{PathMatcher, RegexMatcher, StringMatcher};
use envoy_types::pb::google::protobuf::{Any, UInt32Value};
use prost::{Message, Name};

use super::message::any;
use crate::plan::{AccessRule, Admission, Authorization, Condition, Network, Pattern, Test};

/// Istio's, under which its dashboards look for `tcp.rbac.denied`.
const STAT_PREFIX: &str = "tcp.";

/// For a chain that carries bytes: a connection is looked at when its first byte comes.
pub(super) fn of_connections(authorization: &Authorization) -> Vec<Filter> {
    let filter = |rules| NetworkRbac { rules, stat_prefix: STAT_PREFIX.to_owned(), ..Default::default() };
    let named = |config| Filter {
        name: "envoy.filters.network.rbac".to_owned(),
        config_type: Some(ConfigType::TypedConfig(config)),
    };
    each(&authorization.of_bytes(), filter).into_iter().map(named).collect()
}

/// For every chain with the mesh's mutual TLS: who shows a certificate that these rules match is refused, whatever it carries.
pub(super) fn of_certificates(refused: &[AccessRule]) -> Vec<Filter> {
    of_connections(&Authorization { deny: refused.to_vec(), allow: None })
}

/// For a chain that carries bytes, of a port at which only some are let in.
pub(super) fn of_admitted_connections(admission: &Admission) -> Vec<Filter> {
    of_connections(&admitting(admission))
}

/// The same for a chain that carries requests.
pub(super) fn of_admitted_requests(admission: &Admission) -> Vec<HttpFilter> {
    of_requests(&admitting(admission))
}

fn admitting(admission: &Admission) -> Authorization {
    Authorization { deny: Vec::new(), allow: Some(admission.rules.clone()) }
}

/// For a chain that carries requests.
pub(super) fn of_requests(authorization: &Authorization) -> Vec<HttpFilter> {
    let filter = |rules| HttpRbac { rules, ..Default::default() };
    let named = |config| HttpFilter {
        name: "envoy.filters.http.rbac".to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    };
    each(authorization, filter).into_iter().map(named).collect()
}

/// Refusals first.
fn each<F: Message + Name>(authorization: &Authorization, filter: impl Fn(Option<Rbac>) -> F) -> Vec<Any> {
    let deny = Some(&authorization.deny).filter(|rules| !rules.is_empty()).map(|rules| (Action::Deny, rules));
    let allow = authorization.allow.as_ref().map(|rules| (Action::Allow, rules));
    let encoded = deny.into_iter().chain(allow).map(|(action, rules)| {
        let mut config = any(&filter(Some(Rbac { action: action.into(), ..Default::default() })));
        for rule in rules {
            let policies = [(rule.name.clone(), policy(rule))].into();
            let one = filter(Some(Rbac { action: action.into(), policies, ..Default::default() }));
            config.value.extend(one.encode_to_vec());
        }
        config
    });
    encoded.collect()
}

fn policy(rule: &AccessRule) -> Policy {
    Policy {
        permissions: rule.operations.iter().map(|list| operation(list)).collect(),
        principals: rule.peers.iter().map(|list| peer(list)).collect(),
        ..Default::default()
    }
}

fn operation(conditions: &[Condition]) -> Permission {
    let is = |rule| Permission { rule: Some(rule) };
    let one = |test: &Test| is(permission_of(test));
    let any_of = |rules: Vec<Permission>| is(Rule::OrRules(permission::Set { rules }));
    let mut all: Vec<Permission> = Vec::new();
    for Condition { any_of: these, none_of } in conditions {
        if !these.is_empty() {
            all.push(any_of(these.iter().map(one).collect()));
        }
        if !none_of.is_empty() {
            all.push(is(Rule::NotRule(Box::new(any_of(none_of.iter().map(one).collect())))));
        }
    }
    if all.is_empty() { is(Rule::Any(true)) } else { is(Rule::AndRules(permission::Set { rules: all })) }
}

fn peer(conditions: &[Condition]) -> Principal {
    let is = |identifier| Principal { identifier: Some(identifier) };
    let one = |test: &Test| is(principal_of(test));
    let any_of = |ids: Vec<Principal>| is(Identifier::OrIds(principal::Set { ids }));
    let mut all: Vec<Principal> = Vec::new();
    for Condition { any_of: these, none_of } in conditions {
        if !these.is_empty() {
            all.push(any_of(these.iter().map(one).collect()));
        }
        if !none_of.is_empty() {
            all.push(is(Identifier::NotId(Box::new(any_of(none_of.iter().map(one).collect())))));
        }
    }
    if all.is_empty() { is(Identifier::Any(true)) } else { is(Identifier::AndIds(principal::Set { ids: all })) }
}

fn permission_of(test: &Test) -> Rule {
    match test {
        Test::Destination(network) => Rule::DestinationIp(range(*network)),
        Test::Port(port) => Rule::DestinationPort((*port).into()),
        Test::ServerName(pattern) => Rule::RequestedServerName(text(pattern, false)),
        Test::Header(name, pattern) => Rule::Header(header(name, pattern)),
        Test::Path(pattern) => Rule::UrlPath(PathMatcher { rule: Some(PathRule::Path(text(pattern, false))) }),
        // What is about the peer stands among the peers; were it here, it would match nothing.
        Test::Peer(_)
        | Test::PeerSuffix(_)
        | Test::PeerDns(_)
        | Test::PeerNamespace { .. }
        | Test::PeerServiceAccount { .. }
        | Test::Source(_)
        | Test::Remote(_)
        | Test::Never => Rule::NotRule(Box::new(Permission { rule: Some(Rule::Any(true)) })),
    }
}

fn principal_of(test: &Test) -> Identifier {
    let authenticated = |name| Identifier::Authenticated(Authenticated { principal_name: Some(name) });
    match test {
        Test::Peer(pattern) => authenticated(text(pattern, false)),
        // Envoy compares every URI and every DNS name of the certificate alike. What ends as a DNS name may be the path of a SPIFFE ID.
        Test::PeerDns(Pattern::Suffix(end)) => authenticated(regex(format!("[^/:]+{}", literal(end)))),
        Test::PeerDns(pattern) => authenticated(text(pattern, false)),
        Test::PeerSuffix(suffix) => authenticated(regex(format!("spiffe://.*{}", literal(suffix)))),
        Test::PeerNamespace { trust_domain, namespace } => {
            let trust_domain = trust_domain.as_deref().map_or_else(|| "[^/]+".to_owned(), literal);
            let namespace = match namespace {
                Pattern::Present => "[^/]+".to_owned(),
                Pattern::Exact(name) => literal(name),
                Pattern::Prefix(start) => literal(start) + "[^/]*",
                Pattern::Suffix(end) => "[^/]*".to_owned() + &literal(end),
            };
            authenticated(regex(format!("spiffe://{trust_domain}/ns/{namespace}/.*")))
        }
        Test::PeerServiceAccount { namespace, name } => {
            let [namespace, name] = [namespace, name].map(|it| literal(it));
            authenticated(regex(format!("spiffe://[^/]+/ns/{namespace}/sa/{name}")))
        }
        Test::Source(network) => Identifier::DirectRemoteIp(range(*network)),
        Test::Remote(network) => Identifier::RemoteIp(range(*network)),
        Test::Header(name, pattern) => Identifier::Header(header(name, pattern)),
        Test::Destination(_) | Test::Port(_) | Test::ServerName(_) | Test::Path(_) | Test::Never => {
            Identifier::NotId(Box::new(Principal { identifier: Some(Identifier::Any(true)) }))
        }
    }
}

fn header(name: &str, pattern: &Pattern) -> HeaderMatcher {
    // Host names are the same in any case (RFC 9110 §4.2.3).
    let specifier = match pattern {
        Pattern::Present => HeaderMatchSpecifier::PresentMatch(true),
        _ => HeaderMatchSpecifier::StringMatch(text(pattern, name == ":authority")),
    };
    HeaderMatcher { name: name.to_owned(), header_match_specifier: Some(specifier), ..Default::default() }
}

fn text(pattern: &Pattern, ignore_case: bool) -> StringMatcher {
    let match_pattern = match pattern {
        Pattern::Present => return regex(".+".to_owned()),
        Pattern::Exact(text) => MatchPattern::Exact(text.clone()),
        Pattern::Prefix(text) => MatchPattern::Prefix(text.clone()),
        Pattern::Suffix(text) => MatchPattern::Suffix(text.clone()),
    };
    StringMatcher { match_pattern: Some(match_pattern), ignore_case }
}

fn regex(regex: String) -> StringMatcher {
    let matcher = RegexMatcher { regex, ..Default::default() };
    StringMatcher { match_pattern: Some(MatchPattern::SafeRegex(matcher)), ..Default::default() }
}

/// A part of a regular expression (RE2) that means itself: a backslash before every character that may be an operator (RE2's `QuoteMeta`).
fn literal(text: &str) -> String {
    let mut quoted = String::new();
    for character in text.chars() {
        if character.is_ascii() && !character.is_ascii_alphanumeric() && !"_-/:".contains(character) {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted
}

fn range(Network { address, prefix }: Network) -> CidrRange {
    CidrRange { address_prefix: address.to_string(), prefix_len: Some(UInt32Value { value: prefix.into() }) }
}
