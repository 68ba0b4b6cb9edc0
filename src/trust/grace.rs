//! Client certificates that have ended a short while ago.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::certificate::read;

/// Verifies a certificate that ended within the grace as of its last second: the chain, the usage and the key have to be as good as any
/// other's. What such a client may do is decided by whoever serves it.
#[derive(Debug)]
pub(super) struct Graceful {
    chains: Arc<dyn ClientCertVerifier>,
    grace: Duration,
}

impl Graceful {
    pub(super) fn new(chains: Arc<dyn ClientCertVerifier>, grace: Duration) -> Self {
        Self { chains, grace }
    }

    /// The certificate's last second, if that was a short while ago.
    fn just_ended(&self, leaf: &CertificateDer<'_>, now: UnixTime) -> Option<UnixTime> {
        let end = u64::try_from(read(leaf).ok()?.not_after.unix_timestamp()).ok()?;
        let since = now.as_secs().checked_sub(end)?;
        (0 < since && since <= self.grace.as_secs()).then(|| UnixTime::since_unix_epoch(Duration::from_secs(end)))
    }
}

impl ClientCertVerifier for Graceful {
    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chains.verify_client_cert(leaf, intermediates, now);
        match (&verified, self.just_ended(leaf, now)) {
            (
                Err(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })),
                Some(end),
            ) => self.chains.verify_client_cert(leaf, intermediates, end),
            _ => verified,
        }
    }

    fn offer_client_auth(&self) -> bool {
        self.chains.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chains.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}
