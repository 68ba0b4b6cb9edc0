//! What the Certificates of a case come to: how they stand, and what is in their Secrets.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use countersign::certificates::{CertificateStatus, Controller};
use countersign::policy::PolicySet;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::datetime;
use x509_parser::extensions::{GeneralName, GeneralSubtree, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

/// When they are issued.
pub const NOW: OffsetDateTime = datetime!(2027-01-01 00:00 UTC);

/// Issuers and Certificates, and what is made of them.
#[derive(Default, Serialize)]
pub struct Certificates {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    issuers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    certificates: BTreeMap<String, Value>,
}

impl Certificates {
    /// Of the set at [`NOW`], and the set with the Secrets that were issued. `shown`: whose Certificates, by `NAMESPACE/NAME`; `None`: all.
    pub fn of(set: &Arc<PolicySet>, shown: Option<&[String]>) -> (Self, Arc<PolicySet>) {
        let mut controller = Controller::default();
        controller.pass(set, NOW);
        let issuers = controller.issuers(set, NOW).into_iter().map(|it| {
            let name =
                [it.namespace, it.name].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
            (format!("{} {name}", it.kind), it.ready.map_or_else(|error| error.to_string(), |()| "Ready".to_owned()))
        });
        let with_secrets = controller.with_secrets(set);
        let is_shown =
            |it: &CertificateStatus| shown.is_none_or(|names| names.contains(&format!("{}/{}", it.namespace, it.name)));
        let certificates = controller.statuses(set).into_iter().filter(is_shown).map(|it| {
            let mut secrets = with_secrets.secrets.iter();
            let secret = secrets.find(|secret| secret.meta.namespace == it.namespace && secret.meta.name == it.secret);
            let secret = secret.map(|secret| {
                let data: BTreeMap<&str, Value> =
                    secret.spec.data.iter().map(|(name, value)| (name.as_str(), entry(name, value))).collect();
                json!({
                    "type": secret.spec.kind, "annotations": secret.meta.annotations,
                    "labels": secret.meta.labels, "data": data,
                })
            });
            (format!("{}/{}", it.namespace, it.name), json!({ "status": status(&it), "secret": secret }))
        });
        (Self { issuers: issuers.collect(), certificates: certificates.collect() }, with_secrets)
    }
}

/// Without the serial number, which is another one each time.
fn status(it: &CertificateStatus) -> Value {
    let written = |at: Option<OffsetDateTime>| at.and_then(|at| at.format(&Rfc3339).ok());
    let conditions: BTreeMap<_, _> = it
        .conditions
        .iter()
        .map(|it| (it.r#type.as_str(), format!("{} {}: {}", it.status, it.reason, it.message)))
        .collect();
    json!({
        "conditions": conditions, "revision": it.revision, "failures": it.failures,
        "notBefore": written(it.not_before), "notAfter": written(it.not_after), "renewalTime": written(it.renewal_time),
    })
}

/// What an entry of a Secret holds: certificates field by field, and of keys their form.
fn entry(name: &str, value: &[u8]) -> Value {
    match name {
        "key.der" => {
            json!(format!("DER: {}", if value.first() == Some(&0x30) { "a sequence" } else { "something else" }))
        }
        _ => {
            let labels = String::from_utf8_lossy(value);
            let labels = labels.lines().filter_map(|line| line.strip_prefix("-----BEGIN ")?.strip_suffix("-----"));
            let mut certificates = CertificateDer::pem_slice_iter(value).map(Result::unwrap);
            let blocks = labels.map(|label| match label {
                "CERTIFICATE" => describe(&certificates.next().unwrap()),
                key => json!(key),
            });
            Value::Array(blocks.collect())
        }
    }
}

fn describe(der: &CertificateDer<'_>) -> Value {
    let (_, it) = X509Certificate::from_der(der).unwrap();
    let mut shown = BTreeMap::from([
        ("subject".to_owned(), json!(it.subject().to_string())),
        ("issuer".to_owned(), json!(it.issuer().to_string())),
        ("key".to_owned(), json!(key(&it))),
    ]);
    for extension in it.extensions() {
        let critical = if extension.critical { " (critical)" } else { "" };
        if let Some((name, value)) = field(extension.parsed_extension()) {
            shown.insert(format!("{name}{critical}"), value);
        }
    }
    json!(shown)
}

/// An extension by RFC 5280's name. `None`: identifiers of keys, which are others each time.
fn field(extension: &ParsedExtension<'_>) -> Option<(&'static str, Value)> {
    let names = |names: &[GeneralName<'_>]| json!(names.iter().map(name).collect::<Vec<_>>());
    Some(match extension {
        ParsedExtension::BasicConstraints(it) => {
            ("basicConstraints", json!({ "cA": it.ca, "pathLen": it.path_len_constraint }))
        }
        ParsedExtension::KeyUsage(it) => ("keyUsage", json!(it.to_string())),
        ParsedExtension::ExtendedKeyUsage(it) => {
            let known = [
                (it.any, "any"),
                (it.server_auth, "serverAuth"),
                (it.client_auth, "clientAuth"),
                (it.code_signing, "codeSigning"),
                (it.email_protection, "emailProtection"),
                (it.time_stamping, "timeStamping"),
                (it.ocsp_signing, "OCSPSigning"),
            ];
            let known = known.into_iter().filter(|(is, _)| *is).map(|(_, name)| name.to_owned());
            ("extKeyUsage", json!(known.chain(it.other.iter().map(ToString::to_string)).collect::<Vec<_>>()))
        }
        ParsedExtension::SubjectAlternativeName(it) => ("subjectAltName", names(&it.general_names)),
        ParsedExtension::NameConstraints(it) => {
            let below = |it: &Option<Vec<GeneralSubtree<'_>>>| {
                it.iter().flatten().map(|subtree| name(&subtree.base)).collect::<Vec<_>>()
            };
            let (permitted, excluded) = (below(&it.permitted_subtrees), below(&it.excluded_subtrees));
            ("nameConstraints", json!({ "permitted": permitted, "excluded": excluded }))
        }
        ParsedExtension::CRLDistributionPoints(it) => {
            let points = it.points.iter().map(|point| format!("{:?}", point.distribution_point));
            ("cRLDistributionPoints", json!(points.collect::<Vec<_>>()))
        }
        ParsedExtension::AuthorityInfoAccess(it) => {
            let access = it.accessdescs.iter().map(|it| format!("{}: {}", it.access_method, name(&it.access_location)));
            ("authorityInfoAccess", json!(access.collect::<Vec<_>>()))
        }
        _ => return None,
    })
}

fn name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => format!("DNS:{name}"),
        GeneralName::URI(name) => format!("URI:{name}"),
        GeneralName::RFC822Name(name) => format!("email:{name}"),
        GeneralName::IPAddress(bytes) => {
            let address = |bytes: &[u8]| match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
                (Ok(four), _) => IpAddr::from(four).to_string(),
                (_, Ok(sixteen)) => IpAddr::from(sixteen).to_string(),
                _ => format!("{bytes:?}"),
            };
            // A range is an address, and a mask of the same length (RFC 5280 §4.2.1.10).
            match bytes.len() {
                8 | 32 => {
                    let (from, mask) = bytes.split_at(bytes.len() / 2);
                    format!("IP:{}/{}", address(from), address(mask))
                }
                _ => format!("IP:{}", address(bytes)),
            }
        }
        other => format!("{other:?}"),
    }
}

fn key(certificate: &X509Certificate<'_>) -> String {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
        // An uncompressed point: two coordinates behind a byte. The curve of 521 bits has 66 bytes for each.
        Ok(PublicKey::EC(point)) => format!("EC, a point of {} bytes", point.data().len()),
        _ => certificate.public_key().algorithm.algorithm.to_string(),
    }
}
