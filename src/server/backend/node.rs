//! A node's first credentials: what `countersign bootstrap` writes down, and tokens to join with.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tracing::info;

use super::super::blocking;
use super::{ServerBackend, identity_of, internal, rfc3339};
use crate::admin::Failure;
use crate::admin::api::{BootstrapMaterial, BootstrapRequest, NewToken, TokenRequest, TokenState, TokenStatus};
use crate::enrollment::JoinToken;
use crate::trust::{self, LeafNames};

impl ServerBackend {
    /// Signs a node's request, and says what else its proxy has to know.
    pub(super) async fn bootstrap_material(&self, request: BootstrapRequest) -> Result<BootstrapMaterial, Failure> {
        let workload = self.workload(&request.workload)?;
        let id = identity_of(&workload)?;
        let (trust, now) = (Arc::clone(&self.proxies.trust), (self.clock)());
        let names = LeafNames::new(id.clone(), workload.dns_names.iter().cloned()).within(workload.leaf_ttl);
        let csr = request.csr;
        let issued = blocking(move || trust.enroll(&csr, names, None, None, now))
            .await
            .map_err(|error| Failure::Invalid(format!("the certificate request is refused: {error}"), String::new()))?;
        self.proxies.metrics.certificates_issued.inc();
        let bundle = self.proxies.trust.bundle();
        // A server that listens everywhere is reached, from this machine, at the loopback address.
        let mut address = self.xds_address;
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() { [127, 0, 0, 1].into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        Ok(BootstrapMaterial {
            workload: workload.key.to_string(),
            identity: id.to_string(),
            trust_domain: bundle.trust_domain().to_string(),
            certificate_chain: issued.chain_pem,
            roots: bundle.pem().to_owned(),
            xds_address: address.to_string(),
            server_identity: trust::server_identity(bundle.trust_domain()).to_string(),
            service_account: workload.service_account.clone(),
            namespace: workload.key.namespace.clone(),
            labels: (*workload.labels).clone(),
        })
    }

    /// A token with which one node may join once. It is told here and kept nowhere.
    pub(super) async fn new_token(&self, request: TokenRequest) -> Result<NewToken, Failure> {
        let workload = self.workload(&request.workload)?;
        let id = identity_of(&workload)?;
        let bundle = self.proxies.trust.bundle();
        let roots = bundle.roots().iter().map(|root| root.der.as_ref());
        let token = JoinToken::generate(bundle.trust_domain().clone(), roots).map_err(internal)?;
        let (trust, now, secret) = (Arc::clone(&self.proxies.trust), (self.clock)(), token.clone());
        let ttl = Duration::from_secs(request.ttl_seconds);
        let name = workload.key.to_string();
        let kept = blocking(move || trust.add_join_token(secret.secret(), &name, &id, ttl, now)).await;
        let kept = kept.map_err(internal)?;
        info!(workload = %kept.workload, token = %kept.id, expires_at = %kept.expires_at, "a join token is made");
        Ok(NewToken { token: token.text().to_string(), status: token_status(&kept, now) })
    }

    /// The tokens that were made, and what has become of each.
    pub(super) async fn token_statuses(&self) -> Result<Vec<TokenStatus>, Failure> {
        let (trust, now) = (Arc::clone(&self.proxies.trust), (self.clock)());
        let all = blocking(move || trust.join_tokens()).await.map_err(internal)?;
        Ok(all.iter().map(|token| token_status(token, now)).collect())
    }

    /// Takes a token back.
    pub(super) async fn withdraw_token(&self, id: String) -> Result<(), Failure> {
        let (trust, named) = (Arc::clone(&self.proxies.trust), id.clone());
        match blocking(move || trust.revoke_join_token(&named)).await.map_err(internal)? {
            true => Ok(()),
            false => Err(Failure::NotFound(
                format!("there is no join token {}", id.escape_default()),
                "countersign token list shows them".to_owned(),
            )),
        }
    }
}

fn token_status(token: &trust::JoinTokenRecord, now: OffsetDateTime) -> TokenStatus {
    TokenStatus {
        id: token.id.clone(),
        workload: token.workload.clone(),
        identity: token.identity.clone(),
        state: match token.used_at {
            Some(_) => TokenState::Used,
            None if token.expires_at <= now => TokenState::Expired,
            None => TokenState::Usable,
        },
        created_at: rfc3339(token.created_at),
        expires_at: rfc3339(token.expires_at),
        used_at: token.used_at.map(rfc3339),
    }
}
