//! Names of clients, as Linkerd's policies write them.

use super::super::Located;
use super::super::host;
use super::super::report::Report;

/// Whom a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// `*`: whoever has an identity.
    Any,
    /// A DNS-like name, exactly: `web.shop.serviceaccount.identity.linkerd.cluster.local`.
    Name(String),
    /// `*.SUFFIX`: every name that ends in `.SUFFIX`; without the dot.
    Suffix(String),
    /// A SPIFFE ID, exactly.
    Spiffe(String),
    /// A service account; `None`: of the policy's namespace.
    ServiceAccount {
        /// Its namespace.
        namespace: Option<String>,
        /// Its name.
        name: String,
    },
    /// Every service account of a namespace.
    Namespace(String),
}

/// Reads one of `identities` as Linkerd does: `*` is a wildcard alone, or before the first dot.
pub(super) fn identity(written: &Located<String>, field: &str, report: &Report) -> Option<Identity> {
    let text = written.value.as_str();
    if text.starts_with("spiffe://") {
        return match is_spiffe_id(text) {
            true => Some(Identity::Spiffe(text.to_owned())),
            false => {
                let help = "spiffe://TRUST-DOMAIN/PATH, without wildcards";
                report.error_with_help(&written.at, field, "not a SPIFFE ID", help);
                None
            }
        };
    }
    let (wildcard, rest) = match text.strip_prefix("*.") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    match (text, host::is_dns_name(rest) && !rest.contains('*')) {
        ("*", _) => Some(Identity::Any),
        (_, true) if wildcard => Some(Identity::Suffix(rest.to_ascii_lowercase())),
        (_, true) => Some(Identity::Name(rest.to_ascii_lowercase())),
        _ => {
            let help = "a name such as web.shop.serviceaccount.identity.linkerd.cluster.local, \"*\" alone, or \"*.\" before its end";
            report.error_with_help(&written.at, field, "not an identity", help);
            None
        }
    }
}

/// SPIFFE-ID §2: a trust domain, and a path of segments that are not empty.
fn is_spiffe_id(text: &str) -> bool {
    let Some((domain, path)) = text.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let of_domain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    let of_path = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let is_segment = |it: &str| !matches!(it, "" | "." | "..") && it.bytes().all(of_path);
    !domain.is_empty() && domain.bytes().all(of_domain) && path.split('/').all(is_segment) && text.len() <= 2048
}
