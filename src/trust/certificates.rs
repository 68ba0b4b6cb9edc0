//! What the controller of operators' Certificates keeps in the store.

use super::{CertificateRecord, Trust, TrustError};

impl Trust {
    /// Every Certificate that is kept.
    pub fn certificates(&self) -> Result<Vec<CertificateRecord>, TrustError> {
        Ok(self.store.certificates()?)
    }

    /// Keeps these, each in place of an older one of its name, and forgets those (`namespace/name`): all or none.
    pub fn keep_certificates(&self, keep: &[CertificateRecord], forget: &[String]) -> Result<(), TrustError> {
        Ok(self.store.save_certificates(keep, forget)?)
    }
}
