//! Reads an Istio `Sidecar`.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Deserialize;

use super::fields::{Entries, Unused, optional_selector, port_number};
use super::report::Report;
use super::server_tls::{self, ServerTls, ServerTlsMode};
use super::{
    CaptureMode, EgressPort, Endpoint, Located, Origin, OutboundTrafficPolicy, Protocol, Sidecar, SidecarEgress,
    SidecarIngress, host, protocol,
};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Raw {
    workload_selector: Option<RawSelector>,
    ingress: Vec<RawIngress>,
    egress: Vec<RawEgress>,
    outbound_traffic_policy: Option<RawOutboundTrafficPolicy>,
    inbound_connection_pool: Option<Unused>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "fields that are only known, to warn about")]
struct RawOutboundTrafficPolicy {
    mode: Option<OutboundTrafficPolicy>,
    egress_proxy: Option<Unused>,
}

#[derive(Deserialize)]
struct RawSelector {
    labels: Option<Located<Entries<Located<String>>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "fields that are only known, to warn about")]
struct RawPort {
    number: Located<u32>,
    #[serde(default)]
    name: String,
    protocol: Option<Located<String>>,
    target_port: Option<Unused>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "fields that are only known, to warn about")]
struct RawIngress {
    port: RawPort,
    bind: Option<Located<String>>,
    #[serde(default)]
    capture_mode: CaptureMode,
    default_endpoint: Option<Located<String>>,
    tls: Option<Located<server_tls::Raw>>,
    connection_pool: Option<Unused>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEgress {
    port: Option<RawPort>,
    bind: Option<Located<String>>,
    #[serde(default)]
    capture_mode: CaptureMode,
    hosts: Located<Vec<Located<String>>>,
}

/// Checks a sidecar's listeners.
pub(super) fn check(raw: Raw, report: &Report) -> Sidecar {
    let labels = raw.workload_selector.and_then(|selector| selector.labels);
    let mut taken = BTreeSet::new();
    let mut ingress = Vec::new();
    for (index, listener) in raw.ingress.into_iter().enumerate() {
        let field = format!("spec.ingress[{index}]");
        let number = port_number(&listener.port.number, &format!("{field}.port.number"), report);
        let at = listener.port.number.at.clone();
        if !taken.insert(number) {
            report.error(&at, &field, format!("port {number} has two ingress listeners"));
        }
        let Some(protocol) = port_protocol(&listener.port, &field, report) else { continue };
        let tls = listener.tls.and_then(|tls| ingress_tls(tls, protocol, &format!("{field}.tls"), report));
        let word = listener.port.protocol.as_ref().map_or(listener.port.name.as_str(), |word| &word.value);
        ingress.push(SidecarIngress {
            port: Located::new(number, at),
            protocol: if tls.is_some() { within_tls(protocol, word) } else { protocol },
            name: listener.port.name,
            tls,
            bind: listener.bind.and_then(|bind| bind_address(&bind, &field, report)),
            capture: listener.capture_mode,
            default_endpoint: listener
                .default_endpoint
                .filter(|endpoint| !endpoint.value.is_empty())
                .and_then(|endpoint| default_endpoint(&endpoint, &format!("{field}.defaultEndpoint"), report)),
        });
    }
    let mut catch_all: Option<Origin> = None;
    let mut egress = Vec::new();
    for (index, listener) in raw.egress.into_iter().enumerate() {
        let field = format!("spec.egress[{index}]");
        egress.extend(egress_listener(listener, &field, &mut catch_all, report));
    }
    Sidecar {
        workload_selector: optional_selector(labels, "spec.workloadSelector.labels", report),
        ingress,
        egress,
        // A policy without a mode is Istio's zero value, REGISTRY_ONLY.
        outbound_traffic_policy: raw
            .outbound_traffic_policy
            .map(|policy| policy.mode.unwrap_or(OutboundTrafficPolicy::RegistryOnly)),
    }
}

/// `None` where the application ends TLS itself. Istio takes no credentialName and no subjectAltNames here; they mean what they do at a
/// gateway.
fn ingress_tls(
    raw: Located<server_tls::Raw>,
    protocol: Protocol,
    field: &str,
    report: &Report,
) -> Option<Located<ServerTls>> {
    if protocol != Protocol::Tls {
        let help = "HTTPS or TLS as port.protocol";
        report.error_with_help(&raw.at, field, "TLS on a port of a protocol without it", help);
    }
    if raw.value.https_redirect {
        report.error(&raw.at, &format!("{field}.httpsRedirect"), "a sidecar redirects nobody");
    }
    let tls = server_tls::check(raw, field, report)?;
    match tls.value.mode {
        ServerTlsMode::Passthrough => None,
        ServerTlsMode::IstioMutual => {
            let help = "leave tls out, and write a PeerAuthentication";
            report.error_with_help(&tls.at, &format!("{field}.mode"), "mutual TLS of the mesh is not said here", help);
            None
        }
        _ => Some(tls),
    }
}

/// What a port carries within the TLS that its proxy ends.
fn within_tls(protocol: Protocol, word: &str) -> Protocol {
    match protocol {
        Protocol::Tls if word.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("https")) => Protocol::Http,
        Protocol::Tls => Protocol::Tcp,
        other => other,
    }
}

fn egress_listener(
    raw: RawEgress,
    field: &str,
    catch_all: &mut Option<Origin>,
    report: &Report,
) -> Option<SidecarEgress> {
    if raw.hosts.value.is_empty() {
        report.error(&raw.hosts.at, &format!("{field}.hosts"), "no host is listed");
    }
    for name in &raw.hosts.value {
        host::check_egress(name, &format!("{field}.hosts"), report);
    }
    let bind = raw.bind.filter(|bind| !bind.value.is_empty());
    if let (None, Some(bind)) = (&raw.port, &bind) {
        report.error(&bind.at, &format!("{field}.bind"), "bind without a port");
    }
    let port = match raw.port {
        Some(port) => {
            let protocol = port_protocol(&port, field, report)?;
            let number = port_number(&port.number, &format!("{field}.port.number"), report);
            Some(EgressPort { number: Located::new(number, port.number.at), name: port.name, protocol })
        }
        None => {
            if let Some(first) = &*catch_all {
                let message = format!("a second egress listener without a port; the first is at {first}");
                report.error(&raw.hosts.at, field, message);
            }
            *catch_all = Some(raw.hosts.at.clone());
            None
        }
    };
    let bind = bind.and_then(|bind| bind_address(&bind, field, report));
    Some(SidecarEgress { port, bind, capture: raw.capture_mode, hosts: raw.hosts.value })
}

fn port_protocol(port: &RawPort, field: &str, report: &Report) -> Option<Protocol> {
    protocol::of_istio_port(&port.name, port.protocol.as_ref(), &format!("{field}.port.protocol"), report)
}

fn bind_address(bind: &Located<String>, field: &str, report: &Report) -> Option<IpAddr> {
    if bind.value.is_empty() {
        return None;
    }
    let address = bind.value.parse().ok();
    if address.is_none() {
        report.error_with_help(&bind.at, &format!("{field}.bind"), "not an IP address", "without port and brackets");
    }
    address
}

/// `127.0.0.1:PORT`, `[::1]:PORT`, `0.0.0.0:PORT`, `[::]:PORT` or `unix:///path`: Istio lets a sidecar forward to its own
/// application only, never to another host.
fn default_endpoint(endpoint: &Located<String>, field: &str, report: &Report) -> Option<Endpoint> {
    let help = "127.0.0.1:PORT, [::1]:PORT, 0.0.0.0:PORT (the workload's own address) or unix:///path";
    if let Some(path) = endpoint.value.strip_prefix("unix://") {
        if path.starts_with('/') && path.len() > 1 {
            return Some(Endpoint::Unix(path.to_owned()));
        }
        report.error_with_help(&endpoint.at, field, "the path of a Unix socket is absolute", help);
        return None;
    }
    let own = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ];
    match endpoint.value.parse::<SocketAddr>() {
        Ok(address) if own.contains(&address.ip()) && address.port() != 0 => Some(Endpoint::Socket(address)),
        Ok(_) => {
            report.error_with_help(&endpoint.at, field, "not a port of this workload", help);
            None
        }
        Err(_) => {
            report.error_with_help(&endpoint.at, field, "not an address with a port", help);
            None
        }
    }
}
