//! `subject` of a cert-manager `Certificate`: its name, besides the common name.

use serde::{Deserialize, Serialize};

use super::Located;
use super::report::Report;

/// `spec.subject`. Each list becomes one multi-valued part of the name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CertificateSubject {
    /// `countries` (C): two letters each.
    pub countries: Vec<String>,
    /// `organizations` (O).
    pub organizations: Vec<String>,
    /// `organizationalUnits` (OU).
    pub organizational_units: Vec<String>,
    /// `localities` (L).
    pub localities: Vec<String>,
    /// `provinces` (ST).
    pub provinces: Vec<String>,
    /// `streetAddresses` (STREET).
    pub street_addresses: Vec<String>,
    /// `postalCodes`.
    pub postal_codes: Vec<String>,
    /// `serialNumber`: of whoever is named, not of the certificate.
    pub serial_number: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RawSubject {
    countries: Vec<Located<String>>,
    organizations: Vec<Located<String>>,
    organizational_units: Vec<Located<String>>,
    localities: Vec<Located<String>>,
    provinces: Vec<Located<String>>,
    street_addresses: Vec<Located<String>>,
    postal_codes: Vec<Located<String>>,
    serial_number: Option<Located<String>>,
}

/// Checks what X.509 holds a name to: no part is empty (RFC 5280, appendix A.1).
pub(super) fn check(raw: RawSubject, report: &Report) -> CertificateSubject {
    let list = |written: Vec<Located<String>>, name: &str| {
        for (index, part) in written.iter().enumerate().filter(|(_, part)| part.value.is_empty()) {
            report.error(&part.at, &format!("spec.subject.{name}[{index}]"), "a part of a name is not empty");
        }
        written.into_iter().map(|part| part.value).collect()
    };
    CertificateSubject {
        countries: list(raw.countries, "countries"),
        organizations: list(raw.organizations, "organizations"),
        organizational_units: list(raw.organizational_units, "organizationalUnits"),
        localities: list(raw.localities, "localities"),
        provinces: list(raw.provinces, "provinces"),
        street_addresses: list(raw.street_addresses, "streetAddresses"),
        postal_codes: list(raw.postal_codes, "postalCodes"),
        serial_number: raw.serial_number.map(|it| it.value).filter(|it| !it.is_empty()),
    }
}
