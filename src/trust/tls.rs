//! TLS of our own listener: our certificate, and client certificates verified against the trust bundle.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::UnixTime;
use time::OffsetDateTime;

use super::grace::Graceful;
use super::{TrustBundle, TrustError, WorkloadCertificate};

/// How clients are verified, besides by the bundle.
#[derive(Clone)]
pub struct Clients {
    /// The time.
    pub clock: Arc<dyn Fn() -> OffsetDateTime + Send + Sync>,
    /// A certificate that ended at most this long ago comes through, and is for whoever looks at it to tell from one that is valid.
    pub grace: Duration,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clients").field("grace", &self.grace).finish_non_exhaustive()
    }
}

impl TimeProvider for Clients {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from((self.clock)().unix_timestamp()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// What new connections are accepted with. Replacing the certificate or the bundle touches no connection that is open.
#[derive(Debug)]
pub struct ServerTls {
    current: ArcSwap<Current>,
    clients: Clients,
}

#[derive(Debug)]
struct Current {
    certificate: Arc<WorkloadCertificate>,
    bundle: Arc<TrustBundle>,
    config: Arc<ServerConfig>,
}

impl Current {
    fn new(
        certificate: Arc<WorkloadCertificate>,
        bundle: Arc<TrustBundle>,
        clients: &Clients,
    ) -> Result<Self, TrustError> {
        let config = Arc::new(config(&certificate, &bundle, clients)?);
        Ok(Self { certificate, bundle, config })
    }
}

impl ServerTls {
    /// Shows this certificate, and verifies by this bundle whatever certificate a client shows.
    pub fn new(
        certificate: &Arc<WorkloadCertificate>,
        bundle: &Arc<TrustBundle>,
        clients: Clients,
    ) -> Result<Self, TrustError> {
        let current = Current::new(Arc::clone(certificate), Arc::clone(bundle), &clients)?;
        Ok(Self { current: ArcSwap::from_pointee(current), clients })
    }

    /// For the next connection.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    /// Shows another certificate from now on. After an error it shows the one before.
    pub fn set_certificate(&self, certificate: &Arc<WorkloadCertificate>) -> Result<(), TrustError> {
        let now = self.current.load_full();
        self.current.store(Arc::new(Current::new(Arc::clone(certificate), Arc::clone(&now.bundle), &self.clients)?));
        Ok(())
    }

    /// Verifies clients against another bundle from now on. After an error it is the one before.
    pub fn set_bundle(&self, bundle: &Arc<TrustBundle>) -> Result<(), TrustError> {
        let now = self.current.load_full();
        self.current.store(Arc::new(Current::new(Arc::clone(&now.certificate), Arc::clone(bundle), &self.clients)?));
        Ok(())
    }
}

fn config(
    certificate: &WorkloadCertificate,
    bundle: &TrustBundle,
    clients: &Clients,
) -> Result<ServerConfig, TrustError> {
    let unusable = |error: &dyn std::fmt::Display| TrustError::material("the xDS listener's TLS", error);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for root in bundle.roots() {
        roots.add(root.der.clone()).map_err(|error| unusable(&error))?;
    }
    // A certificate that is shown is verified. Who shows none may yet be known by a token, and a new node may spend a join token; whoever
    // is known by nothing is given nothing.
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| unusable(&error))?;
    let key = provider.key_provider.load_private_key(certificate.private_key()?).map_err(|error| unusable(&error))?;
    let shown = CertifiedKey::new(certificate.chain.clone(), key);
    shown.keys_match().map_err(|error| unusable(&error))?;
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(clients.clone()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| unusable(&error))?
        .with_client_cert_verifier(Arc::new(Graceful::new(verifier, clients.grace)))
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(shown)));
    // A resumed session is not verified again, so it would outlive a change of the bundle.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
