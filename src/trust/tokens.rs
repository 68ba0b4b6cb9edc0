//! Join tokens: what lets a node in that has no certificate yet, once.

use std::time::Duration;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::authority::after;
use super::{IssuedChain, JoinTokenRecord, LeafNames, Trust, TrustError};
use crate::identity::SpiffeId;

impl Trust {
    /// Keeps a token for the workload `namespace/name` under this identity. Its secret is known by its digest only: no second look at
    /// the store shows it.
    pub fn add_join_token(
        &self,
        secret: &str,
        workload: &str,
        id: &SpiffeId,
        ttl: Duration,
        now: OffsetDateTime,
    ) -> Result<JoinTokenRecord, TrustError> {
        let digest = digest(secret);
        let record = JoinTokenRecord {
            id: digest[..6].iter().map(|byte| format!("{byte:02x}")).collect(),
            digest,
            workload: workload.to_owned(),
            identity: id.to_string(),
            created_at: now,
            expires_at: after(now, ttl, "a join token")?,
            used_at: None,
        };
        self.store.add_join_token(&record)?;
        Ok(record)
    }

    /// The token with this secret, if it could be used now.
    pub fn usable_join_token(&self, secret: &str, now: OffsetDateTime) -> Result<JoinTokenRecord, TrustError> {
        let found = self.store.find_join_token(&digest(secret))?;
        found.filter(|token| token.used_at.is_none() && now < token.expires_at).ok_or(TrustError::JoinToken)
    }

    /// Spends a token for a certificate with these DNS names beside the token's identity, which lives no longer than `lifetime`. That it is
    /// spent is durable before anybody sees the certificate; a request that cannot be signed spends nothing.
    pub fn join(
        &self,
        secret: &str,
        csr_pem: &str,
        dns_names: &[String],
        lifetime: Option<Duration>,
        now: OffsetDateTime,
    ) -> Result<(JoinTokenRecord, IssuedChain), TrustError> {
        let token = self.usable_join_token(secret, now)?;
        let id = token.identity.parse().map_err(|error| TrustError::material("the join token's identity", error))?;
        let names = LeafNames::new(id, dns_names.iter().cloned()).within(lifetime);
        let issued = self.enroll(csr_pem, names, None, None, now)?;
        match self.store.consume_join_token(&token.digest, now)? {
            true => Ok((token, issued)),
            false => Err(TrustError::JoinToken),
        }
    }

    /// Every token, the oldest first.
    pub fn join_tokens(&self) -> Result<Vec<JoinTokenRecord>, TrustError> {
        Ok(self.store.join_tokens()?)
    }

    /// Makes a token useless. Whether there was one of this id.
    pub fn revoke_join_token(&self, id: &str) -> Result<bool, TrustError> {
        Ok(self.store.remove_join_token(id)?)
    }
}

fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}
