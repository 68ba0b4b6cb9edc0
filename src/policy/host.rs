//! Host names, wildcards, and the namespaces that `exportTo` and egress hosts name.

use super::Located;
use super::report::Report;

/// Checks a name that may begin with `*.` or be `*` alone.
pub(super) fn check(host: &Located<String>, field: &str, report: &Report) {
    if !is_host(&host.value) {
        let message = format!("{:?} is not a host name", shorten(&host.value));
        report.error_with_help(&host.at, field, message, "a DNS name, \"*.suffix\" or \"*\"");
    }
}

/// A DNS name, `*` or `*.name`. Underscores are allowed, as in real DNS.
pub(super) fn is_host(host: &str) -> bool {
    let name = if host == "*" { return true } else { host.strip_prefix("*.").unwrap_or(host) };
    is_dns_name(name) || host.parse::<std::net::IpAddr>().is_ok()
}

/// Labels of 1 to 63 letters, digits, `-` or `_`, 253 characters in all (RFC 1035 §2.3.4); a final dot is allowed.
pub(super) fn is_dns_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 253 && name.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// A namespace's name (RFC 1123 label: lower case, digits, `-`).
pub(super) fn is_namespace(name: &str) -> bool {
    is_label(name) && name.bytes().all(|byte| !byte.is_ascii_uppercase() && byte != b'_')
}

/// An object's name (RFC 1123 subdomain: lower case, digits, `-`, `.`).
pub(super) fn is_object_name(name: &str) -> bool {
    !name.ends_with('.') && is_dns_name(name) && name.bytes().all(|byte| !byte.is_ascii_uppercase() && byte != b'_')
}

/// `exportTo`: `.`, `*`, `~` or namespaces.
pub(super) fn export_to(namespaces: Vec<Located<String>>, report: &Report) -> Vec<String> {
    for namespace in &namespaces {
        if !matches!(namespace.value.as_str(), "." | "*" | "~") && !is_namespace(&namespace.value) {
            let message = format!("{:?} is not a namespace", shorten(&namespace.value));
            report.error_with_help(&namespace.at, "spec.exportTo", message, "\".\" is the rule's own, \"*\" is all");
        }
    }
    let alone = namespaces.iter().find(|namespace| matches!(namespace.value.as_str(), "*" | "~"));
    if let Some(alone) = alone.filter(|_| namespaces.len() > 1) {
        let message = format!("{:?} stands beside other namespaces", alone.value);
        report.error_with_help(&alone.at, "spec.exportTo", message, "\"*\" and \"~\" stand alone");
    }
    namespaces.into_iter().map(|namespace| namespace.value).collect()
}

/// `namespace/dnsName` of a Sidecar's egress.
pub(super) fn check_egress(host: &Located<String>, field: &str, report: &Report) {
    let fault = match host.value.split_once('/') {
        None => Some("no namespace"),
        Some((namespace, _)) if !matches!(namespace, "*" | "." | "~") && !is_namespace(namespace) => {
            Some("its namespace is none")
        }
        Some((_, name)) if !is_host(name) => Some("its name is not a host name"),
        Some(_) => None,
    };
    if let Some(fault) = fault {
        let message = format!("{:?}: {fault}", shorten(&host.value));
        let help = "namespace/dnsName, such as \"prod/*.example.com\", \"./*\" for the own namespace, \"*/*\" for all";
        report.error_with_help(&host.at, field, message, help);
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}
