//! Certificates that are no longer to be trusted.

use std::collections::HashSet;
use std::sync::Arc;

use tracing::info;

use super::super::blocking;
use super::{ServerBackend, internal, rfc3339};
use crate::admin::Failure;
use crate::admin::api::{RevokeReport, RevokeRequest, RevokedCertificate};
use crate::trust::{self, Revoke, Serial, TrustError};

impl ServerBackend {
    /// Revokes, and ends the connections that were opened with what is revoked.
    pub(super) async fn revoke_certificates(&self, request: RevokeRequest) -> Result<RevokeReport, Failure> {
        let what = match request.target.parse() {
            Ok(serial) => Revoke::Serial(serial),
            Err(_) => Revoke::Identity(request.target.parse().map_err(|error| {
                let help = "a serial number is 1 to 40 hexadecimal digits, an identity is spiffe://DOMAIN/ns/NAMESPACE/sa/NAME";
                Failure::Invalid(format!("neither a serial number nor an identity: {error}"), help.to_owned())
            })?),
        };
        let (proxies, now) = (self.proxies.clone(), (self.clock)());
        // A caller who goes away does not stop it between the books and the connections.
        let done = tokio::spawn(async move {
            let trust = Arc::clone(&proxies.trust);
            let revoked = blocking(move || trust.revoke(&what, now)).await?;
            let serials: HashSet<Serial> = revoked.iter().map(|it| it.certificate.serial.clone()).collect();
            let ended = proxies.peers.end(|entry| serials.contains(&Serial::from_der(&entry.certificate.serial)));
            proxies.changed.notify_one();
            Ok::<_, TrustError>((revoked, ended))
        });
        let (revoked, connections_ended) = done.await.map_err(internal)?.map_err(|error| match error {
            TrustError::NotIssued(_) => {
                Failure::NotFound(error.to_string(), "countersign secrets lists what proxies hold".to_owned())
            }
            error => internal(error),
        })?;
        for it in &revoked {
            info!(serial = %it.certificate.serial, identity = %it.certificate.identity, "revoked");
        }
        let revoked = revoked.iter().map(revoked_certificate).collect();
        let lists = self.proxies.trust.bundle().crls().is_some() && self.proxies.roots().without_lists().is_none();
        Ok(RevokeReport { revoked, connections_ended, lists })
    }

    /// What is revoked and has not expired.
    pub(super) fn revoked(&self) -> Vec<RevokedCertificate> {
        self.proxies.trust.revocations().iter().map(revoked_certificate).collect()
    }
}

fn revoked_certificate(it: &trust::RevocationRecord) -> RevokedCertificate {
    RevokedCertificate {
        serial: it.certificate.serial.to_string(),
        identity: it.certificate.identity.clone(),
        not_after: rfc3339(it.certificate.not_after),
        revoked_at: rfc3339(it.revoked_at),
    }
}
