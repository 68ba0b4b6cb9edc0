//! What a workload's certificate says of it: one identity, and DNS names beside it.

use std::time::Duration;

use rcgen::SanType;

use super::TrustError;
use crate::identity::SpiffeId;

/// The names in a leaf. The SPIFFE ID is the one URI (X509-SVID §2), and it alone decides what its holder may have; DNS names are for
/// peers that look for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafNames {
    id: SpiffeId,
    dns: Vec<String>,
    lifetime: Option<Duration>,
}

impl LeafNames {
    /// This identity, and these DNS names, in whatever order. They are for the caller to check: what cannot stand in a certificate fails
    /// when it is issued.
    pub fn new(id: SpiffeId, dns: impl IntoIterator<Item = String>) -> Self {
        let mut dns: Vec<String> = dns.into_iter().collect();
        dns.sort();
        dns.dedup();
        Self { id, dns, lifetime: None }
    }

    /// The same in a certificate that lives no longer than this.
    #[must_use]
    pub fn within(mut self, lifetime: Option<Duration>) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// How long a certificate under these names lives at most.
    pub fn lifetime(&self) -> Option<Duration> {
        self.lifetime
    }

    /// The identity.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The DNS names, in order, each once.
    pub fn dns(&self) -> &[String] {
        &self.dns
    }

    /// The DNS names as they stand in a certificate.
    pub(super) fn beside(&self) -> Result<Vec<SanType>, TrustError> {
        let name = |name: &String| {
            let written = name.as_str().try_into().map_err(|error| TrustError::material(name.as_str(), error))?;
            Ok(SanType::DnsName(written))
        };
        self.dns.iter().map(name).collect()
    }
}

impl From<SpiffeId> for LeafNames {
    fn from(id: SpiffeId) -> Self {
        Self::new(id, [])
    }
}

impl From<&SpiffeId> for LeafNames {
    fn from(id: &SpiffeId) -> Self {
        id.clone().into()
    }
}
