//! How a port says which protocol it speaks: `protocol`, `appProtocol`, or the prefix of its name.

use super::report::Report;
use super::{Located, Protocol, nearest};

/// What Istio accepts in `protocol:`, and in the names of ports before the first `-`.
const KNOWN: &[(&str, Protocol)] = &[
    ("http", Protocol::Http),
    ("http2", Protocol::Http2),
    ("h2c", Protocol::Http2),
    ("grpc", Protocol::Grpc),
    ("grpc-web", Protocol::Grpc),
    ("http_proxy", Protocol::HttpProxy),
    ("tls", Protocol::Tls),
    ("https", Protocol::Tls),
    ("hbone", Protocol::Tls),
    ("tcp", Protocol::Tcp),
    ("mongo", Protocol::Tcp),
    ("redis", Protocol::Tcp),
    ("mysql", Protocol::Tcp),
];

/// The protocol a word stands for, case ignored as in Istio.
fn by_word(word: &str) -> Option<Protocol> {
    KNOWN.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, protocol)| *protocol)
}

/// The protocol that a port's name tells (`http-web`, `grpc`), if it tells one.
pub(super) fn by_name(name: &str) -> Option<Protocol> {
    if name.eq_ignore_ascii_case("grpc-web") || name.to_ascii_lowercase().starts_with("grpc-web-") {
        return Some(Protocol::Grpc);
    }
    by_word(name.split('-').next().unwrap_or_default())
}

/// Ports whose protocols let the server speak first or cannot be told by looking: SMTP, DNS, MySQL, MongoDB. Undeclared, they are bytes
/// (istio.io, "Protocol Selection").
const NEVER_DETECTED: [u16; 4] = [25, 53, 3306, 27017];

/// The protocol of a `v1` Service's port. `appProtocol` decides before the name. A word that is not known says nothing, since Kubernetes
/// allows any there.
pub(super) fn of_service_port(number: u16, name: &str, app_protocol: Option<&str>) -> Protocol {
    let declared = match app_protocol {
        Some("kubernetes.io/h2c") => Some(Protocol::Http2),
        Some("kubernetes.io/ws") => Some(Protocol::Http),
        Some("kubernetes.io/wss") => Some(Protocol::Tls),
        Some(word) => by_name(word),
        None => by_name(name),
    };
    declared.unwrap_or(if NEVER_DETECTED.contains(&number) { Protocol::Tcp } else { Protocol::Undeclared })
}

/// The protocol of a port of Istio's own kinds; `None` for UDP, which is not served (with a warning).
pub(super) fn of_istio_port(
    name: &str,
    protocol: Option<&Located<String>>,
    field: &str,
    report: &Report,
) -> Option<Protocol> {
    let Some(word) = protocol.filter(|word| !word.value.is_empty()) else {
        return Some(by_name(name).unwrap_or_default());
    };
    if word.value.eq_ignore_ascii_case("udp") {
        report.warn(&word.at, format!("{field}: UDP is not served, the port is left out"));
        return None;
    }
    let protocol = by_word(&word.value);
    if protocol.is_none() {
        let names: Vec<String> = KNOWN.iter().map(|(name, _)| name.to_ascii_uppercase()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let shown: String = word.value.chars().take(40).collect();
        let help = nearest::hint(&word.value, &names).unwrap_or_default();
        report.error_with_help(&word.at, field, format!("unknown protocol {shown:?}"), &help);
    }
    Some(protocol.unwrap_or_default())
}
