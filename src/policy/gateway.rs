//! Reads an Istio `Gateway`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Deserialize;

use super::fields::{Unused, port_number};
use super::report::Report;
use super::server_tls::{self, ServerTls};
use super::{LabelSelector, Located, host, nearest};

/// The spec of an Istio `Gateway`: what proxies at the mesh's edge serve.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// `selector`: the gateways' workloads, of any namespace.
    pub selector: LabelSelector,
    /// `servers`.
    pub servers: Vec<Server>,
}

/// One of a Gateway's servers.
#[derive(Clone, Debug)]
pub struct Server {
    /// `port.number`.
    pub port: Located<u16>,
    /// `port.name`: never empty, and no other server of the Gateway has it.
    pub port_name: String,
    /// `port.protocol`.
    pub protocol: ServerProtocol,
    /// `bind`; `None`: every address.
    pub bind: Option<IpAddr>,
    /// `hosts`: `[namespace/]dnsName`, namespace `*` or `.`.
    pub hosts: Vec<Located<String>>,
    /// `tls`; `None`: plaintext.
    pub tls: Option<Located<ServerTls>>,
    /// `tls.httpsRedirect`.
    pub https_redirect: bool,
}

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerProtocol {
    /// HTTP in plaintext (`HTTP`, `HTTP2`, `GRPC`, `GRPC-WEB`).
    Http,
    /// HTTP within TLS.
    Https,
    /// Bytes within TLS.
    Tls,
    /// Bytes (`TCP`, `MONGO`).
    Tcp,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Raw {
    #[serde(default)]
    selector: BTreeMap<String, String>,
    servers: Located<Vec<RawServer>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "fields that are only known, to warn about")]
struct RawServer {
    port: RawPort,
    bind: Option<Located<String>>,
    hosts: Located<Vec<Located<String>>>,
    tls: Option<Located<server_tls::Raw>>,
    #[serde(default)]
    name: String,
    default_endpoint: Option<Unused>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "fields that are only known, to warn about")]
struct RawPort {
    number: Located<u32>,
    protocol: Located<String>,
    #[serde(default)]
    name: String,
    target_port: Option<Unused>,
}

const PROTOCOLS: &[(&str, ServerProtocol)] = &[
    ("HTTP", ServerProtocol::Http),
    ("HTTP2", ServerProtocol::Http),
    ("GRPC", ServerProtocol::Http),
    ("GRPC-WEB", ServerProtocol::Http),
    ("HTTPS", ServerProtocol::Https),
    ("TLS", ServerProtocol::Tls),
    ("TCP", ServerProtocol::Tcp),
    ("MONGO", ServerProtocol::Tcp),
];

/// Checks a gateway's servers.
pub(super) fn check(raw: Raw, report: &Report) -> Gateway {
    if raw.servers.value.is_empty() {
        report.error(&raw.servers.at, "spec.servers", "no server is listed");
    }
    let mut names = BTreeSet::new();
    let mut servers = Vec::new();
    for (index, server) in raw.servers.value.into_iter().enumerate() {
        let field = format!("spec.servers[{index}]");
        let at = server.port.number.at.clone();
        // Route tables are called after port names: two servers without one would share a table, and a request that came in by one
        // server's TLS would be routed by the other's hosts.
        if server.port.name.is_empty() {
            let help = "give each server's port a name of its own, such as \"https-web\"";
            report.error_with_help(&at, &format!("{field}.port.name"), "a gateway's port needs a name", help);
        } else if !names.insert(server.port.name.clone()) {
            report.error(&at, &field, format!("the port name {:?} is used twice", server.port.name));
        }
        servers.extend(check_server(server, &field, report));
    }
    Gateway { selector: LabelSelector(raw.selector), servers }
}

fn check_server(raw: RawServer, field: &str, report: &Report) -> Option<Server> {
    let number = port_number(&raw.port.number, &format!("{field}.port.number"), report);
    let at = raw.port.number.at;
    let protocol = protocol(&raw.port.protocol, field, report)?;
    if raw.hosts.value.is_empty() {
        report.error(&raw.hosts.at, &format!("{field}.hosts"), "no host is listed");
    }
    for name in &raw.hosts.value {
        check_host(name, &format!("{field}.hosts"), report);
    }
    let bind = raw.bind.filter(|bind| !bind.value.is_empty()).and_then(|bind| {
        let address = bind.value.parse().ok();
        if address.is_none() {
            report.error_with_help(
                &bind.at,
                &format!("{field}.bind"),
                "not an IP address",
                "without port and brackets",
            );
        }
        address
    });
    let https_redirect = raw.tls.as_ref().is_some_and(|tls| tls.value.https_redirect);
    let tls_field = format!("{field}.tls");
    let tls = raw.tls.and_then(|tls| server_tls::check(tls, &tls_field, report));
    let encrypted = matches!(protocol, ServerProtocol::Https | ServerProtocol::Tls);
    match &tls {
        None if encrypted => {
            report.error(
                &at,
                &tls_field,
                "missing: HTTPS and TLS say here how they are terminated, or that they are not",
            );
        }
        Some(tls) if !encrypted => {
            let help = "HTTPS or TLS as port.protocol; beside HTTP there may be httpsRedirect alone";
            report.error_with_help(&tls.at, &tls_field, "TLS on a port of a protocol without it", help);
        }
        Some(tls) if https_redirect => {
            report.warn(&tls.at, format!("{tls_field}.httpsRedirect has no effect where the server speaks TLS itself"));
        }
        _ => {}
    }
    let (port, port_name) = (Located::new(number, at), raw.port.name);
    Some(Server { port, port_name, protocol, bind, hosts: raw.hosts.value, tls, https_redirect })
}

fn protocol(word: &Located<String>, field: &str, report: &Report) -> Option<ServerProtocol> {
    let found = PROTOCOLS.iter().find(|(name, _)| name.eq_ignore_ascii_case(&word.value)).map(|(_, found)| *found);
    if found.is_none() {
        let names: Vec<&str> = PROTOCOLS.iter().map(|(name, _)| *name).collect();
        let shown: String = word.value.chars().take(40).collect();
        let help = nearest::hint(&word.value, &names).unwrap_or_default();
        let message = format!("a gateway has no protocol {shown:?}");
        report.error_with_help(&word.at, &format!("{field}.port.protocol"), message, &help);
    }
    found
}

/// `[namespace/]dnsName`.
fn check_host(host: &Located<String>, field: &str, report: &Report) {
    let (namespace, name) = host.value.split_once('/').unwrap_or(("*", &host.value));
    let is_namespace = matches!(namespace, "*" | ".") || host::is_namespace(namespace);
    if !is_namespace || !host::is_host(name) {
        let shown: String = host.value.chars().take(80).collect();
        let help = "a DNS name, \"*.suffix\" or \"*\", with a namespace and \"/\" before it or not";
        report.error_with_help(&host.at, field, format!("{shown:?} is not a host"), help);
    }
}
