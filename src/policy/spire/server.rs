//! The block `server`.

use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::fields::Entries;
use super::super::report::Report;
use super::super::{Located, Origin, Topic, go_duration, host};
use super::plugins::Plugins;
use super::scalar::{Number, Text};
use super::{CaKeyType, CaSubject, LogLevel, SpireServer, lifetimes};
use crate::identity::TrustDomain;

type Known = Option<Located<IgnoredAny>>;

/// Every key that SPIRE's server knows.
#[derive(Deserialize)]
pub(super) struct RawServer {
    bind_address: Option<Located<Text>>,
    bind_port: Option<Located<Number>>,
    trust_domain: Option<Located<Text>>,
    data_dir: Option<Located<Text>>,
    log_level: Option<Located<Text>>,
    ca_ttl: Option<Located<Text>>,
    default_x509_svid_ttl: Option<Located<Text>>,
    default_jwt_svid_ttl: Option<Located<Text>>,
    agent_ttl: Option<Located<Text>>,
    ca_key_type: Option<Located<Text>>,
    ca_subject: Option<Located<RawSubject>>,
    federation: Option<RawFederation>,
    disable_jwt_svids: Option<bool>,
    admin_ids: Known,
    audit_log_enabled: Known,
    experimental: Known,
    jwt_issuer: Known,
    jwt_key_type: Known,
    log_file: Known,
    log_format: Known,
    log_source_location: Known,
    prune_attested_nodes_expired_for: Known,
    prune_attested_nodes_batch_size: Known,
    prune_tofu_nodes: Known,
    proxy_protocol_trusted_cidrs: Known,
    ratelimit: Option<Located<RawRateLimit>>,
    socket_path: Known,
    max_attested_node_info_staleness: Known,
    profiling_enabled: Known,
    profiling_port: Known,
    profiling_freq: Known,
    profiling_names: Known,
}

#[derive(Deserialize)]
struct RawSubject {
    #[serde(default)]
    country: Vec<Text>,
    #[serde(default)]
    organization: Vec<Text>,
    common_name: Option<Text>,
}

#[derive(Deserialize)]
struct RawRateLimit {
    #[expect(dead_code, reason = "only known")]
    attestation: Option<IgnoredAny>,
    #[expect(dead_code, reason = "only known")]
    signing: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct RawFederation {
    bundle_endpoint: Known,
    #[serde(default)]
    federates_with: Entries<RawFederatesWith>,
}

#[derive(Deserialize)]
struct RawFederatesWith {
    bundle_endpoint_url: Option<Located<Text>>,
    #[expect(dead_code, reason = "only known")]
    bundle_endpoint_profile: Option<IgnoredAny>,
}

/// Checks the block, together with the plugins. `None`: what is wrong has been reported.
pub(super) fn check(raw: RawServer, at: Origin, plugins: Plugins, report: &Report) -> Option<SpireServer> {
    let reader = Reader { report };
    reader.warn_of_what_has_no_effect(&raw);
    let trust_domain = raw.trust_domain.and_then(|it| reader.trust_domain(it, "server.trust_domain"));
    let data_dir = raw.data_dir.map(plain).filter(|it| !it.value.is_empty());
    let ca_ttl = raw.ca_ttl.and_then(|it| reader.duration(it, "server.ca_ttl"));
    let svid_ttl = raw.default_x509_svid_ttl.and_then(|it| reader.duration(it, "server.default_x509_svid_ttl"));
    let agent_ttl = raw.agent_ttl.and_then(|it| reader.duration(it, "server.agent_ttl"));
    reader.duration_of_jwts(raw.default_jwt_svid_ttl);
    if let Some(it) = agent_ttl {
        report.warn(&it.at, "agent_ttl has no effect here: a node's own certificate lives as long as a workload's");
    }
    let bind_port = raw.bind_port.and_then(|it| reader.port(&it));
    let federates_with = raw.federation.map(|it| reader.federation(it)).unwrap_or_default();
    let missing = |what: &str| report.error(&at, "server", format!("{what} must be set"));
    if trust_domain.is_none() && !reader.has_error_of("server.trust_domain") {
        missing("trust_domain");
    }
    if data_dir.is_none() {
        missing("data_dir");
    }
    if plugins.store.is_none() && !reader.has_error_of("plugins.DataStore") {
        report.error(
            &at,
            "plugins",
            "a DataStore must be set: DataStore \"sql\" { plugin_data { database_type = \"sqlite3\" … } }",
        );
    }
    if plugins.key_manager.is_none() && !reader.has_error_of("plugins.KeyManager") {
        report.error(&at, "plugins", "a KeyManager must be set: \"memory\" or \"disk\"");
    }
    let server = SpireServer {
        bind_address: raw.bind_address.and_then(|it| reader.address(it)),
        bind_port,
        log_level: raw.log_level.and_then(|it| reader.log_level(it)),
        ca_key_type: raw.ca_key_type.and_then(|it| reader.key_type(it)),
        ca_subject: raw.ca_subject.and_then(|it| reader.subject(it)),
        ca_ttl,
        svid_ttl,
        federates_with,
        upstream: plugins.upstream,
        attestors: plugins.attestors,
        trust_domain: trust_domain?,
        data_dir: data_dir?,
        store: plugins.store?,
        key_manager: plugins.key_manager?,
        at,
    };
    let place = server.svid_ttl.as_ref().map(|it| &it.at).or(server.ca_ttl.as_ref().map(|it| &it.at));
    if let Some(message) = lifetimes::check("default_x509_svid_ttl", server.svid_ttl(), server.ca_ttl()) {
        report.warn_of(Topic::ShortCa, place.unwrap_or(&server.at), message);
    }
    Some(server)
}

fn plain(text: Located<Text>) -> Located<String> {
    Located::new(text.value.0, text.at)
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

struct Reader<'a> {
    report: &'a Report,
}

impl Reader<'_> {
    fn has_error_of(&self, field: &str) -> bool {
        self.report.has_error_of(field)
    }

    fn trust_domain(&self, text: Located<Text>, field: &str) -> Option<Located<String>> {
        let Located { value: Text(text), at } = text;
        // SPIRE takes the URI of the domain for its name.
        let name = text.strip_prefix("spiffe://").unwrap_or(&text);
        match name.parse::<TrustDomain>() {
            Ok(domain) => Some(Located::new(domain.to_string(), at)),
            Err(error) => {
                self.report.error(&at, field, format!("{:?} is not a trust domain: {error}", shown(&text)));
                None
            }
        }
    }

    fn duration(&self, text: Located<Text>, field: &str) -> Option<Located<Duration>> {
        let Located { value: Text(text), at } = text;
        let duration = go_duration::parse(&text);
        if duration.is_none() {
            let help = "a number and h, m or s, as in \"168h\" or \"1h30m\"; there are no days in it";
            self.report.error_with_help(&at, field, format!("{:?} is not a duration", shown(&text)), help);
        }
        duration.map(|duration| Located::new(duration, at))
    }

    fn duration_of_jwts(&self, text: Option<Located<Text>>) {
        if let Some(it) = text.and_then(|text| self.duration(text, "server.default_jwt_svid_ttl")) {
            self.report.warn(&it.at, "default_jwt_svid_ttl has no effect here: JWT-SVIDs are not issued");
        }
    }

    fn port(&self, port: &Located<Number>) -> Option<Located<u16>> {
        match u16::try_from(port.value.0) {
            Ok(number) if number != 0 => Some(Located::new(number, port.at.clone())),
            _ => {
                self.report.error(&port.at, "server.bind_port", format!("{} is not a port: 1 to 65535", port.value.0));
                None
            }
        }
    }

    fn address(&self, text: Located<Text>) -> Option<Located<String>> {
        let Located { value: Text(text), at } = text;
        let bare = text.trim_matches(['[', ']']);
        if bare.parse::<IpAddr>().is_err() && !host::is_dns_name(bare) {
            let message = format!("{:?} is not an address", shown(&text));
            self.report.error_with_help(
                &at,
                "server.bind_address",
                message,
                "an IP address or a DNS name, without a port",
            );
            return None;
        }
        Some(Located::new(bare.to_owned(), at))
    }

    fn log_level(&self, text: Located<Text>) -> Option<Located<LogLevel>> {
        let Located { value: Text(text), at } = text;
        let level = match text.to_ascii_lowercase().as_str() {
            "trace" => LogLevel::Trace,
            "debug" => LogLevel::Debug,
            "info" => LogLevel::Info,
            "warn" | "warning" => LogLevel::Warn,
            "error" | "fatal" | "panic" => LogLevel::Error,
            _ => {
                let message = format!("{:?} is not a log level", shown(&text));
                self.report.error_with_help(&at, "server.log_level", message, "DEBUG, INFO, WARN or ERROR");
                return None;
            }
        };
        Some(Located::new(level, at))
    }

    fn key_type(&self, text: Located<Text>) -> Option<Located<CaKeyType>> {
        let Located { value: Text(text), at } = text;
        let kind = match text.as_str() {
            "ec-p256" => CaKeyType::EcP256,
            "ec-p384" => CaKeyType::EcP384,
            "rsa-2048" => CaKeyType::Rsa2048,
            "rsa-4096" => CaKeyType::Rsa4096,
            _ => {
                let message = format!("{:?} is not a key type", shown(&text));
                let help = "ec-p256, ec-p384, rsa-2048 or rsa-4096";
                self.report.error_with_help(&at, "server.ca_key_type", message, help);
                return None;
            }
        };
        Some(Located::new(kind, at))
    }

    fn subject(&self, raw: Located<RawSubject>) -> Option<Located<CaSubject>> {
        let Located { value: RawSubject { country, organization, common_name }, at } = raw;
        let all = |texts: Vec<Text>| texts.into_iter().map(|text| text.0).collect();
        let subject = CaSubject {
            country: all(country),
            organization: all(organization),
            common_name: common_name.map(|text| text.0).unwrap_or_default(),
        };
        if subject == CaSubject::default() {
            self.report.warn(&at, "ca_subject is empty, and has no effect");
            return None;
        }
        Some(Located::new(subject, at))
    }

    fn federation(&self, raw: RawFederation) -> Vec<Located<String>> {
        if let Some(endpoint) = raw.bundle_endpoint {
            let message = "federation.bundle_endpoint has no effect here: bundles are not served over HTTPS; \
                           `countersign bundle export` writes ours";
            self.report.warn(&endpoint.at, message);
        }
        let mut domains = Vec::new();
        for (name, with) in raw.federates_with.0 {
            let field = format!("server.federation.federates_with.{}", shown(&name.value));
            match &with.bundle_endpoint_url {
                None => self.report.error(&name.at, &field, "bundle_endpoint_url must be set"),
                Some(url) if !url.value.0.to_ascii_lowercase().starts_with("https://") => {
                    self.report.error(&url.at, &field, "bundle_endpoint_url must begin with https://");
                }
                Some(url) => {
                    let message = "bundle_endpoint_url has no effect here: bundles are not fetched; \
                                   `countersign bundle import` takes one in";
                    self.report.warn(&url.at, message);
                }
            }
            let name = Located::new(Text(name.value), name.at);
            domains.extend(self.trust_domain(name, &field));
        }
        domains
    }

    /// What SPIRE has and this server does in another way, or not at all.
    fn warn_of_what_has_no_effect(&self, raw: &RawServer) {
        let tuned = "it tunes SPIRE's own server";
        let nodes = "nodes are not kept in books here: whoever has a workload's certificate may renew it";
        let log = "the log goes to standard error, as JSON where that is no terminal";
        let jwt = "JWT-SVIDs are not issued";
        let known = [
            (
                "admin_ids",
                &raw.admin_ids,
                "the admin API is a Unix socket of the server's own user; xds.operators may see clients' states",
            ),
            ("audit_log_enabled", &raw.audit_log_enabled, "what is issued and refused is in the log in any case"),
            ("experimental", &raw.experimental, tuned),
            ("jwt_issuer", &raw.jwt_issuer, jwt),
            ("jwt_key_type", &raw.jwt_key_type, jwt),
            ("log_file", &raw.log_file, log),
            ("log_format", &raw.log_format, log),
            ("log_source_location", &raw.log_source_location, log),
            ("prune_attested_nodes_expired_for", &raw.prune_attested_nodes_expired_for, nodes),
            ("prune_attested_nodes_batch_size", &raw.prune_attested_nodes_batch_size, nodes),
            ("prune_tofu_nodes", &raw.prune_tofu_nodes, nodes),
            ("proxy_protocol_trusted_cidrs", &raw.proxy_protocol_trusted_cidrs, "the PROXY protocol is not spoken"),
            (
                "socket_path",
                &raw.socket_path,
                "the admin API is on admin.sock in the data directory, and Envoys' socket is xds.unix.path",
            ),
            ("max_attested_node_info_staleness", &raw.max_attested_node_info_staleness, nodes),
            ("profiling_enabled", &raw.profiling_enabled, tuned),
            ("profiling_port", &raw.profiling_port, tuned),
            ("profiling_freq", &raw.profiling_freq, tuned),
            ("profiling_names", &raw.profiling_names, tuned),
        ];
        for (key, written, instead) in known {
            if let Some(it) = written {
                self.report.warn(&it.at, format!("{key} has no effect here: {instead}"));
            }
        }
        if let Some(it) = &raw.ratelimit {
            self.report.warn(&it.at, "ratelimit has no effect here: the limits are those of xds.limits");
        }
        // Only whoever turns JWT-SVIDs off says what is so here.
        let _ = raw.disable_jwt_svids;
    }
}
