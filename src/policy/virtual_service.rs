//! Reads an Istio `VirtualService`, as far as it leads a gateway's hosts to destinations.

use serde::Deserialize;

use super::document::{Node, Value};
use super::fields::{Unserved, Unused, port_number};
use super::report::Report;
use super::{Located, Origin, host, regex};

/// The spec of an Istio `VirtualService`.
#[derive(Clone, Debug)]
pub struct VirtualService {
    /// `hosts`.
    pub hosts: Vec<Located<String>>,
    /// `gateways`: `[namespace/]name` each, and `mesh` for all sidecars, which is also the default.
    pub gateways: Vec<Located<String>>,
    /// `http`, in order: the first that matches counts.
    pub http: Vec<HttpRoute>,
    /// `tls`: by the name that a client asks for, where TLS goes through.
    pub tls: Vec<TlsRoute>,
    /// `tcp`.
    pub tcp: Vec<TcpRoute>,
    /// `exportTo`.
    pub export_to: Vec<String>,
}

/// Where a request may be meant to go through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Through {
    /// `port`: of the gateway.
    pub port: Option<u16>,
    /// `gateways`; empty: all of the VirtualService's.
    pub gateways: Vec<String>,
}

/// One of `http`.
#[derive(Clone, Debug)]
pub struct HttpRoute {
    /// `match`; empty: every request.
    pub matches: Vec<HttpMatch>,
    /// `route`.
    pub route: Vec<WeightedDestination>,
    /// Where it stands.
    pub at: Origin,
}

/// One of `http[].match`.
#[derive(Clone, Debug, Default)]
pub struct HttpMatch {
    /// `uri`; `None`: every path.
    pub uri: Option<UriMatch>,
    /// `ignoreUriCase`.
    pub ignore_case: bool,
    /// `port` and `gateways`.
    pub through: Through,
}

/// `uri`: how a path is compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UriMatch {
    /// `exact`.
    Exact(String),
    /// `prefix`.
    Prefix(String),
    /// `regex`: RE2, over the whole path.
    Regex(String),
}

/// One of `tls`.
#[derive(Clone, Debug)]
pub struct TlsRoute {
    /// `match`; never empty.
    pub matches: Vec<TlsMatch>,
    /// `route`.
    pub route: Vec<WeightedDestination>,
}

/// One of `tls[].match`.
#[derive(Clone, Debug)]
pub struct TlsMatch {
    /// `sniHosts`.
    pub sni_hosts: Vec<Located<String>>,
    /// `port` and `gateways`.
    pub through: Through,
}

/// One of `tcp`.
#[derive(Clone, Debug)]
pub struct TcpRoute {
    /// `match`; empty: every connection.
    pub matches: Vec<Through>,
    /// `route`.
    pub route: Vec<WeightedDestination>,
}

/// One of `route`.
#[derive(Clone, Debug)]
pub struct WeightedDestination {
    /// `destination.host`.
    pub host: Located<String>,
    /// `destination.subset`.
    pub subset: Option<String>,
    /// `destination.port.number`.
    pub port: Option<u16>,
    /// `weight`: its share of all; 1 where it is the only one.
    pub weight: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Raw {
    hosts: Located<Vec<Located<String>>>,
    #[serde(default)]
    gateways: Vec<Located<String>>,
    #[serde(default)]
    http: Vec<Located<RawHttp>>,
    #[serde(default)]
    tls: Vec<Located<RawTls>>,
    #[serde(default)]
    tcp: Vec<Located<RawTcp>>,
    #[serde(default)]
    export_to: Vec<Located<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "fields that are only known, to warn about or refuse")]
struct RawHttp {
    #[serde(default)]
    name: String,
    #[serde(default)]
    r#match: Vec<RawHttpMatch>,
    #[serde(default)]
    route: Vec<RawDestination>,
    redirect: Option<Unserved>,
    direct_response: Option<Unserved>,
    delegate: Option<Unserved>,
    rewrite: Option<Unserved>,
    fault: Option<Unused>,
    timeout: Option<Unused>,
    retries: Option<Unused>,
    mirror: Option<Unused>,
    mirrors: Option<Unused>,
    mirror_percent: Option<Unused>,
    mirror_percentage: Option<Unused>,
    cors_policy: Option<Unused>,
    headers: Option<Unused>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "fields that are only known, to warn about or refuse")]
struct RawHttpMatch {
    #[serde(default)]
    name: String,
    uri: Option<Located<RawUri>>,
    #[serde(default)]
    ignore_uri_case: bool,
    port: Option<Located<u32>>,
    #[serde(default)]
    gateways: Vec<String>,
    scheme: Option<Unserved>,
    method: Option<Unserved>,
    authority: Option<Unserved>,
    headers: Option<Unserved>,
    without_headers: Option<Unserved>,
    query_params: Option<Unserved>,
    source_labels: Option<Unserved>,
    source_namespace: Option<Unserved>,
    stat_prefix: Option<Unused>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum RawUri {
    Exact(String),
    Prefix(String),
    Regex(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawTls {
    r#match: Vec<RawTlsMatch>,
    #[serde(default)]
    route: Vec<RawDestination>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "fields that are only known, to refuse")]
struct RawTlsMatch {
    sni_hosts: Vec<Located<String>>,
    port: Option<Located<u32>>,
    #[serde(default)]
    gateways: Vec<String>,
    destination_subnets: Option<Unserved>,
    source_labels: Option<Unserved>,
    source_namespace: Option<Unserved>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawTcp {
    #[serde(default)]
    r#match: Vec<RawTcpMatch>,
    #[serde(default)]
    route: Vec<RawDestination>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "fields that are only known, to refuse")]
struct RawTcpMatch {
    port: Option<Located<u32>>,
    #[serde(default)]
    gateways: Vec<String>,
    destination_subnets: Option<Unserved>,
    source_subnet: Option<Unserved>,
    source_labels: Option<Unserved>,
    source_namespace: Option<Unserved>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "fields that are only known, to warn about")]
struct RawDestination {
    destination: RawTarget,
    weight: Option<u32>,
    headers: Option<Unused>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawTarget {
    host: Located<String>,
    subset: Option<String>,
    port: Option<RawTargetPort>,
}

#[derive(Deserialize)]
struct RawTargetPort {
    number: Located<u32>,
}

/// Whether it names any gateway, and not only `mesh`, which is also what is meant where it names none.
pub(super) fn is_for_gateways(root: &Node) -> bool {
    match root.get("spec").and_then(|spec| spec.get("gateways")).map(|gateways| &gateways.value) {
        Some(Value::Seq(gateways)) => gateways.iter().any(|gateway| gateway.as_str() != Some("mesh")),
        Some(Value::Null) | None => false,
        Some(_) => true,
    }
}

/// Checks the routes.
pub(super) fn check(raw: Raw, report: &Report) -> VirtualService {
    if raw.hosts.value.is_empty() {
        report.error(&raw.hosts.at, "spec.hosts", "no host is listed");
    }
    for name in &raw.hosts.value {
        host::check(name, "spec.hosts", report);
    }
    let http = raw.http.into_iter().enumerate().map(|(index, route)| {
        let field = format!("spec.http[{index}]");
        let matches = route.value.r#match.into_iter().enumerate();
        let matches = matches.map(|(index, it)| http_match(it, &format!("{field}.match[{index}]"), report));
        HttpRoute {
            matches: matches.collect(),
            route: destinations(route.value.route, &route.at, &field, report),
            at: route.at,
        }
    });
    let tls = raw.tls.into_iter().enumerate().map(|(index, route)| {
        let field = format!("spec.tls[{index}]");
        if route.value.r#match.is_empty() {
            report.error(&route.at, &format!("{field}.match"), "no match is listed");
        }
        let matches = route.value.r#match.into_iter().enumerate().map(|(index, it)| {
            let field = format!("{field}.match[{index}]");
            if it.sni_hosts.is_empty() {
                report.error(&route.at, &format!("{field}.sniHosts"), "no host is listed");
            }
            it.sni_hosts.iter().for_each(|name| host::check(name, &format!("{field}.sniHosts"), report));
            TlsMatch { sni_hosts: it.sni_hosts, through: through(it.port, it.gateways, &field, report) }
        });
        TlsRoute { matches: matches.collect(), route: destinations(route.value.route, &route.at, &field, report) }
    });
    let tcp = raw.tcp.into_iter().enumerate().map(|(index, route)| {
        let field = format!("spec.tcp[{index}]");
        let matches = route.value.r#match.into_iter().enumerate();
        let matches =
            matches.map(|(index, it)| through(it.port, it.gateways, &format!("{field}.match[{index}]"), report));
        TcpRoute { matches: matches.collect(), route: destinations(route.value.route, &route.at, &field, report) }
    });
    VirtualService {
        http: http.collect(),
        tls: tls.collect(),
        tcp: tcp.collect(),
        hosts: raw.hosts.value,
        gateways: raw.gateways,
        export_to: host::export_to(raw.export_to, report),
    }
}

fn http_match(raw: RawHttpMatch, field: &str, report: &Report) -> HttpMatch {
    let uri = raw.uri.map(|uri| match uri.value {
        RawUri::Exact(path) | RawUri::Prefix(path) if path.is_empty() => {
            report.error(&uri.at, &format!("{field}.uri"), "an empty path");
            UriMatch::Prefix("/".to_owned())
        }
        RawUri::Exact(path) => UriMatch::Exact(path),
        RawUri::Prefix(path) => UriMatch::Prefix(path),
        RawUri::Regex(regex) => {
            if regex.is_empty() || regex.len() > MAX_REGEX_BYTES {
                let message = format!("a regex of 1 to {MAX_REGEX_BYTES} bytes is expected");
                report.error(&uri.at, &format!("{field}.uri.regex"), message);
            } else if let Err(fault) = regex::check(&regex) {
                let message = format!("not a regular expression that Envoy takes: {fault}");
                let help = "the syntax is RE2's; a \"{\" that means itself is written \"\\{\"";
                report.error_with_help(&uri.at, &format!("{field}.uri.regex"), message, help);
            }
            UriMatch::Regex(regex)
        }
    });
    HttpMatch { uri, ignore_case: raw.ignore_uri_case, through: through(raw.port, raw.gateways, field, report) }
}

/// Istio's limit.
const MAX_REGEX_BYTES: usize = 1024;

fn through(port: Option<Located<u32>>, gateways: Vec<String>, field: &str, report: &Report) -> Through {
    Through { port: port.map(|port| port_number(&port, &format!("{field}.port"), report)), gateways }
}

fn destinations(raw: Vec<RawDestination>, at: &Origin, field: &str, report: &Report) -> Vec<WeightedDestination> {
    if raw.is_empty() {
        report.error(at, &format!("{field}.route"), "no destination is listed");
    }
    let several = raw.len() > 1;
    let destinations: Vec<_> = raw
        .into_iter()
        .enumerate()
        .map(|(index, raw)| {
            let field = format!("{field}.route[{index}].destination");
            let RawTarget { host, subset, port } = raw.destination;
            host::check(&host, &format!("{field}.host"), report);
            if host.value.starts_with('*') {
                report.error(&host.at, &format!("{field}.host"), "a destination is no wildcard");
            }
            let port = port.map(|port| port_number(&port.number, &format!("{field}.port.number"), report));
            let subset = subset.filter(|subset| !subset.is_empty());
            let weight = raw.weight.unwrap_or(if several { 0 } else { 1 });
            WeightedDestination { host, subset, port, weight: if several { weight } else { 1 } }
        })
        .collect();
    let total: u64 = destinations.iter().map(|it| u64::from(it.weight)).sum();
    if several && (total == 0 || total > u64::from(u32::MAX)) {
        let message = format!("the weights are {total} in all");
        report.error_with_help(at, &format!("{field}.route"), message, "at least one of several needs a weight");
    }
    destinations
}
