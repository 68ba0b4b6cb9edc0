//! Certificates for keys of nodes, as fast as the server signs them: Istio's `CreateCertificate` over mutual TLS.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use countersign::enrollment::istio::{IstioCertificateRequest, IstioCertificateResponse};
use prost::Message as _;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::credentials;
use super::fleet::handshake;
use super::grpc::{Failure, call};
use super::policy::Policy;
use super::process::Process;

const CREATE_CERTIFICATE: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
/// Requests under way at once on each connection.
const IN_FLIGHT: usize = 32;

/// What it took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Issued {
    /// Certificates.
    pub count: usize,
    /// From the first request to the last answer.
    pub took: Duration,
    /// Processor time of the server, of all its threads.
    pub cpu: Duration,
}

/// Asks for `count` certificates over `connections` connections, each with a workload's own certificate.
pub async fn run(count: usize, connections: usize, binary: &Path, directory: &Path) -> Result<Issued, Box<dyn Error>> {
    Policy::write(&directory.join("policy"), 1, connections)?;
    let server = Process::start(binary, directory, false).await?;
    let configs = credentials::fetch(&server, connections).await?;
    let mut senders = Vec::new();
    for config in configs {
        let stream = TcpStream::connect(server.xds).await?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(config).connect(ServerName::try_from("localhost")?, stream).await?;
        senders.push(handshake(stream).await.map_err(|error| error.to_string())?);
    }
    // One key and one request for all: what is measured is the server.
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(&KeyPair::generate()?)?.pem()?;
    let request: Arc<[u8]> =
        IstioCertificateRequest { csr, validity_duration: 0, metadata: None }.encode_to_vec().into();

    let (left, mut tasks) = (Arc::new(AtomicUsize::new(count)), JoinSet::new());
    let (cpu, from) = (server.cpu()?, Instant::now());
    for (sender, _) in &senders {
        for _ in 0..IN_FLIGHT {
            let (sender, request, left) = (sender.clone(), Arc::clone(&request), Arc::clone(&left));
            tasks.spawn(async move {
                let mut issued = 0;
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| it.checked_sub(1)).is_ok() {
                    let answer = call(sender.clone(), CREATE_CERTIFICATE, &request).await?;
                    let chain = IstioCertificateResponse::decode(answer)?.cert_chain;
                    if chain.len() < 2 {
                        return Err("an answer without a chain".into());
                    }
                    issued += 1;
                }
                Ok::<usize, Failure>(issued)
            });
        }
    }
    let mut issued = Issued::default();
    while let Some(done) = tasks.join_next().await {
        issued.count += done?.map_err(|error| error.to_string())?;
    }
    (issued.took, issued.cpu) = (from.elapsed(), server.cpu()? - cpu);
    senders.iter().for_each(|(_, connection)| connection.abort());
    Ok(issued)
}
