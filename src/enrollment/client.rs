//! A node's end: one call over one connection of its own.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tonic::{Status, Streaming};

use super::istio::IstioCertificateRequest;
use super::istio::istio_certificate_service_client::IstioCertificateServiceClient;
use super::v1::attest_request::Step as Ask;
use super::v1::attest_response::Step as Answer;
use super::v1::enrollment_client::EnrollmentClient;
use super::v1::{AttestRequest, AttestResponse, GetBundleRequest, JoinRequest};
use super::x509pop::{AttestationError, NodeKey};
use super::{Anybody, JoinToken, Joined};
use crate::identity::{Peer, SpiffeId, TrustDomain};

/// How long one attempt may take, from the first packet to the answer.
const LIMIT: Duration = Duration::from_secs(20);

/// What a node shows, and what it verifies the server by.
pub struct Credentials<'a> {
    /// The chain in PEM, leaf first.
    pub chain: &'a str,
    /// The key in PEM.
    pub key: &'a str,
    /// The roots in PEM.
    pub roots: &'a str,
    /// The identity that the server must show.
    pub server: &'a SpiffeId,
}

/// Why there is no new certificate. Holds no key material.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server cannot be reached, or is not who it should be.
    #[error("no connection to the server at {address}: {reason}")]
    Connect {
        /// Where it was looked for.
        address: String,
        /// Why.
        reason: String,
    },
    /// It said no.
    #[error("the server at {address} refused: {}", .status.message())]
    Refused {
        /// The server.
        address: String,
        /// What it said.
        status: Box<Status>,
    },
    /// The credentials at hand are not usable.
    #[error("the {what} cannot be used: {reason}")]
    Credentials {
        /// Which part.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The node's own certificate cannot prove who it is.
    #[error(transparent)]
    Attestation(#[from] AttestationError),
    /// None of the server's roots is named in the token: somebody else answers at that address, or the roots have changed since.
    #[error(
        "none of the roots that {address} shows is named in the join token: it is another mesh's server, or the token is older than a \
         change of the roots"
    )]
    Fingerprint {
        /// The server.
        address: String,
    },
}

/// A client of the server at one address.
#[derive(Clone, Debug)]
pub struct Client {
    address: String,
}

impl Client {
    /// A client of the server at `HOST:PORT`.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into() }
    }

    /// A new certificate for the key of `csr`, under the identity of the certificate that is shown. PEM blocks: the leaf first, the roots
    /// last.
    pub async fn renew(&self, credentials: &Credentials<'_>, csr: String) -> Result<Vec<String>, ClientError> {
        let roots = certificates("roots", credentials.roots)?;
        let verifier = Verifier::new(roots, credentials.server)?;
        let chain = certificates("certificate chain", credentials.chain)?;
        let unusable =
            |what| move |error: &dyn std::fmt::Display| ClientError::Credentials { what, reason: error.to_string() };
        let key = PrivateKeyDer::from_pem_slice(credentials.key.as_bytes()).map_err(|error| unusable("key")(&error))?;
        let config = builder(Arc::new(verifier))?
            .with_client_auth_cert(chain, key)
            .map_err(|error| unusable("certificate and key")(&error))?;
        self.within(async {
            let channel = self.connect(config).await?;
            let request = IstioCertificateRequest { csr, validity_duration: 0, metadata: None };
            let answer = IstioCertificateServiceClient::new(channel).create_certificate(request).await;
            Ok(answer.map_err(|status| self.refused(status))?.into_inner().cert_chain)
        })
        .await
    }

    /// The roots that the server shows now, in PEM.
    pub async fn roots(&self, credentials: &Credentials<'_>) -> Result<String, ClientError> {
        let verifier = Verifier::new(certificates("roots", credentials.roots)?, credentials.server)?;
        let config = builder(Arc::new(verifier))?.with_no_client_auth();
        self.within(async {
            let channel = self.connect(config).await?;
            let answer = EnrollmentClient::new(channel).get_bundle(GetBundleRequest {}).await;
            Ok(answer.map_err(|status| self.refused(status))?.into_inner().roots)
        })
        .await
    }

    /// Spends a token. The roots are fetched first, from whoever answers, and count only as far as the token names them; the secret is
    /// sent to nobody but a server that they verify.
    pub async fn join(&self, token: &JoinToken, workload: &str, csr: String) -> Result<Joined, ClientError> {
        self.within(async {
            let channel = self.connect(builder(Arc::new(Anybody::default()))?.with_no_client_auth()).await?;
            let answer = EnrollmentClient::new(channel).get_bundle(GetBundleRequest {}).await;
            let shown = answer.map_err(|status| self.refused(status))?.into_inner().roots;
            let mut named = certificates("server's bundle of roots", &shown)?;
            named.retain(|root| token.names(root));
            if named.is_empty() {
                return Err(ClientError::Fingerprint { address: self.address.clone() });
            }
            let server = server_identity(token.trust_domain())?;
            let config = builder(Arc::new(Verifier::new(named, &server)?))?.with_no_client_auth();
            let channel = self.connect(config).await?;
            let request = JoinRequest { secret: token.secret().to_owned(), csr, workload: workload.to_owned() };
            let answer = EnrollmentClient::new(channel).join(request).await;
            Ok(answer.map_err(|status| self.refused(status))?.into_inner())
        })
        .await
    }

    /// Proves possession of the node's own certificate to a server that these roots (PEM) verify, and that has its identity in the trust
    /// domain: nothing is signed for anybody else.
    pub async fn attest(
        &self,
        node: &NodeKey,
        (trust_domain, roots): (&TrustDomain, &str),
        workload: &str,
        csr: String,
    ) -> Result<Joined, ClientError> {
        let server = server_identity(trust_domain)?;
        let verifier = Verifier::new(certificates("bundle of roots", roots)?, &server)?;
        let config = builder(Arc::new(verifier))?.with_no_client_auth();
        self.within(async {
            let channel = self.connect(config).await?;
            let request = node.request(workload, csr);
            let (prove, proof) = tokio::sync::oneshot::channel();
            let first = AttestRequest { step: Some(Ask::Request(request.clone())) };
            let second = stream::once(proof).filter_map(|proof| std::future::ready(proof.ok()));
            let asked = stream::iter([first]).chain(second);
            let answers = EnrollmentClient::new(channel).attest(asked).await;
            let mut answers = answers.map_err(|status| self.refused(status))?.into_inner();
            let Some(Answer::Nonce(nonce)) = self.next(&mut answers).await? else {
                return Err(self.out_of_turn());
            };
            let proof = node.prove(trust_domain, &request, &nonce)?;
            // A server that does not wait for it says why in its answer.
            let _ = prove.send(AttestRequest { step: Some(Ask::Proof(proof)) });
            match self.next(&mut answers).await? {
                Some(Answer::Joined(joined)) => Ok(joined),
                _ => Err(self.out_of_turn()),
            }
        })
        .await
    }

    async fn next(&self, answers: &mut Streaming<AttestResponse>) -> Result<Option<Answer>, ClientError> {
        let answer = answers.message().await.map_err(|status| self.refused(status))?;
        Ok(answer.and_then(|it| it.step))
    }

    fn out_of_turn(&self) -> ClientError {
        self.refused(Status::internal("its answer is none to what it was asked"))
    }

    async fn within<T>(&self, run: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
        match tokio::time::timeout(LIMIT, run).await {
            Ok(result) => result,
            Err(_) => Err(self.connect_error(format!("no answer within {}", humantime::format_duration(LIMIT)))),
        }
    }

    async fn connect(&self, config: ClientConfig) -> Result<Channel, ClientError> {
        let failed = |error: &dyn std::fmt::Display| self.connect_error(error.to_string());
        let stream = TcpStream::connect(&self.address).await.map_err(|error| failed(&error))?;
        let _ = stream.set_nodelay(true);
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|error| failed(&error))?;
        let stream =
            TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| failed(&error))?;
        let (requests, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Channel { requests, authority: self.address.clone(), _driver: Driver(driver) })
    }

    fn connect_error(&self, reason: String) -> ClientError {
        ClientError::Connect { address: self.address.clone(), reason }
    }

    fn refused(&self, status: Status) -> ClientError {
        ClientError::Refused { address: self.address.clone(), status: Box::new(status) }
    }
}

/// The server's own identity in a trust domain.
fn server_identity(trust_domain: &TrustDomain) -> Result<SpiffeId, ClientError> {
    SpiffeId::workload(trust_domain, "countersign", "countersign")
        .map_err(|error| ClientError::Credentials { what: "trust domain", reason: error.to_string() })
}

fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let unusable = |reason: String| ClientError::Credentials { what, reason };
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(error.to_string()))?;
    match all.is_empty() {
        true => Err(unusable("there is no PEM block CERTIFICATE".to_owned())),
        false => Ok(all),
    }
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn builder(verifier: Arc<dyn ServerCertVerifier>) -> Result<Builder, ClientError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| ClientError::Credentials { what: "TLS library", reason: error.to_string() })?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The server is who its SPIFFE ID says, as in the Envoy beside us: it may be dialled at an address that is not in its certificate.
#[derive(Debug)]
struct Verifier {
    chain: Arc<WebPkiServerVerifier>,
    server: SpiffeId,
}

impl Verifier {
    fn new(roots: Vec<CertificateDer<'static>>, server: &SpiffeId) -> Result<Self, ClientError> {
        let unusable =
            |error: &dyn std::fmt::Display| ClientError::Credentials { what: "roots", reason: error.to_string() };
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root).map_err(|error| unusable(&error))?;
        }
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider())
            .build()
            .map_err(|error| unusable(&error))?;
        Ok(Self { chain, server: server.clone() })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.chain.verify_server_cert(leaf, intermediates, name, ocsp, now) {
            // The chain has been verified by then; only the name by which it was dialled is not in the certificate.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ))
            | Ok(_) => {}
            Err(error) => return Err(error),
        }
        match Peer::from_chain(Some(std::slice::from_ref(leaf))) {
            Ok(Peer::Authenticated { id, .. }) if id == self.server => Ok(ServerCertVerified::assertion()),
            Ok(Peer::Authenticated { id, .. }) => {
                Err(rustls::Error::General(format!("it is {id}, and not {}", self.server)))
            }
            _ => Err(rustls::Error::General(format!("it does not show the identity {}", self.server))),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// One HTTP/2 connection, as tonic wants it.
struct Channel {
    requests: SendRequest<Body>,
    authority: String,
    _driver: Driver,
}

struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl tonic::codegen::Service<http::Request<Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.requests.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let uri = http::Uri::builder().scheme("https").authority(self.authority.as_str()).path_and_query(path).build();
        // A path of a generated client and an address that was dialled always make a URI.
        *request.uri_mut() = uri.unwrap_or_default();
        Box::pin(self.requests.send_request(request))
    }
}
