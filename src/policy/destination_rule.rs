//! Istio `DestinationRule` (`networking.istio.io` `v1`, `v1beta1`, `v1alpha3`), the TLS part: how clients reach a host.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::fields::{Entries, Unused, non_empty, optional_selector, port_number, selector_labels};
use super::host;
use super::report::Report;
use super::{LabelSelector, Located, Origin, Topic};

/// `trafficPolicy.tls.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClientTlsMode {
    /// No TLS.
    #[default]
    Disable,
    /// TLS, the server is verified.
    Simple,
    /// TLS with a client certificate of the operator's own.
    Mutual,
    /// Mutual TLS with the workload's mesh certificate.
    IstioMutual,
}

/// `trafficPolicy.tls` (Istio `ClientTLSSettings`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// `mode`.
    pub mode: ClientTlsMode,
    /// `clientCertificate`: a PEM chain, as a path on the proxy's machine (MUTUAL).
    pub client_certificate: Option<String>,
    /// `privateKey`: a path on the proxy's machine (MUTUAL).
    pub private_key: Option<String>,
    /// `caCertificates`: a path on the proxy's machine; absent means the system's roots (SIMPLE, MUTUAL).
    pub ca_certificates: Option<String>,
    /// `caCrl`: a path on the proxy's machine.
    pub ca_crl: Option<String>,
    /// `credentialName`: a Secret instead of the paths.
    pub credential_name: Option<String>,
    /// `subjectAltNames`: exact names, one of which the server must carry.
    pub subject_alt_names: Vec<String>,
    /// `sni`.
    pub sni: Option<String>,
    /// `insecureSkipVerify`.
    pub insecure_skip_verify: bool,
}

/// A `trafficPolicy`, reduced to its TLS parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficPolicy {
    /// `tls`.
    pub tls: Option<Located<ClientTls>>,
    /// `portLevelSettings`, by service port. They replace the policy for that port wholesale, so an entry without
    /// `tls` means the port has no TLS setting at all.
    pub port_tls: BTreeMap<u16, Option<Located<ClientTls>>>,
}

/// One of `subsets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subset {
    /// `name`.
    pub name: String,
    /// `labels` of the endpoints that belong to it.
    pub labels: LabelSelector,
    /// `trafficPolicy`, overriding the rule's field by field.
    pub traffic_policy: Option<TrafficPolicy>,
}

/// The spec of a `DestinationRule`.
#[derive(Clone, Debug)]
pub struct DestinationRule {
    /// `host`: a name, a short name (resolved in the rule's namespace) or `*.suffix`.
    pub host: Located<String>,
    /// `trafficPolicy`.
    pub traffic_policy: Option<TrafficPolicy>,
    /// `subsets`.
    pub subsets: Vec<Subset>,
    /// `exportTo`: namespaces, `.` for its own, `*` for all. Empty means all.
    pub export_to: Vec<String>,
    /// `workloadSelector.matchLabels`: only these clients of the rule's own namespace.
    pub workload_selector: Option<LabelSelector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Raw {
    host: Located<String>,
    traffic_policy: Option<RawTrafficPolicy>,
    #[serde(default)]
    subsets: Vec<RawSubset>,
    #[serde(default)]
    export_to: Vec<Located<String>>,
    workload_selector: Option<RawSelector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSelector {
    match_labels: Option<Located<Entries<Located<String>>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "fields that are only known, to warn about")]
struct RawTrafficPolicy {
    tls: Option<Located<RawTls>>,
    #[serde(default)]
    port_level_settings: Vec<RawPortPolicy>,
    load_balancer: Option<Unused>,
    connection_pool: Option<Unused>,
    outlier_detection: Option<Unused>,
    tunnel: Option<Unused>,
    proxy_protocol: Option<Unused>,
    retry_budget: Option<Unused>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "fields that are only known, to warn about")]
struct RawPortPolicy {
    port: RawPort,
    tls: Option<Located<RawTls>>,
    load_balancer: Option<Unused>,
    connection_pool: Option<Unused>,
    outlier_detection: Option<Unused>,
}

#[derive(Deserialize)]
struct RawPort {
    number: Located<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSubset {
    name: Located<String>,
    #[serde(default)]
    labels: Entries<Located<String>>,
    traffic_policy: Option<RawTrafficPolicy>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawTls {
    mode: Option<ClientTlsMode>,
    client_certificate: Option<String>,
    private_key: Option<String>,
    ca_certificates: Option<String>,
    ca_crl: Option<String>,
    credential_name: Option<String>,
    subject_alt_names: Vec<String>,
    sni: Option<String>,
    insecure_skip_verify: bool,
}

/// Checks a rule as Istio's validation does, and beyond it where a mistake would mean plaintext.
pub(super) fn check(raw: Raw, report: &Report) -> DestinationRule {
    host::check(&raw.host, "spec.host", report);
    let mut names = BTreeSet::new();
    let subsets = raw.subsets.into_iter().enumerate().map(|(index, subset)| {
        let field = format!("spec.subsets[{index}]");
        if subset.name.value.is_empty() {
            report.error(&subset.name.at, &format!("{field}.name"), "a subset needs a name");
        }
        if !names.insert(subset.name.value.clone()) {
            let message = format!("the subset {:?} is defined twice", subset.name.value);
            report.error(&subset.name.at, &format!("{field}.name"), message);
        }
        Subset {
            name: subset.name.value,
            labels: selector_labels(subset.labels, &format!("{field}.labels"), report),
            traffic_policy: subset
                .traffic_policy
                .map(|policy| traffic_policy(policy, &format!("{field}.trafficPolicy"), report)),
        }
    });
    let subsets = subsets.collect();
    let labels = raw.workload_selector.and_then(|selector| selector.match_labels);
    DestinationRule {
        host: raw.host,
        traffic_policy: raw.traffic_policy.map(|policy| traffic_policy(policy, "spec.trafficPolicy", report)),
        subsets,
        export_to: host::export_to(raw.export_to, report),
        workload_selector: optional_selector(labels, "spec.workloadSelector.matchLabels", report),
    }
}

fn traffic_policy(raw: RawTrafficPolicy, field: &str, report: &Report) -> TrafficPolicy {
    let mut port_tls = BTreeMap::new();
    for (index, setting) in raw.port_level_settings.into_iter().enumerate() {
        let field = format!("{field}.portLevelSettings[{index}]");
        let number = port_number(&setting.port.number, &format!("{field}.port.number"), report);
        if setting.tls.is_none() && raw.tls.is_some() {
            let message = format!(
                "port {number} has settings without tls, and port settings replace the rule's as a whole: \
                 the rule's tls does not apply to it"
            );
            report.warn_of(Topic::PortDropsTls, &setting.port.number.at, message);
        }
        let tls = setting.tls.map(|tls| client_tls(tls, &format!("{field}.tls"), report));
        if port_tls.insert(number, tls).is_some() {
            report.error(&setting.port.number.at, &field, format!("port {number} has settings twice"));
        }
    }
    TrafficPolicy { tls: raw.tls.map(|tls| client_tls(tls, &format!("{field}.tls"), report)), port_tls }
}

fn client_tls(raw: Located<RawTls>, field: &str, report: &Report) -> Located<ClientTls> {
    let Located { value: raw, at } = raw;
    if raw.mode.is_none() {
        let message = format!("{field} has no mode, which Istio takes for DISABLE: this is plaintext");
        report.warn_of(Topic::NoTlsMode, &at, message);
    }
    let tls = ClientTls {
        mode: raw.mode.unwrap_or_default(),
        client_certificate: non_empty(raw.client_certificate),
        private_key: non_empty(raw.private_key),
        ca_certificates: non_empty(raw.ca_certificates),
        ca_crl: non_empty(raw.ca_crl),
        credential_name: non_empty(raw.credential_name),
        subject_alt_names: raw.subject_alt_names,
        sni: non_empty(raw.sni),
        insecure_skip_verify: raw.insecure_skip_verify,
    };
    Combination { tls: &tls, at: &at, field, report }.check();
    Located::new(tls, at)
}

/// Which fields of one `tls` may stand together.
struct Combination<'a> {
    tls: &'a ClientTls,
    at: &'a Origin,
    field: &'a str,
    report: &'a Report,
}

impl Combination<'_> {
    fn check(&self) {
        match self.tls.mode {
            ClientTlsMode::Disable => self.unused_material("DISABLE"),
            ClientTlsMode::IstioMutual => self.unused_material("ISTIO_MUTUAL"),
            ClientTlsMode::Simple => self.simple(),
            ClientTlsMode::Mutual => self.mutual(),
        }
    }

    fn error(&self, message: &str, help: &str) {
        self.report.error_with_help(self.at, self.field, message, help);
    }

    fn present(&self, names: &[&'static str]) -> Vec<&'static str> {
        let tls = self.tls;
        let all = [
            ("clientCertificate", tls.client_certificate.is_some()),
            ("privateKey", tls.private_key.is_some()),
            ("caCertificates", tls.ca_certificates.is_some()),
            ("caCrl", tls.ca_crl.is_some()),
            ("credentialName", tls.credential_name.is_some()),
            ("subjectAltNames", !tls.subject_alt_names.is_empty()),
            ("insecureSkipVerify", tls.insecure_skip_verify),
        ];
        all.into_iter().filter(|(name, present)| *present && names.contains(name)).map(|(name, _)| name).collect()
    }

    /// The mesh's own certificates are used, or none at all; fields that say otherwise are a misunderstanding.
    fn unused_material(&self, mode: &str) {
        let names =
            ["clientCertificate", "privateKey", "caCertificates", "caCrl", "credentialName", "insecureSkipVerify"];
        let present = self.present(&names);
        if !present.is_empty() {
            let message = format!("{}: {} has no effect in mode {mode}", self.field, present.join(", "));
            self.report.warn(self.at, message);
        }
    }

    fn simple(&self) {
        let client = self.present(&["clientCertificate", "privateKey"]);
        if !client.is_empty() {
            let message = format!("{} in mode SIMPLE, in which the client shows no certificate", client.join(" and "));
            self.error(&message, "use mode MUTUAL, or remove it");
        }
        self.credential(&["caCertificates", "caCrl"]);
        self.skip_verify(&["caCertificates", "caCrl", "credentialName", "subjectAltNames"]);
    }

    fn mutual(&self) {
        let client = self.present(&["clientCertificate", "privateKey"]);
        if self.tls.credential_name.is_none() && client.len() < 2 {
            let missing = match client.first() {
                Some(&"clientCertificate") => "privateKey",
                Some(_) => "clientCertificate",
                None => "clientCertificate and privateKey",
            };
            let help = "mode ISTIO_MUTUAL uses the workload's own mesh certificate; credentialName names a Secret";
            self.error(&format!("mode MUTUAL without {missing}"), help);
        }
        self.credential(&["clientCertificate", "privateKey", "caCertificates", "caCrl"]);
        self.skip_verify(&["caCertificates", "caCrl", "subjectAltNames"]);
    }

    fn credential(&self, paths: &[&'static str]) {
        let paths = self.present(paths);
        if self.tls.credential_name.is_some() && !paths.is_empty() {
            let message = format!("credentialName beside {}", paths.join(", "));
            self.error(&message, "the Secret holds all of it: keep either the Secret or the paths");
        }
    }

    fn skip_verify(&self, contradicting: &[&'static str]) {
        if !self.tls.insecure_skip_verify {
            return;
        }
        let present = self.present(contradicting);
        if present.is_empty() {
            let message = format!("{}: insecureSkipVerify accepts any server, an attacker's too", self.field);
            self.report.warn_of(Topic::SkipsVerification, self.at, message);
        } else {
            let message = format!("insecureSkipVerify beside {}", present.join(", "));
            self.error(&message, "nothing would be verified with it; remove one or the other");
        }
    }
}
