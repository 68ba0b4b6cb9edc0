//! The kinds of SPIRE's controller manager (`spire.spiffe.io/v1alpha1`): who has which SPIFFE ID.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::super::fields::{Entries, Unserved, Unused};
use super::super::report::Report;
use super::super::{Located, Origin, go_duration, host};
use super::template::Template;
use crate::identity::{SpiffeId, TrustDomain};

/// A `ClusterStaticEntry`: this SPIFFE ID for whoever all selectors fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterStaticEntry {
    /// `spec.spiffeID`, a valid one.
    pub spiffe_id: Located<String>,
    /// `spec.selectors`; at least one.
    pub selectors: Vec<Located<Selector>>,
    /// `spec.dnsNames`
    pub dns_names: Vec<String>,
    /// `spec.x509SVIDTTL`: no certificate of it lives longer.
    pub ttl: Option<Duration>,
    /// `spec.federatesWith`
    pub federates_with: Vec<Located<String>>,
    /// `spec.parentID`: the node on which whoever the selectors fit is, a valid SPIFFE ID.
    pub parent_id: String,
    /// Whether it is a name for nodes, whose parent is the server: these are not kept in books here.
    pub is_node_alias: bool,
}

/// What a workload has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// `k8s:ns:NAMESPACE`
    Namespace(String),
    /// `k8s:sa:SERVICE_ACCOUNT`
    ServiceAccount(String),
    /// `k8s:pod-name:NAME`
    PodName(String),
    /// `k8s:pod-label:KEY:VALUE`
    PodLabel(String, String),
    /// `unix:uid:NUMBER`: a process of this machine, over the Unix socket.
    Uid(u32),
    /// `unix:gid:NUMBER`
    Gid(u32),
    /// One that cannot be looked at here, and so fits nobody.
    Other(String),
}

/// A `ClusterSPIFFEID`: a SPIFFE ID for each workload that is selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSpiffeId {
    /// `spec.spiffeIDTemplate`
    pub template: Located<Template>,
    /// `spec.dnsNameTemplates`
    pub dns_names: Vec<Located<Template>>,
    /// `spec.podSelector`
    pub pods: Requirements,
    /// `spec.namespaceSelector`
    pub namespaces: Requirements,
    /// `spec.ttl`: no certificate of it lives longer.
    pub ttl: Option<Duration>,
    /// `spec.federatesWith`
    pub federates_with: Vec<Located<String>>,
    /// `spec.fallback`: only for those that no other one selects.
    pub fallback: bool,
}

/// A label selector of Kubernetes, all of whose requirements hold. None is none: it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirements(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl Requirements {
    /// Whether these labels fulfil it.
    pub fn hold_for(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|it| {
            let value = labels.get(&it.key);
            let is_one = value.is_some_and(|value| it.values.contains(value));
            match it.operator {
                Operator::In => is_one,
                Operator::NotIn => !is_one,
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
    }
}

/// A `ClusterFederatedTrustDomain`: another trust domain, and its bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFederatedTrustDomain {
    /// `spec.trustDomain`, a valid one.
    pub trust_domain: Located<String>,
    /// `spec.trustDomainBundle`: a JWK Set.
    pub bundle: Option<Located<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "fields that are only known, to warn about")]
pub(in super::super) struct RawStatic {
    #[serde(rename = "spiffeID")]
    spiffe_id: Located<String>,
    #[serde(rename = "parentID")]
    parent_id: Located<String>,
    selectors: Located<Vec<Located<String>>>,
    #[serde(default)]
    federates_with: Vec<Located<String>>,
    #[serde(rename = "x509SVIDTTL")]
    x509_svid_ttl: Option<Located<String>>,
    #[serde(rename = "jwtSVIDTTL")]
    jwt_svid_ttl: Option<Unused>,
    #[serde(default)]
    dns_names: Vec<Located<String>>,
    hint: Option<Unused>,
    admin: Option<Located<bool>>,
    downstream: Option<Located<bool>>,
    #[serde(rename = "storeSVID")]
    store_svid: Option<Unused>,
    class_name: Option<Unused>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "fields that are only known, to warn about")]
pub(in super::super) struct RawSpiffeId {
    #[serde(rename = "spiffeIDTemplate")]
    template: Located<String>,
    ttl: Option<Located<String>>,
    jwt_ttl: Option<Unused>,
    #[serde(default)]
    dns_name_templates: Vec<Located<String>>,
    workload_selector_templates: Option<Unserved>,
    #[serde(default)]
    federates_with: Vec<Located<String>>,
    namespace_selector: Option<RawSelector>,
    pod_selector: Option<RawSelector>,
    admin: Option<Located<bool>>,
    downstream: Option<Located<bool>>,
    #[serde(rename = "autoPopulateDNSNames")]
    auto_populate_dns_names: Option<Located<bool>>,
    class_name: Option<Unused>,
    fallback: Option<bool>,
    hint: Option<Unused>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSelector {
    #[serde(default)]
    match_labels: Entries<String>,
    #[serde(default)]
    match_expressions: Vec<Located<RawExpression>>,
}

#[derive(Deserialize)]
struct RawExpression {
    key: String,
    operator: Operator,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct RawFederated {
    trust_domain: Located<String>,
    #[serde(rename = "bundleEndpointURL")]
    bundle_endpoint_url: Located<String>,
    bundle_endpoint_profile: Located<RawProfile>,
    trust_domain_bundle: Option<Located<String>>,
    #[expect(dead_code, reason = "only known, to warn about")]
    class_name: Option<Unused>,
}

#[derive(Deserialize)]
struct RawProfile {
    r#type: ProfileType,
    #[serde(rename = "endpointSPIFFEID")]
    endpoint_spiffe_id: Option<Located<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ProfileType {
    HttpsSpiffe,
    HttpsWeb,
}

/// Checks a `ClusterStaticEntry`.
pub(in super::super) fn static_entry(raw: RawStatic, report: &Report) -> ClusterStaticEntry {
    check_id(&raw.spiffe_id, "spec.spiffeID", report);
    check_id(&raw.parent_id, "spec.parentID", report);
    if raw.selectors.value.is_empty() {
        report.error(&raw.selectors.at, "spec.selectors", "no selector is listed");
    }
    no_powers([("admin", raw.admin), ("downstream", raw.downstream)], report);
    for name in &raw.dns_names {
        if !is_leaf_name(&name.value) {
            report.error(&name.at, "spec.dnsNames", "not a DNS name");
        }
    }
    let is_node_alias = raw.parent_id.value.ends_with("/spire/server");
    if is_node_alias {
        let message =
            "an alias of nodes has no effect here: workloads are known by what they are, and not by their node";
        report.warn(&raw.parent_id.at, message);
    }
    ClusterStaticEntry {
        selectors: raw.selectors.value.into_iter().filter_map(|text| selector(text, report)).collect(),
        dns_names: raw.dns_names.into_iter().map(|name| name.value).collect(),
        ttl: ttl(raw.x509_svid_ttl, "spec.x509SVIDTTL", report),
        federates_with: trust_domains(raw.federates_with, report),
        spiffe_id: raw.spiffe_id,
        parent_id: raw.parent_id.value,
        is_node_alias,
    }
}

/// Checks a `ClusterSPIFFEID`.
pub(in super::super) fn spiffe_id(raw: RawSpiffeId, report: &Report) -> Option<ClusterSpiffeId> {
    no_powers([("admin", raw.admin), ("downstream", raw.downstream)], report);
    if let Some(it) = raw.auto_populate_dns_names.filter(|it| it.value) {
        report.warn(&it.at, "spec.autoPopulateDNSNames has no effect here; dnsNameTemplates gives names");
    }
    let template = |text: Located<String>, field: &str| match Template::parse(&text.value) {
        Ok(template) => Some(Located::new(template, text.at)),
        Err(message) => {
            report.error(&text.at, field, message);
            None
        }
    };
    let dns = raw.dns_name_templates.into_iter().filter_map(|text| template(text, "spec.dnsNameTemplates"));
    let (dns_names, federates_with) = (dns.collect(), trust_domains(raw.federates_with, report));
    if raw.template.value.is_empty() {
        report.error(&raw.template.at, "spec.spiffeIDTemplate", "the template is empty");
    }
    let pods = raw.pod_selector.map(|it| requirements(it, "spec.podSelector", report)).unwrap_or_default();
    let namespaces = raw.namespace_selector.map(|it| requirements(it, "spec.namespaceSelector", report));
    Some(ClusterSpiffeId {
        template: template(raw.template, "spec.spiffeIDTemplate")?,
        dns_names,
        pods,
        namespaces: namespaces.unwrap_or_default(),
        ttl: ttl(raw.ttl, "spec.ttl", report),
        federates_with,
        fallback: raw.fallback.unwrap_or(false),
    })
}

/// Checks a `ClusterFederatedTrustDomain`.
pub(in super::super) fn federated(raw: RawFederated, report: &Report) -> Option<ClusterFederatedTrustDomain> {
    let url = &raw.bundle_endpoint_url;
    if !url.value.starts_with("https://") || url.value.contains('@') {
        let help = "https://HOST/PATH, without a user";
        report.error_with_help(&url.at, "spec.bundleEndpointURL", "not the URL of a bundle endpoint", help);
    }
    let Located { value: profile, at } = raw.bundle_endpoint_profile;
    match profile.endpoint_spiffe_id {
        Some(id) => check_id(&id, "spec.bundleEndpointProfile.endpointSPIFFEID", report),
        None if profile.r#type == ProfileType::HttpsSpiffe => {
            report.error(&at, "spec.bundleEndpointProfile", "https_spiffe needs an endpointSPIFFEID");
        }
        None => {}
    }
    let message = match raw.trust_domain_bundle {
        Some(_) => "bundles are not fetched: trustDomainBundle is taken in as it is here, until another stands here",
        None => {
            "bundles are not fetched: put one into trustDomainBundle, or take it in with `countersign bundle import`"
        }
    };
    report.warn(&url.at, message);
    let trust_domain = trust_domains(vec![raw.trust_domain], report).pop()?;
    Some(ClusterFederatedTrustDomain { trust_domain, bundle: raw.trust_domain_bundle })
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

fn check_id(id: &Located<String>, field: &str, report: &Report) {
    if let Err(error) = id.value.parse::<SpiffeId>() {
        report.error(&id.at, field, format!("{:?} is not a SPIFFE ID: {error}", shown(&id.value)));
    }
}

/// Nobody becomes an operator of this server by an identity of the policy.
fn no_powers(powers: [(&str, Option<Located<bool>>); 2], report: &Report) {
    for (name, at) in powers.into_iter().filter_map(|(name, it)| it.filter(|it| it.value).map(|it| (name, it.at))) {
        report.warn(&at, format!("spec.{name} has no effect here: an identity gives no power over the server"));
    }
}

fn ttl(text: Option<Located<String>>, field: &str, report: &Report) -> Option<Duration> {
    const LEAST: Duration = Duration::from_secs(10);
    let text = text?;
    let refuse = |message: String, help: &str| report.error_with_help(&text.at, field, message, help);
    match go_duration::parse(&text.value) {
        // Kubernetes writes an absent one so.
        Some(Duration::ZERO) => return None,
        Some(ttl) if ttl >= LEAST => return Some(ttl),
        Some(_) => refuse("this leaves no time to renew".to_owned(), "a certificate lives at least 10s"),
        None => {
            refuse(format!("{:?} is not a duration", shown(&text.value)), "a number and h, m or s, as in \"1h30m\"")
        }
    }
    None
}

fn trust_domains(names: Vec<Located<String>>, report: &Report) -> Vec<Located<String>> {
    let good = |name: &Located<String>| match name.value.parse::<TrustDomain>() {
        Ok(_) => true,
        Err(error) => {
            report.error(&name.at, "spec", format!("{:?} is not a trust domain: {error}", shown(&name.value)));
            false
        }
    };
    names.into_iter().filter(good).collect()
}

/// Whether a certificate may carry it: a DNS name, perhaps with a wildcard for its first label.
pub fn is_leaf_name(name: &str) -> bool {
    host::is_dns_name(name.strip_prefix("*.").unwrap_or(name))
}

fn selector(text: Located<String>, report: &Report) -> Option<Located<Selector>> {
    let Located { value: text, at } = text;
    let number = |digits: &str| digits.parse().ok();
    let fits = match text.split_once(':') {
        Some((kind, value)) if !kind.is_empty() && !value.is_empty() => (kind, value),
        _ => {
            report.error(
                &at,
                "spec.selectors",
                format!("{:?} is not TYPE:VALUE, as in \"k8s:ns:default\"", shown(&text)),
            );
            return None;
        }
    };
    let fits = match (fits.0, fits.1.split_once(':')) {
        ("k8s", Some(("ns", name))) => Some(Selector::Namespace(name.to_owned())),
        ("k8s", Some(("sa", name))) => Some(Selector::ServiceAccount(name.to_owned())),
        ("k8s", Some(("pod-name", name))) => Some(Selector::PodName(name.to_owned())),
        ("k8s", Some(("pod-label", label))) => {
            label.split_once(':').map(|(key, value)| Selector::PodLabel(key.to_owned(), value.to_owned()))
        }
        ("unix", Some(("uid", digits))) => number(digits).map(Selector::Uid),
        ("unix", Some(("gid", digits))) => number(digits).map(Selector::Gid),
        _ => None,
    };
    let fits = fits.unwrap_or_else(|| {
        let known = "k8s:ns, k8s:sa, k8s:pod-name, k8s:pod-label, unix:uid and unix:gid can";
        report.warn(
            &at,
            format!("the selector {:?} cannot be looked at here, so the entry is for nobody; {known}", shown(&text)),
        );
        Selector::Other(text)
    });
    Some(Located::new(fits, at))
}

fn requirements(raw: RawSelector, field: &str, report: &Report) -> Requirements {
    let labels = raw.match_labels.0.into_iter();
    let labels = labels.map(|(key, value)| Requirement { key: key.value, operator: Operator::In, values: vec![value] });
    let mut all: Vec<_> = labels.collect();
    for Located { value: RawExpression { key, operator, values }, at } in raw.match_expressions {
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => wrong(&at, field, "needs values", report),
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                wrong(&at, field, "has no values", report)
            }
            _ => {}
        }
        all.push(Requirement { key, operator, values });
    }
    Requirements(all)
}

fn wrong(at: &Origin, field: &str, message: &str, report: &Report) {
    report.error(at, &format!("{field}.matchExpressions"), format!("the operator {message}"));
}
