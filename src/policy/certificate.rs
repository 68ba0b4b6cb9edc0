//! cert-manager's `Certificate` (`cert-manager.io/v1`): a certificate that is to be in a Secret, always valid.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::certificate_names::{self, CertificateNames, NameConstraints, RawNameConstraints};
use super::certificate_subject::{self, CertificateSubject, RawSubject};
use super::fields::{Entries, Unserved, Unused};
use super::private_key::{self, PrivateKey};
use super::report::Report;
use super::{KeyUsage, Located, Origin, go_duration, host, issuer};

/// The shortest `duration`: an hour, as in cert-manager.
const MINIMUM_DURATION: Duration = Duration::from_secs(3600);
/// The shortest `renewBefore`: five minutes, as in cert-manager.
const MINIMUM_RENEW_BEFORE: Duration = Duration::from_secs(300);
/// `duration` where none is written: 90 days.
const DEFAULT_DURATION: Duration = Duration::from_secs(90 * 24 * 3600);
/// The longest common name (RFC 5280, upper bounds in appendix A.1), in bytes.
const MAX_COMMON_NAME: usize = 64;
/// cert-manager's own annotations on Secrets.
const OWN_ANNOTATIONS: &str = "cert-manager.io/";

/// The spec of a `Certificate`, with cert-manager's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// `secretName`: where the certificate is to be, in the Certificate's namespace.
    pub secret_name: Located<String>,
    /// `secretTemplate`.
    pub secret_template: SecretTemplate,
    /// `issuerRef`.
    pub issuer: Located<IssuerRef>,
    /// `duration`: how long it is to be valid. At least an hour.
    pub duration: Duration,
    /// `renewBefore` or `renewBeforePercentage`.
    pub renew_before: RenewBefore,
    /// `commonName`: at most 64 bytes.
    pub common_name: Option<String>,
    /// `subject`.
    pub subject: CertificateSubject,
    /// `dnsNames`, `ipAddresses`, `uris` and `emailAddresses`.
    pub names: CertificateNames,
    /// `isCA`: whether it may sign others.
    pub is_ca: bool,
    /// `nameConstraints` of an authority.
    pub name_constraints: Option<NameConstraints>,
    /// `usages`; digital signature and key encipherment where none are written.
    pub usages: Vec<KeyUsage>,
    /// `privateKey`.
    pub private_key: PrivateKey,
    /// `additionalOutputFormats`.
    pub output_formats: Vec<OutputFormat>,
}

/// What else the Secret is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretTemplate {
    /// `annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `labels`.
    pub labels: BTreeMap<String, String>,
}

/// Who is to sign.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerRef {
    /// `kind`.
    pub kind: IssuerKind,
    /// `name`.
    pub name: String,
}

/// `issuerRef.kind`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IssuerKind {
    /// An Issuer of the Certificate's own namespace.
    #[default]
    Issuer,
    /// A ClusterIssuer.
    ClusterIssuer,
}

impl IssuerKind {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Issuer => "Issuer",
            Self::ClusterIssuer => "ClusterIssuer",
        }
    }
}

/// When a certificate is renewed, before its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RenewBefore {
    /// Nothing is written: with a third of its life left.
    #[default]
    Third,
    /// `renewBefore`.
    Time(Duration),
    /// `renewBeforePercentage`: with so much of its life left. 1 to 99.
    Percentage(u8),
}

/// `additionalOutputFormats[].type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum OutputFormat {
    /// `key.der`: the key in DER.
    #[serde(rename = "DER")]
    Der,
    /// `tls-combined.pem`: the key, then the chain.
    #[serde(rename = "CombinedPEM")]
    CombinedPem,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "fields that are only known, to warn about or refuse")]
pub(super) struct Raw {
    secret_name: Located<String>,
    issuer_ref: Located<RawIssuerRef>,
    secret_template: Option<RawSecretTemplate>,
    duration: Option<Located<String>>,
    renew_before: Option<Located<String>>,
    renew_before_percentage: Option<Located<i32>>,
    common_name: Option<Located<String>>,
    subject: Option<RawSubject>,
    #[serde(default)]
    dns_names: Vec<Located<String>>,
    #[serde(default)]
    ip_addresses: Vec<Located<String>>,
    #[serde(default)]
    uris: Vec<Located<String>>,
    #[serde(default)]
    email_addresses: Vec<Located<String>>,
    #[serde(default, rename = "isCA")]
    is_ca: bool,
    name_constraints: Option<Located<RawNameConstraints>>,
    usages: Option<Vec<KeyUsage>>,
    private_key: Option<private_key::Raw>,
    #[serde(default)]
    additional_output_formats: Vec<RawOutputFormat>,
    revision_history_limit: Option<Located<i32>>,
    // About the request that cert-manager sends to an issuer elsewhere; there is none here.
    encode_usages_in_request: Option<IgnoredAny>,
    signature_algorithm: Option<Unused>,
    keystores: Option<Unused>,
    // Without these a certificate would lack names that were asked for.
    literal_subject: Option<Unserved>,
    other_names: Option<Unserved>,
}

#[derive(Deserialize)]
struct RawIssuerRef {
    name: Located<String>,
    kind: Option<Located<String>>,
    group: Option<Located<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawSecretTemplate {
    annotations: Entries<String>,
    labels: Entries<String>,
}

#[derive(Deserialize)]
struct RawOutputFormat {
    r#type: OutputFormat,
}

/// Checks what cert-manager's webhook checks, so that what it would refuse is refused here too.
pub(super) fn check(raw: Raw, at: &Origin, report: &Report) -> Certificate {
    issuer::secret(&raw.secret_name, "spec.secretName", report);
    let names = certificate_names::check([raw.dns_names, raw.ip_addresses, raw.uris, raw.email_addresses], report);
    let common_name = raw.common_name.filter(|name| !name.value.is_empty());
    if common_name.is_none() && names.is_empty() {
        let help = "commonName, dnsNames, ipAddresses, uris or emailAddresses";
        report.error_with_help(at, "spec", "the certificate is to have no name", help);
    }
    if let Some(name) = common_name.as_ref().filter(|name| name.value.len() > MAX_COMMON_NAME) {
        let message = format!("{} bytes, and a common name has at most {MAX_COMMON_NAME}", name.value.len());
        report.error_with_help(
            &name.at,
            "spec.commonName",
            message,
            "put the name into dnsNames, and leave commonName out",
        );
    }
    let duration = duration(raw.duration.as_ref(), report);
    let renew_before = renew_before(raw.renew_before, raw.renew_before_percentage, duration, report);
    if let Some(limit) = raw.revision_history_limit.filter(|limit| limit.value < 1) {
        report.error(&limit.at, "spec.revisionHistoryLimit", format!("{} is less than 1", limit.value));
    }
    let name_constraints = raw.name_constraints.map(|constraints| {
        if !raw.is_ca {
            let help = "set isCA, or remove nameConstraints";
            report.error_with_help(&constraints.at, "spec.nameConstraints", "only an authority has them", help);
        }
        certificate_names::constraints(constraints, report)
    });
    let mut usages = raw.usages.unwrap_or_default();
    if usages.is_empty() {
        usages = vec![KeyUsage::DigitalSignature, KeyUsage::KeyEncipherment];
    }
    let mut output_formats: Vec<_> = raw.additional_output_formats.into_iter().map(|format| format.r#type).collect();
    output_formats.sort_unstable();
    output_formats.dedup();
    Certificate {
        secret_name: raw.secret_name,
        secret_template: template(raw.secret_template.unwrap_or_default(), report),
        issuer: issuer_ref(raw.issuer_ref, report),
        duration,
        renew_before,
        common_name: common_name.map(|name| name.value),
        subject: certificate_subject::check(raw.subject.unwrap_or_default(), report),
        names,
        is_ca: raw.is_ca,
        name_constraints,
        usages,
        private_key: private_key::check(raw.private_key.unwrap_or_default(), report),
        output_formats,
    }
}

fn issuer_ref(raw: Located<RawIssuerRef>, report: &Report) -> Located<IssuerRef> {
    let Located { value: raw, at } = raw;
    if !host::is_object_name(&raw.name.value) {
        report.error(&raw.name.at, "spec.issuerRef.name", "not a valid name of an issuer");
    }
    if let Some(group) = raw.group.filter(|group| !matches!(group.value.as_str(), "" | "cert-manager.io")) {
        let help = "issuers of cert-manager.io are served here; leave the field out";
        report.error_with_help(&group.at, "spec.issuerRef.group", "issuers of other groups are not served", help);
    }
    let kind = match raw.kind.as_ref().map(|kind| kind.value.as_str()) {
        None | Some("" | "Issuer") => IssuerKind::Issuer,
        Some("ClusterIssuer") => IssuerKind::ClusterIssuer,
        Some(other) => {
            let help = super::nearest::hint(other, &["Issuer", "ClusterIssuer"]).unwrap_or_default();
            let at = raw.kind.as_ref().map_or(&at, |kind| &kind.at);
            report.error_with_help(at, "spec.issuerRef.kind", "neither Issuer nor ClusterIssuer", &help);
            IssuerKind::Issuer
        }
    };
    Located::new(IssuerRef { kind, name: raw.name.value }, at)
}

fn duration(written: Option<&Located<String>>, report: &Report) -> Duration {
    let field = "spec.duration";
    let Some((written, duration)) = written.and_then(|it| Some((it, go_duration::check(it, field, report)?))) else {
        return DEFAULT_DURATION;
    };
    if duration < MINIMUM_DURATION {
        let message = format!("{} is shorter than an hour, the minimum", go_duration::print(duration));
        report.error(&written.at, field, message);
        return DEFAULT_DURATION;
    }
    duration
}

fn renew_before(
    time: Option<Located<String>>,
    percentage: Option<Located<i32>>,
    duration: Duration,
    report: &Report,
) -> RenewBefore {
    match (time, percentage) {
        (Some(_), Some(percentage)) => {
            let message = "renewBefore and renewBeforePercentage say the same thing in two ways";
            report.error_with_help(&percentage.at, "spec.renewBeforePercentage", message, "remove one of the two");
            RenewBefore::Third
        }
        (Some(written), None) => {
            let field = "spec.renewBefore";
            let Some(time) = go_duration::check(&written, field, report) else { return RenewBefore::Third };
            too_soon_or_too_late(time, duration, &written.at, field, report);
            RenewBefore::Time(time)
        }
        (None, Some(written)) => {
            let field = "spec.renewBeforePercentage";
            let Some(percentage) = u8::try_from(written.value).ok().filter(|it| (1..100).contains(it)) else {
                report.error(&written.at, field, format!("{} is not within 1 to 99", written.value));
                return RenewBefore::Third;
            };
            too_soon_or_too_late(duration * u32::from(percentage) / 100, duration, &written.at, field, report);
            RenewBefore::Percentage(percentage)
        }
        (None, None) => RenewBefore::Third,
    }
}

fn too_soon_or_too_late(time: Duration, duration: Duration, at: &Origin, field: &str, report: &Report) {
    let shown = go_duration::print(time);
    if time < MINIMUM_RENEW_BEFORE {
        report.error(at, field, format!("{shown} before the end is less than five minutes, the minimum"));
    } else if time >= duration {
        let message =
            format!("{shown} before the end is not within the certificate's {}", go_duration::print(duration));
        report.error_with_help(at, field, message, "it would be renewed without end: make it shorter than duration");
    }
}

fn template(raw: RawSecretTemplate, report: &Report) -> SecretTemplate {
    for (key, _) in raw.annotations.0.iter().filter(|(key, _)| key.value.starts_with(OWN_ANNOTATIONS)) {
        let message = format!("annotations {OWN_ANNOTATIONS}… are the controller's own");
        report.error_with_help(&key.at, "spec.secretTemplate.annotations", message, "remove it");
    }
    SecretTemplate { annotations: raw.annotations.into_map(), labels: raw.labels.into_map() }
}

impl Certificate {
    /// How long before its end a certificate is renewed whose whole life is `lifetime`. Where that came out shorter than what was asked for,
    /// a third of it: `renewBefore` was meant for the longer one, and could be all of the shorter.
    pub fn renew_before(&self, lifetime: Duration) -> Duration {
        match self.renew_before {
            RenewBefore::Time(time) if lifetime >= self.duration => time,
            RenewBefore::Percentage(percentage) => lifetime * u32::from(percentage) / 100,
            RenewBefore::Time(_) | RenewBefore::Third => lifetime / 3,
        }
    }

    /// Its IP addresses, which are part of its names.
    pub fn ip_addresses(&self) -> &[IpAddr] {
        &self.names.ip
    }
}
