//! Client credentials, from the server's own bootstrap API.

use std::error::Error;
use std::sync::Arc;

use countersign::admin::api::{BootstrapMaterial, BootstrapRequest};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::{CipherSuite, ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::policy::Policy;
use super::process::Process;

/// Requests under way at once.
const AT_ONCE: usize = 32;

/// A TLS configuration for each workload.
pub async fn fetch(server: &Process, workloads: usize) -> Result<Vec<Arc<ClientConfig>>, Box<dyn Error>> {
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for index in 0..workloads {
        let (admin, at_once) = (server.admin(), Arc::clone(&at_once));
        tasks.spawn(async move {
            let _permit = at_once.acquire().await.map_err(|error| error.to_string())?;
            let key = KeyPair::generate().map_err(|error| error.to_string())?;
            let mut params = CertificateParams::default();
            // Names are the server's to give.
            params.distinguished_name = DistinguishedName::new();
            let csr = params.serialize_request(&key).and_then(|csr| csr.pem());
            let request =
                BootstrapRequest { workload: Policy::workload(index), csr: csr.map_err(|error| error.to_string())? };
            let wait = std::time::Duration::from_secs(30);
            let material = admin.post("/v1/bootstrap", &request, wait).await.map_err(|error| error.to_string())?;
            let config = config(&material, &key).map_err(|error| error.to_string())?;
            Ok::<_, String>((index, config))
        });
    }
    let mut configs = vec![None; workloads];
    while let Some(done) = tasks.join_next().await {
        let (index, config) = done??;
        configs[index] = Some(config);
    }
    Ok(configs.into_iter().flatten().collect())
}

fn config(material: &BootstrapMaterial, key: &KeyPair) -> Result<Arc<ClientConfig>, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(material.roots.as_bytes()) {
        roots.add(root?)?;
    }
    let chain = CertificateDer::pem_slice_iter(material.certificate_chain.as_bytes()).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let mut provider = aws_lc_rs::default_provider();
    // In Envoy's order, which is BoringSSL's on a processor that has AES.
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}
