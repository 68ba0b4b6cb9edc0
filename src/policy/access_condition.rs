//! The conditions of an AuthorizationPolicy's rules: which attribute, and what its values match.

use serde::Deserialize;

use super::report::Report;
use super::{Located, Network, Origin, Pattern, host, nearest};

/// One attribute: one of `values` must match (if there are any), and none of `not_values` may.
#[derive(Clone, Debug)]
pub struct Condition {
    /// `values`, `principals`, …
    pub values: Vec<Matcher>,
    /// `notValues`, `notPrincipals`, …
    pub not_values: Vec<Matcher>,
    /// Where it is written.
    pub at: Origin,
}

/// What one value of an attribute matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matcher {
    /// The peer's SPIFFE ID, without `spiffe://`.
    Principal(Pattern),
    /// The peer's namespace.
    Namespace(Pattern),
    /// The peer's service account, of this namespace; `None`: of the policy's.
    ServiceAccount(Option<String>, String),
    /// The address that the connection comes from.
    SourceIp(Network),
    /// The client's address: what the outermost trusted proxy says of it, and else the connection's.
    RemoteIp(Network),
    /// The address that the connection goes to.
    DestinationIp(Network),
    /// The workload's port.
    DestinationPort(u16),
    /// The server name that the client asked for.
    ServerName(Pattern),
    /// `Host` or `:authority`, in any case.
    Host(Pattern),
    /// The request's method.
    Method(Pattern),
    /// The request's path, without its query.
    Path(Pattern),
    /// A request's header.
    Header(String, Pattern),
    /// Something in a token that a RequestAuthentication would have verified. No request has any here.
    Token,
}

impl Matcher {
    /// Whether it looks at a request, of which a connection that carries bytes has none.
    pub fn is_http(&self) -> bool {
        use Matcher::{Header, Host, Method, Path, Token};
        matches!(self, Host(_) | Method(_) | Path(_) | Header(..) | Token)
    }

    /// Whether it looks at the peer's certificate, of which a plaintext connection has none.
    pub fn is_identity(&self) -> bool {
        matches!(self, Self::Principal(_) | Self::Namespace(_) | Self::ServiceAccount(..))
    }

    /// Whether it is about the peer (and not about where it wants to go).
    pub fn is_of_peer(&self) -> bool {
        self.is_identity() || matches!(self, Self::SourceIp(_) | Self::RemoteIp(_) | Self::Header(..) | Self::Token)
    }
}

type Values = Vec<Located<String>>;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RawSource {
    principals: Values,
    not_principals: Values,
    request_principals: Values,
    not_request_principals: Values,
    namespaces: Values,
    not_namespaces: Values,
    service_accounts: Values,
    not_service_accounts: Values,
    ip_blocks: Values,
    not_ip_blocks: Values,
    remote_ip_blocks: Values,
    not_remote_ip_blocks: Values,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RawOperation {
    hosts: Values,
    not_hosts: Values,
    ports: Values,
    not_ports: Values,
    methods: Values,
    not_methods: Values,
    paths: Values,
    not_paths: Values,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawCondition {
    key: Located<String>,
    #[serde(default)]
    values: Values,
    #[serde(default)]
    not_values: Values,
}

/// What Istio's `when` may name besides `request.headers[…]` and `request.auth…`.
const KEYS: &[&str] = &[
    "source.ip",
    "source.namespace",
    "source.principal",
    "source.serviceAccount",
    "remote.ip",
    "destination.ip",
    "destination.port",
    "connection.sni",
    "request.headers",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "request.auth.claims",
];

/// One list of conditions on its way in.
pub(super) struct Reader<'a> {
    pub(super) at: &'a Origin,
    pub(super) field: &'a str,
    pub(super) report: &'a Report,
}

impl Reader<'_> {
    pub(super) fn source(&self, raw: RawSource) -> Vec<Condition> {
        let by_name = [&raw.principals, &raw.not_principals, &raw.namespaces, &raw.not_namespaces];
        let accounts = raw.service_accounts.first().or(raw.not_service_accounts.first());
        if let Some(account) = accounts.filter(|_| by_name.iter().any(|list| !list.is_empty())) {
            let message = "serviceAccounts beside principals or namespaces";
            self.report.error_with_help(&account.at, self.field, message, "a service account has its namespace in it");
        }
        self.all([
            self.condition("principals", raw.principals, raw.not_principals, principal),
            self.condition("requestPrincipals", raw.request_principals, raw.not_request_principals, token),
            self.condition("namespaces", raw.namespaces, raw.not_namespaces, namespace),
            self.condition("serviceAccounts", raw.service_accounts, raw.not_service_accounts, service_account),
            self.condition("remoteIpBlocks", raw.remote_ip_blocks, raw.not_remote_ip_blocks, |value, field, report| {
                network(value, field, report).map(Matcher::RemoteIp)
            }),
            self.condition("ipBlocks", raw.ip_blocks, raw.not_ip_blocks, |value, field, report| {
                network(value, field, report).map(Matcher::SourceIp)
            }),
        ])
    }

    pub(super) fn operation(&self, raw: RawOperation) -> Vec<Condition> {
        let text = |make: fn(Pattern) -> Matcher| {
            move |value: &Located<String>, _: &str, _: &Report| Some(make(Pattern::parse(&value.value)))
        };
        self.all([
            self.condition("hosts", raw.hosts, raw.not_hosts, text(Matcher::Host)),
            self.condition("methods", raw.methods, raw.not_methods, text(Matcher::Method)),
            self.condition("paths", raw.paths, raw.not_paths, path),
            self.condition("ports", raw.ports, raw.not_ports, port),
        ])
    }

    fn all<const N: usize>(&self, conditions: [Option<Condition>; N]) -> Vec<Condition> {
        let conditions: Vec<Condition> = conditions.into_iter().flatten().collect();
        if conditions.is_empty() {
            let help = "leave it out to match everything";
            self.report.error_with_help(self.at, self.field, "nothing is asked for", help);
        }
        conditions
    }

    pub(super) fn when(&self, raw: RawCondition) -> Option<Condition> {
        let RawCondition { key, values, not_values } = raw;
        if values.is_empty() && not_values.is_empty() {
            let message = format!("{} has neither values nor notValues", shorten(&key.value));
            self.report.error(&key.at, self.field, message);
            return None;
        }
        let bracketed = |prefix: &str| key.value.strip_prefix(prefix)?.strip_prefix('[')?.strip_suffix(']');
        let header = bracketed("request.headers").filter(|name| !name.is_empty()).map(str::to_owned);
        let text = |make: fn(Pattern) -> Matcher| {
            move |value: &Located<String>, _: &str, _: &Report| Some(make(Pattern::parse(&value.value)))
        };
        match key.value.as_str() {
            "source.principal" => self.condition("values", values, not_values, principal),
            "source.namespace" => self.condition("values", values, not_values, namespace),
            "source.serviceAccount" => self.condition("values", values, not_values, service_account),
            "source.ip" => self.condition("values", values, not_values, |value, field, report| {
                network(value, field, report).map(Matcher::SourceIp)
            }),
            "remote.ip" => self.condition("values", values, not_values, |value, field, report| {
                network(value, field, report).map(Matcher::RemoteIp)
            }),
            "destination.ip" => self.condition("values", values, not_values, |value, field, report| {
                network(value, field, report).map(Matcher::DestinationIp)
            }),
            "destination.port" => self.condition("values", values, not_values, port),
            "connection.sni" => self.condition("values", values, not_values, text(Matcher::ServerName)),
            "request.auth.principal" | "request.auth.audiences" | "request.auth.presenter" => {
                self.condition("values", values, not_values, token)
            }
            _ if bracketed("request.auth.claims").is_some() => self.condition("values", values, not_values, token),
            _ => match header {
                Some(name) => self.condition("values", values, not_values, |value, _, _| {
                    Some(Matcher::Header(name.to_ascii_lowercase(), Pattern::parse(&value.value)))
                }),
                None => {
                    let help = nearest::hint(&key.value, KEYS).unwrap_or_default();
                    let message = format!("unknown attribute {:?}", shorten(&key.value));
                    self.report.error_with_help(&key.at, &format!("{}.key", self.field), message, &help);
                    None
                }
            },
        }
    }

    /// `None`: neither list has a value.
    fn condition(
        &self,
        list: &str,
        values: Values,
        not_values: Values,
        read: impl Fn(&Located<String>, &str, &Report) -> Option<Matcher>,
    ) -> Option<Condition> {
        let at = values.first().or(not_values.first())?.at.clone();
        let (field, report) = (format!("{}.{list}", self.field), self.report);
        let read_all = |values: Values| {
            let checked = values.into_iter().filter(|value| {
                if value.value.is_empty() {
                    report.error(&value.at, &field, "an empty value");
                }
                !value.value.is_empty()
            });
            checked.filter_map(|value| read(&value, &field, report)).collect()
        };
        Some(Condition { values: read_all(values), not_values: read_all(not_values), at })
    }
}

fn principal(value: &Located<String>, field: &str, report: &Report) -> Option<Matcher> {
    if let Some(rest) = value.value.strip_prefix("spiffe://") {
        let help = format!("write {:?}", shorten(rest));
        report.error_with_help(&value.at, field, "a principal is written without spiffe://", &help);
    }
    Some(Matcher::Principal(Pattern::parse(&value.value)))
}

fn namespace(value: &Located<String>, field: &str, report: &Report) -> Option<Matcher> {
    let pattern = Pattern::parse(&value.value);
    let rest = match &pattern {
        Pattern::Present => return Some(Matcher::Namespace(pattern)),
        Pattern::Exact(rest) | Pattern::Prefix(rest) | Pattern::Suffix(rest) => rest,
    };
    let letters = rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !letters || (matches!(pattern, Pattern::Exact(_)) && !host::is_namespace(rest)) {
        let help = "one \"*\" may stand at its beginning or its end";
        report.error_with_help(&value.at, field, "not a namespace", help);
    }
    Some(Matcher::Namespace(pattern))
}

fn service_account(value: &Located<String>, field: &str, report: &Report) -> Option<Matcher> {
    let (namespace, name) = match value.value.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, value.value.as_str()),
    };
    if !namespace.is_none_or(host::is_namespace) || !host::is_object_name(name) {
        let help = "NAME, or NAMESPACE/NAME, without wildcards";
        report.error_with_help(&value.at, field, "not a service account", help);
        return None;
    }
    Some(Matcher::ServiceAccount(namespace.map(str::to_owned), name.to_owned()))
}

fn network(value: &Located<String>, field: &str, report: &Report) -> Option<Network> {
    let network = Network::parse(&value.value);
    if network.is_none() {
        let help = "an address, or a network such as 10.0.0.0/8";
        report.error_with_help(&value.at, field, "not an IP address or network", help);
    }
    network
}

fn port(value: &Located<String>, field: &str, report: &Report) -> Option<Matcher> {
    let number = value.value.parse().ok().filter(|number| *number != 0);
    if number.is_none() {
        report.error(&value.at, field, format!("{:?} is not a port: 1 to 65535", shorten(&value.value)));
    }
    number.map(Matcher::DestinationPort)
}

fn path(value: &Located<String>, field: &str, report: &Report) -> Option<Matcher> {
    if value.value.contains("{*}") || value.value.contains("{**}") {
        let help = "write out the paths, or use a \"*\" at the beginning or the end";
        report.error_with_help(&value.at, field, "path templates are not served", help);
        return None;
    }
    Some(Matcher::Path(Pattern::parse(&value.value)))
}

fn token(value: &Located<String>, field: &str, report: &Report) -> Option<Matcher> {
    let message = format!(
        "{}: tokens are not verified here (RequestAuthentication is not served), so that no request has one",
        field
    );
    report.warn(&value.at, message);
    Some(Matcher::Token)
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}
