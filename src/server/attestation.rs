//! Nodes that are known by a certificate of another authority: SPIRE's node attestor `x509pop`.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use tracing::warn;

use super::ServerError;
use super::config::Config;
use crate::enrollment::x509pop::{AttestationError, NodeAuthorities, NodeCertificate};
use crate::identity::{SpiffeId, TrustDomain};
use crate::policy::{NodeAttestor, NodeFacts, X509Pop};

/// The authorities of nodes as the `server.conf` names them; none where it has no `x509pop`.
#[derive(Clone, Debug, Default)]
pub(super) struct Attestor(Option<Arc<X509Pop>>);

impl Attestor {
    /// Looks at the files once, so that a mistake is told of at the start: an error where `--spire-config` has named the file that names
    /// them, as in SPIRE.
    pub(super) fn new(config: &Config, now: OffsetDateTime) -> Result<Self, ServerError> {
        let mut all = config.spire.iter().flat_map(|spire| &spire.attestors);
        let found = all.find_map(|it| match &it.value {
            NodeAttestor::X509Pop(pop) => Some((pop.clone(), it.at.clone())),
            NodeAttestor::JoinToken | NodeAttestor::K8sPsat => None,
        });
        let Some((pop, at)) = found else { return Ok(Self::default()) };
        match read(&pop, now) {
            Err(error) if config.spire_is_named => {
                return Err(ServerError::Attestor { at, message: error.to_string() });
            }
            Err(error) => warn!("{at}: NodeAttestor \"x509pop\" lets nobody in for now: {error}"),
            Ok(_) => {}
        }
        Ok(Self(Some(Arc::new(pop))))
    }

    /// The node that this chain is of. The files are read each time: who is taken out of them, or revoked in them, is out at once.
    pub(super) fn node(
        &self,
        chain: Vec<CertificateDer<'static>>,
        now: OffsetDateTime,
    ) -> Result<NodeCertificate, AttestationError> {
        let none = || AttestationError::Certificate("this server has no NodeAttestor \"x509pop\"".to_owned());
        read(self.0.as_deref().ok_or_else(none)?, now)?.verify(chain, now)
    }

    /// What SPIRE would call the node.
    pub(super) fn agent_id(&self, trust_domain: &TrustDomain, node: &NodeCertificate) -> Result<SpiffeId, String> {
        let NodeCertificate { fingerprint, serial, common_name, .. } = node;
        let path = self.0.as_ref().map(|pop| pop.agent_path.clone()).unwrap_or_default();
        path.agent_id(trust_domain, &NodeFacts { fingerprint, serial, common_name })
    }
}

fn read(pop: &X509Pop, now: OffsetDateTime) -> Result<NodeAuthorities, AttestationError> {
    let mut authorities = NodeAuthorities::default();
    for file in &pop.bundles {
        let unreadable = |error: std::io::Error| AttestationError::Authorities {
            file: file.value.clone(),
            reason: error.to_string(),
        };
        authorities.add(&file.value, &std::fs::read(&file.value).map_err(unreadable)?, now)?;
    }
    Ok(authorities)
}
