//! What is signed for nodes: a new certificate for whoever has one and is still in the policy, a first one for a join token, or for a
//! certificate of an authority of nodes.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use tonic::Status;
use tracing::{info, warn};

use super::attestation::Attestor;
use super::blocking;
use super::notices::{Notice, Notices};
use super::proxies::Proxies;
use crate::enrollment::v1::AttestedRequest;
use crate::enrollment::x509pop::{AttestationError, Challenge, NodeCertificate};
use crate::enrollment::{Enroller, Joined};
use crate::identity::{PeerCertificate, SpiffeId};
use crate::mesh::{Mesh, Workload, WorkloadKey};
use crate::trust::{self, IssuedChain, LeafNames, Serial, TrustError};

/// What is signed for nodes.
pub(super) struct Enrolling {
    pub(super) proxies: Proxies,
    pub(super) attestor: Attestor,
}

impl Enroller for Enrolling {
    async fn renew(
        &self,
        id: SpiffeId,
        certificate: Option<PeerCertificate>,
        csr: String,
        lifetime: Option<Duration>,
    ) -> Result<Vec<String>, Status> {
        let model = self.proxies.model.load_full().ok_or_else(no_policy)?;
        // Who is no longer in the policy keeps what it has, and gets nothing new.
        let Some(names) = names_of(&model.mesh, &id) else {
            if let Some(held_back) = self.proxies.notices.pass(Notice::Certificate) {
                warn!(identity = %id, held_back, "refused: a certificate for an identity that no workload has any more");
            }
            return Err(Status::permission_denied(format!(
                "{id} is no workload's identity: no WorkloadEntry gives it"
            )));
        };
        let (trust, now) = (Arc::clone(&self.proxies.trust), (self.proxies.clock)());
        let shown = certificate.map(|certificate| Serial::from_der(&certificate.serial));
        let issued = blocking(move || trust.enroll(&csr, names, shown.as_ref(), lifetime, now)).await;
        let issued = issued.map_err(|error| refusal(&self.proxies.notices, &id.to_string(), &error))?;
        self.proxies.metrics.certificates_issued.inc();
        info!(identity = %id, serial = %issued.serial, "a certificate for a key that its holder has made");
        let blocks = issued.chain_pem.split_inclusive("-----END CERTIFICATE-----\n").map(str::to_owned);
        // Istio's agents take the last entry for the roots, all of them.
        Ok(blocks.chain([self.proxies.trust.bundle().pem().to_owned()]).collect())
    }

    fn bundle(&self) -> (String, String) {
        let bundle = self.proxies.trust.bundle();
        (bundle.trust_domain().to_string(), bundle.pem().to_owned())
    }

    async fn join(&self, secret: String, wanted: String, csr: String) -> Result<Joined, Status> {
        let model = self.proxies.model.load_full().ok_or_else(no_policy)?;
        let (trust, now) = (Arc::clone(&self.proxies.trust), (self.proxies.clock)());
        let workload_of = move |name: &str, identity: &str| -> Option<Arc<Workload>> {
            let workload = model.mesh.workload(&name.parse::<WorkloadKey>().ok()?)?;
            (workload.spiffe_id == identity).then(|| Arc::clone(workload))
        };
        let joined = blocking(move || {
            let token = trust.usable_join_token(&secret, now)?;
            if token.workload != wanted {
                return Err(TrustError::JoinTokenWorkload { made_for: token.workload, wanted });
            }
            let Some(workload) = workload_of(&token.workload, &token.identity) else { return Ok(None) };
            let joined = trust.join(&secret, &csr, &workload.dns_names, workload.leaf_ttl, now);
            joined.map(|(token, issued)| Some((token, issued, workload)))
        });
        let joined = joined.await.map_err(|error| refusal(&self.proxies.notices, "a new node", &error))?;
        let Some((token, issued, workload)) = joined else {
            if let Some(held_back) = self.proxies.notices.pass(Notice::Certificate) {
                warn!(
                    held_back,
                    "refused: a join token for a workload that is not in the policy under that identity any more"
                );
            }
            return Err(Status::failed_precondition(
                "the workload of the join token is not in the policy under the identity that the token was made for",
            ));
        };
        info!(workload = %token.workload, token = %token.id, serial = %issued.serial, "a new node has joined");
        Ok(self.joined(&workload, issued))
    }

    async fn challenge(
        &self,
        chain: Vec<CertificateDer<'static>>,
        request: &AttestedRequest,
    ) -> Result<Challenge, Status> {
        let (attestor, now) = (self.attestor.clone(), (self.proxies.clock)());
        let node = blocking(move || attestor.node(chain, now)).await;
        let trust_domain = self.proxies.trust.bundle().trust_domain().clone();
        node.and_then(|node| Challenge::new(node, &trust_domain, request)).map_err(|error| {
            if let Some(held_back) = self.proxies.notices.pass(Notice::Certificate) {
                warn!(%error, held_back, "a node is not let in");
            }
            match error {
                AttestationError::Certificate(_) => Status::unauthenticated(error.to_string()),
                _ => Status::unavailable("no node can be let in by its certificate at the moment"),
            }
        })
    }

    async fn admit(&self, node: NodeCertificate, workload: String, csr: String) -> Result<Joined, Status> {
        let model = self.proxies.model.load_full().ok_or_else(no_policy)?;
        let bundle = self.proxies.trust.bundle();
        let agent = self.attestor.agent_id(bundle.trust_domain(), &node).map_err(Status::permission_denied)?;
        let found = workload.parse::<WorkloadKey>().ok().and_then(|key| model.mesh.workload(&key));
        // One answer for a workload that is not there and for one that is another node's.
        let Some(found) = found.filter(|it| it.nodes.iter().any(|node| node == agent.as_str())).map(Arc::clone) else {
            if let Some(held_back) = self.proxies.notices.pass(Notice::Certificate) {
                warn!(%agent, %workload, held_back, "refused: a node asks for a workload that is not its own");
            }
            return Err(Status::permission_denied(format!(
                "the node {agent} may not become {workload}: no ClusterStaticEntry with this parentID gives that workload its identity"
            )));
        };
        let id: SpiffeId = found.spiffe_id.parse().map_err(|_| Status::internal("the workload has no SPIFFE ID"))?;
        let names = LeafNames::new(id, found.dns_names.iter().cloned()).within(found.leaf_ttl);
        let (trust, now) = (Arc::clone(&self.proxies.trust), (self.proxies.clock)());
        let issued = blocking(move || trust.enroll(&csr, names, None, None, now)).await;
        let issued = issued.map_err(|error| refusal(&self.proxies.notices, agent.as_str(), &error))?;
        info!(%workload, %agent, serial = %issued.serial, "a new node has proven its certificate");
        Ok(self.joined(&found, issued))
    }
}

impl Enrolling {
    fn joined(&self, workload: &Workload, issued: IssuedChain) -> Joined {
        self.proxies.metrics.certificates_issued.inc();
        let bundle = self.proxies.trust.bundle();
        Joined {
            workload: workload.key.to_string(),
            identity: workload.spiffe_id.clone(),
            trust_domain: bundle.trust_domain().to_string(),
            certificate_chain: issued.chain_pem,
            roots: bundle.pem().to_owned(),
            server_identity: trust::server_identity(bundle.trust_domain()).to_string(),
            service_account: workload.service_account.clone(),
            labels: (*workload.labels).clone().into_iter().collect(),
        }
    }
}

/// What a certificate for whoever has this identity says: of the DNS names, those that all its workloads have, since it is not known
/// which one asks. `None`: no workload has the identity.
fn names_of(mesh: &Mesh, id: &SpiffeId) -> Option<LeafNames> {
    let mut workloads = mesh.workloads().filter(|workload| workload.spiffe_id == id.as_str());
    let first = workloads.next()?;
    let others: Vec<_> = workloads.collect();
    let of_all = first.dns_names.iter().filter(|name| others.iter().all(|it| it.dns_names.contains(name)));
    let lifetime = std::iter::once(&first).chain(&others).filter_map(|it| it.leaf_ttl).min();
    Some(LeafNames::new(id.clone(), of_all.cloned()).within(lifetime))
}

fn no_policy() -> Status {
    Status::unavailable("no policy is loaded yet")
}

/// What the caller is told. What concerns the server only is in its log.
fn refusal(notices: &Notices, who: &str, error: &TrustError) -> Status {
    if let Some(held_back) = notices.pass(Notice::Certificate) {
        warn!(who, %error, held_back, "no certificate");
    }
    match error {
        TrustError::Csr(reason) => Status::invalid_argument(format!("the certificate request is refused: {reason}")),
        TrustError::Revoked => Status::unauthenticated(error.to_string()),
        TrustError::JoinToken => Status::unauthenticated(error.to_string()),
        TrustError::JoinTokenWorkload { .. } => Status::failed_precondition(error.to_string()),
        TrustError::ForeignIdentity { .. } => Status::permission_denied(error.to_string()),
        _ => Status::unavailable("no certificate can be issued at the moment"),
    }
}
