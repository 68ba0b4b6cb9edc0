//! The names of a cert-manager `Certificate`, and those that an authority may certify.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::report::Report;
use super::{Located, Network, host};

/// `dnsNames`, `ipAddresses`, `uris` and `emailAddresses`: the subject alternative names (RFC 5280 §4.2.1.6).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CertificateNames {
    /// DNS names; the first label may be `*`.
    pub dns: Vec<String>,
    /// IP addresses.
    pub ip: Vec<IpAddr>,
    /// URIs, such as SPIFFE IDs.
    pub uri: Vec<String>,
    /// Email addresses.
    pub email: Vec<String>,
}

impl CertificateNames {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.dns.is_empty() && self.ip.is_empty() && self.uri.is_empty() && self.email.is_empty()
    }
}

/// `nameConstraints` (RFC 5280 §4.2.1.10).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameConstraints {
    /// `critical`.
    pub critical: bool,
    /// `permitted`.
    pub permitted: Subtrees,
    /// `excluded`.
    pub excluded: Subtrees,
}

/// Names below a point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subtrees {
    /// `dnsDomains`.
    pub dns: Vec<String>,
    /// `ipRanges`.
    pub ip: Vec<Network>,
    /// `emailAddresses`: an address, a host, or `.domain`.
    pub email: Vec<String>,
    /// `uriDomains`: a host, or `.domain`.
    pub uri: Vec<String>,
}

impl Subtrees {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.dns.is_empty() && self.ip.is_empty() && self.email.is_empty() && self.uri.is_empty()
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawNameConstraints {
    critical: bool,
    permitted: RawSubtrees,
    excluded: RawSubtrees,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSubtrees {
    dns_domains: Vec<Located<String>>,
    ip_ranges: Vec<Located<String>>,
    email_addresses: Vec<Located<String>>,
    uri_domains: Vec<Located<String>>,
}

impl RawSubtrees {
    fn is_empty(&self) -> bool {
        [&self.dns_domains, &self.ip_ranges, &self.email_addresses, &self.uri_domains].iter().all(|it| it.is_empty())
    }
}

/// Checks the names of each kind: DNS names, IP addresses, URIs, email addresses.
pub(super) fn check(written: [Vec<Located<String>>; 4], report: &Report) -> CertificateNames {
    let [dns, ip, uri, email] = written;
    CertificateNames {
        dns: texts(
            dns,
            "spec.dnsNames",
            is_dns_name,
            ("not a DNS name", "without a final dot; `*.` may begin it"),
            report,
        ),
        ip: parsed(
            ip,
            "spec.ipAddresses",
            |text| text.parse().ok(),
            ("not an IP address", "without brackets, port or prefix length"),
            report,
        ),
        uri: texts(uri, "spec.uris", is_uri, ("not a URI", "scheme and what follows, in ASCII: spiffe://…"), report),
        email: texts(
            email,
            "spec.emailAddresses",
            is_email,
            ("not an email address", "name@host, and nothing around it"),
            report,
        ),
    }
}

/// Checks the subtrees of an authority.
pub(super) fn constraints(raw: Located<RawNameConstraints>, report: &Report) -> NameConstraints {
    let Located { value: raw, at } = raw;
    if raw.permitted.is_empty() && raw.excluded.is_empty() {
        report.error(&at, "spec.nameConstraints", "neither permitted nor excluded has an entry");
    }
    let subtrees = |raw: RawSubtrees, name: &str| {
        let field = |of: &str| format!("spec.nameConstraints.{name}.{of}");
        let below = |name: &str| host::is_dns_name(name.strip_prefix('.').unwrap_or(name)) && !name.ends_with('.');
        let mailbox = |name: &str| is_email(name) || below(name);
        Subtrees {
            dns: texts(
                raw.dns_domains,
                &field("dnsDomains"),
                below,
                ("not a DNS domain", "such as example.com"),
                report,
            ),
            ip: parsed(
                raw.ip_ranges,
                &field("ipRanges"),
                Network::parse,
                ("not an IP range", "such as 10.0.0.0/8"),
                report,
            ),
            email: texts(
                raw.email_addresses,
                &field("emailAddresses"),
                mailbox,
                ("not an email address or domain", "user@example.com, example.com or .example.com"),
                report,
            ),
            uri: texts(
                raw.uri_domains,
                &field("uriDomains"),
                below,
                ("not a domain of URIs", "such as example.com or .example.com"),
                report,
            ),
        }
    };
    NameConstraints {
        critical: raw.critical,
        permitted: subtrees(raw.permitted, "permitted"),
        excluded: subtrees(raw.excluded, "excluded"),
    }
}

type Words<'a> = (&'a str, &'a str);

fn texts(
    written: Vec<Located<String>>,
    field: &str,
    is_good: impl Fn(&str) -> bool,
    (message, help): Words<'_>,
    report: &Report,
) -> Vec<String> {
    for (index, text) in written.iter().enumerate().filter(|(_, text)| !is_good(&text.value)) {
        report.error_with_help(&text.at, &format!("{field}[{index}]"), message, help);
    }
    written.into_iter().map(|text| text.value).collect()
}

fn parsed<T>(
    written: Vec<Located<String>>,
    field: &str,
    parse: impl Fn(&str) -> Option<T>,
    (message, help): Words<'_>,
    report: &Report,
) -> Vec<T> {
    let one = |(index, text): (usize, Located<String>)| {
        let value = parse(&text.value);
        if value.is_none() {
            report.error_with_help(&text.at, &format!("{field}[{index}]"), message, help);
        }
        value
    };
    written.into_iter().enumerate().filter_map(one).collect()
}

fn is_dns_name(name: &str) -> bool {
    let name = name.strip_prefix("*.").unwrap_or(name);
    host::is_dns_name(name) && !name.ends_with('.')
}

/// RFC 3986 §3: a scheme, a colon, and something behind it. It becomes an IA5String.
fn is_uri(uri: &str) -> bool {
    let scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    uri.bytes().all(|byte| byte.is_ascii_graphic())
        && uri.split_once(':').is_some_and(|(name, rest)| scheme(name) && !rest.is_empty())
}

/// A mailbox of RFC 5321 §4.1.2 without quotes: what an rfc822Name holds.
fn is_email(address: &str) -> bool {
    address.split_once('@').is_some_and(|(local, host)| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte);
        !local.is_empty()
            && local.len() <= 64
            && local.bytes().all(plain)
            && host::is_dns_name(host)
            && !host.ends_with('.')
    })
}
