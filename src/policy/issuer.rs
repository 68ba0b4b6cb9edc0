//! cert-manager's `Issuer` and `ClusterIssuer` (`cert-manager.io/v1`): who signs Certificates.

use serde::Deserialize;

use super::report::Report;
use super::{Located, Origin, host};

/// The spec of an `Issuer` or `ClusterIssuer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Issuer {
    /// `ca`: an authority in a Secret signs.
    Ca(CaIssuer),
    /// `selfSigned`: each certificate signs itself.
    SelfSigned {
        /// `crlDistributionPoints`: URLs of revocation lists, written into each certificate.
        crl_distribution_points: Vec<String>,
    },
}

/// `spec.ca`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaIssuer {
    /// `secretName`: an Issuer's is in its own namespace, a ClusterIssuer's in the cluster resource namespace.
    pub secret_name: Located<String>,
    /// `crlDistributionPoints`: URLs of revocation lists, written into each certificate (RFC 5280 §4.2.1.13).
    pub crl_distribution_points: Vec<String>,
    /// `ocspServers`: URLs, written into each certificate (RFC 5280 §4.2.2.1).
    pub ocsp_servers: Vec<String>,
    /// `issuingCertificateURLs`: where the authority's certificate is, written into each certificate (RFC 5280 §4.2.2.1).
    pub issuing_certificate_urls: Vec<String>,
}

/// In place of one that is refused.
const NONE: Issuer = Issuer::SelfSigned { crl_distribution_points: Vec::new() };

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Raw {
    ca: Option<Located<RawCa>>,
    self_signed: Option<Located<RawSelfSigned>>,
    acme: Option<Located<serde::de::IgnoredAny>>,
    vault: Option<Located<serde::de::IgnoredAny>>,
    venafi: Option<Located<serde::de::IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCa {
    secret_name: Located<String>,
    #[serde(default)]
    crl_distribution_points: Vec<Located<String>>,
    #[serde(default)]
    ocsp_servers: Vec<Located<String>>,
    #[serde(default, rename = "issuingCertificateURLs")]
    issuing_certificate_urls: Vec<Located<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSelfSigned {
    crl_distribution_points: Vec<Located<String>>,
}

/// Checks an issuer: exactly one type, and one that is served here.
pub(super) fn check(raw: Raw, at: &Origin, report: &Report) -> Issuer {
    let foreign = [("acme", raw.acme), ("vault", raw.vault), ("venafi", raw.venafi)];
    let mut refused = false;
    for (name, written) in foreign.into_iter().filter_map(|(name, it)| Some((name, it?))) {
        let help = "supported here are ca and selfSigned; leave Certificates of other issuers to cert-manager, and give their Secrets";
        report.error_with_help(&written.at, &format!("spec.{name}"), "this issuer type is not served", help);
        refused = true;
    }
    match (raw.ca, raw.self_signed) {
        (Some(_), Some(second)) => {
            let message = "an issuer has one type, and this one has both ca and selfSigned";
            report.error_with_help(&second.at, "spec.selfSigned", message, "remove one of the two");
            NONE
        }
        (Some(ca), None) => {
            let RawCa { secret_name, crl_distribution_points, ocsp_servers, issuing_certificate_urls } = ca.value;
            secret(&secret_name, "spec.ca.secretName", report);
            Issuer::Ca(CaIssuer {
                secret_name,
                crl_distribution_points: urls(crl_distribution_points, "spec.ca.crlDistributionPoints", report),
                ocsp_servers: urls(ocsp_servers, "spec.ca.ocspServers", report),
                issuing_certificate_urls: urls(issuing_certificate_urls, "spec.ca.issuingCertificateURLs", report),
            })
        }
        (None, Some(written)) => Issuer::SelfSigned {
            crl_distribution_points: urls(
                written.value.crl_distribution_points,
                "spec.selfSigned.crlDistributionPoints",
                report,
            ),
        },
        (None, None) => {
            if !refused {
                report.error_with_help(at, "spec", "the issuer has no type", "ca or selfSigned");
            }
            NONE
        }
    }
}

/// Checks the name of a Secret.
pub(super) fn secret(name: &Located<String>, field: &str, report: &Report) {
    if !host::is_object_name(&name.value) {
        let help = "lower-case letters, digits, \"-\" and \".\", 253 at most";
        report.error_with_help(&name.at, field, "not a valid name of a Secret", help);
    }
}

fn urls(written: Vec<Located<String>>, field: &str, report: &Report) -> Vec<String> {
    // They become IA5Strings in certificates (RFC 5280 §4.2.1.13), which others read.
    let is_url = |url: &str| {
        let rest = ["http://", "https://", "ldap://", "ldaps://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        rest.is_some_and(|rest| !rest.is_empty()) && url.bytes().all(|byte| byte.is_ascii_graphic())
    };
    for (index, url) in written.iter().enumerate().filter(|(_, url)| !is_url(&url.value)) {
        let help = "http://…, https://…, ldap://… or ldaps://…";
        report.error_with_help(&url.at, &format!("{field}[{index}]"), "not a URL", help);
    }
    written.into_iter().map(|url| url.value).collect()
}
