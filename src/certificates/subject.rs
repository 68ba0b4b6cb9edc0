//! A certificate's subject: its distinguished name in DER (RFC 5280 §4.1.2.6).

use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, construct_der};

use crate::policy::{Certificate, CertificateSubject};

// id-at (X.520): 2.5.4 and the attribute's number.
const COMMON_NAME: u64 = 3;
const SERIAL_NUMBER: u64 = 5;
const COUNTRY: u64 = 6;
const LOCALITY: u64 = 7;
const PROVINCE: u64 = 8;
const STREET: u64 = 9;
const ORGANIZATION: u64 = 10;
const ORGANIZATIONAL_UNIT: u64 = 11;
const POSTAL_CODE: u64 = 17;

/// The name in the order in which cert-manager, which is to say Go, writes its parts: what has several values is one part with all of them.
pub(super) fn name(spec: &Certificate) -> Vec<u8> {
    let CertificateSubject {
        countries,
        organizations,
        organizational_units,
        localities,
        provinces,
        street_addresses,
        postal_codes,
        serial_number,
    } = &spec.subject;
    let parts: [(u64, &[String]); 9] = [
        (COUNTRY, countries),
        (ORGANIZATION, organizations),
        (ORGANIZATIONAL_UNIT, organizational_units),
        (LOCALITY, localities),
        (PROVINCE, provinces),
        (STREET, street_addresses),
        (POSTAL_CODE, postal_codes),
        (COMMON_NAME, spec.common_name.as_slice()),
        (SERIAL_NUMBER, serial_number.as_slice()),
    ];
    construct_der(|writer| {
        writer.write_sequence(|writer| {
            for (attribute, values) in parts.into_iter().filter(|(_, values)| !values.is_empty()) {
                writer.next().write_set_of(|writer| {
                    for value in values {
                        writer.next().write_sequence(|writer| {
                            writer.next().write_oid(&ObjectIdentifier::from_slice(&[2, 5, 4, attribute]));
                            text(writer.next(), value);
                        });
                    }
                });
            }
        });
    })
}

/// RFC 5280 §4.1.2.4: what fits into a PrintableString is one, everything else UTF-8.
fn text(writer: DERWriter<'_>, value: &str) {
    let printable = |byte: u8| byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte);
    match value.bytes().all(printable) {
        true => writer.write_printable_string(value),
        false => writer.write_utf8_string(value),
    }
}
