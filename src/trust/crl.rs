//! Certificate revocation lists (RFC 5280 §5), one for each intermediate.
//!
//! Envoy takes a list that it cannot read, and then refuses every peer. So a list is read back before anybody sees it.

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

use super::authority::Authority;
use super::certificate::pem_block;
use super::{CrlRecord, RevocationRecord, Serial, TrustError};

/// What a list says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// The revoked certificates, sorted.
    pub(super) serials: Vec<Serial>,
    pub(super) this_update: OffsetDateTime,
    pub(super) next_update: OffsetDateTime,
}

/// Signs a list of these certificates, all of which the intermediate has signed.
pub(super) fn sign(
    signer: &Authority,
    revoked: &[RevocationRecord],
    number: u32,
    (this_update, next_update): (OffsetDateTime, OffsetDateTime),
) -> Result<CrlRecord, TrustError> {
    let entry = |it: &RevocationRecord| RevokedCertParams {
        serial_number: it.certificate.serial.to_rcgen(),
        revocation_time: it.revoked_at,
        reason_code: Some(RevocationReason::Unspecified),
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update,
        next_update,
        crl_number: SerialNumber::from(u64::from(number)),
        issuing_distribution_point: None,
        revoked_certs: revoked.iter().map(entry).collect(),
        key_identifier_method: KeyIdMethod::PreSpecified(signer.key_id.clone()),
    };
    let list = params.signed_by(&signer.signs()?.issuer).map_err(|error| unusable(signer, &error))?;
    let record = CrlRecord { issuer: signer.info.serial.clone(), number, der: list.der().to_vec() };
    let mut wanted: Vec<_> = revoked.iter().map(|it| it.certificate.serial.clone()).collect();
    wanted.sort();
    match read(signer, &record.der)?.serials == wanted {
        true => Ok(record),
        false => Err(unusable(signer, &"it does not say what it should")),
    }
}

/// Reads a list, and refuses one that is not the intermediate's.
pub(super) fn read(signer: &Authority, der: &[u8]) -> Result<Facts, TrustError> {
    let refused = |reason: &str| unusable(signer, &reason);
    let (rest, list) = CertificateRevocationList::from_der(der).map_err(|error| unusable(signer, &error))?;
    if !rest.is_empty() {
        return Err(refused("there are bytes after its end"));
    }
    let (_, issuer) = X509Certificate::from_der(&signer.der).map_err(|error| unusable(signer, &error))?;
    if list.issuer().as_raw() != issuer.subject().as_raw() {
        return Err(refused("it is another issuer's"));
    }
    list.verify_signature(issuer.public_key()).map_err(|_| refused("its signature is not the issuer's"))?;
    let next_update = list.next_update().ok_or_else(|| refused("it does not say when the next one comes"))?;
    let mut serials: Vec<_> = list.iter_revoked_certificates().map(|it| Serial::from_der(it.raw_serial())).collect();
    serials.sort();
    Ok(Facts { serials, this_update: list.last_update().to_datetime(), next_update: next_update.to_datetime() })
}

/// As PEM (RFC 7468 §6).
pub(super) fn pem_of(record: &CrlRecord) -> String {
    pem_block("X509 CRL", &record.der)
}

fn unusable(signer: &Authority, reason: &dyn std::fmt::Display) -> TrustError {
    TrustError::material(format!("the revocation list of {}", signer.info.subject), reason)
}
