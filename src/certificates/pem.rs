//! PEM (RFC 7468).

use rustls_pki_types::CertificateDer;

pub(super) use crate::trust::pem_block as block;

/// Certificates, one behind the other.
pub(super) fn chain<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> Vec<u8> {
    certificates.into_iter().map(|der| block("CERTIFICATE", der)).collect::<String>().into_bytes()
}
