//! The services, over whoever decides what is signed.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use rustls_pki_types::CertificateDer;
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::istio::istio_certificate_service_server::{IstioCertificateService, IstioCertificateServiceServer};
use super::istio::{IstioCertificateRequest, IstioCertificateResponse};
use super::v1::attest_request::Step as Asked;
use super::v1::attest_response::Step as Answered;
use super::v1::enrollment_server::{self, EnrollmentServer};
use super::v1::{
    AttestRequest, AttestResponse, AttestedRequest, GetBundleRequest, GetBundleResponse, JoinRequest, JoinResponse,
};
use super::x509pop::{Challenge, NodeCertificate};
use crate::identity::{Peer, PeerCertificate, SpiffeId};

/// The largest message that is read, in bytes: a request with a key of 4096 bits and an agent's metadata is some 10 KB.
const MAX_MESSAGE: usize = 64 << 10;

const CREATE_CERTIFICATE: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
const GET_BUNDLE: &str = "/countersign.v1.Enrollment/GetBundle";
const JOIN: &str = "/countersign.v1.Enrollment/Join";
const ATTEST: &str = "/countersign.v1.Enrollment/Attest";

/// How long a node may take for each of its messages.
const ATTESTATION: Duration = Duration::from_secs(10);

/// Who decides what is signed. Errors are what the caller is told, so they hold no secret.
pub trait Enroller: Send + Sync + 'static {
    /// A certificate for the key of `csr` under the identity `id`, which TLS has verified by `certificate`. PEM blocks: the leaf first,
    /// the roots last. `lifetime` is a wish.
    fn renew(
        &self,
        id: SpiffeId,
        certificate: Option<PeerCertificate>,
        csr: String,
        lifetime: Option<Duration>,
    ) -> impl Future<Output = Result<Vec<String>, Status>> + Send;

    /// The trust domain, and its roots in PEM.
    fn bundle(&self) -> (String, String);

    /// A certificate for a secret that nobody has used before, and that was made for this workload.
    fn join(
        &self,
        secret: String,
        workload: String,
        csr: String,
    ) -> impl Future<Output = Result<Joined, Status>> + Send;

    /// What the node that has shown this chain has to sign, if the chain ends at an authority of nodes.
    fn challenge(
        &self,
        chain: Vec<CertificateDer<'static>>,
        request: &AttestedRequest,
    ) -> impl Future<Output = Result<Challenge, Status>> + Send;

    /// A certificate for a node that has proven itself by its own, as this workload.
    fn admit(
        &self,
        node: NodeCertificate,
        workload: String,
        csr: String,
    ) -> impl Future<Output = Result<Joined, Status>> + Send;
}

/// What a new node gets.
pub type Joined = JoinResponse;

/// `istio.v1.auth.IstioCertificateService` and `countersign.v1.Enrollment`.
pub struct Enrollment<E> {
    certificates: IstioCertificateServiceServer<Over<E>>,
    enrollment: EnrollmentServer<Over<E>>,
}

impl<E> Clone for Enrollment<E> {
    fn clone(&self) -> Self {
        Self { certificates: self.certificates.clone(), enrollment: self.enrollment.clone() }
    }
}

impl<E: Enroller> Enrollment<E> {
    /// The services over `enroller`.
    pub fn new(enroller: Arc<E>) -> Self {
        let certificates = IstioCertificateServiceServer::new(Over(Arc::clone(&enroller)));
        let enrollment = EnrollmentServer::new(Over(enroller));
        Self {
            certificates: certificates.max_decoding_message_size(MAX_MESSAGE),
            enrollment: enrollment.max_decoding_message_size(MAX_MESSAGE),
        }
    }

    /// Whether this path is for everybody: a new node has nothing yet to be known by.
    pub fn is_public(path: &str) -> bool {
        matches!(path, GET_BUNDLE | JOIN | ATTEST)
    }

    /// Whether this path is where a certificate is renewed.
    pub fn is_renewal(path: &str) -> bool {
        path == CREATE_CERTIFICATE
    }

    /// Answers one HTTP/2 request, or gives it back because it is for another service. The peer, where the client has shown a
    /// certificate, is in the request's extensions.
    pub async fn handle<B>(&self, request: http::Request<B>) -> Result<http::Response<Body>, http::Request<B>>
    where
        B: http_body::Body + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        // The path is compared byte for byte: one that only looks like ours after some clean-up is not ours.
        let response = match request.uri().path() {
            CREATE_CERTIFICATE => self.certificates.clone().call(request).await,
            GET_BUNDLE | JOIN | ATTEST => self.enrollment.clone().call(request).await,
            _ => return Err(request),
        };
        Ok(response.unwrap_or_else(|never| match never {}))
    }
}

struct Over<E>(Arc<E>);

#[async_trait]
impl<E: Enroller> IstioCertificateService for Over<E> {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let Some(Peer::Authenticated { id, certificate }) = request.extensions().get::<Peer>().cloned() else {
            return Err(Status::unauthenticated(
                "a certificate is renewed for whoever shows one; a new node needs a join token",
            ));
        };
        let IstioCertificateRequest { csr, validity_duration, .. } = request.into_inner();
        let lifetime = u64::try_from(validity_duration).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
        let cert_chain = self.0.renew(id, certificate, csr, lifetime).await?;
        Ok(Response::new(IstioCertificateResponse { cert_chain }))
    }
}

#[async_trait]
impl<E: Enroller> enrollment_server::Enrollment for Over<E> {
    async fn get_bundle(&self, _: Request<GetBundleRequest>) -> Result<Response<GetBundleResponse>, Status> {
        let (trust_domain, roots) = self.0.bundle();
        Ok(Response::new(GetBundleResponse { trust_domain, roots }))
    }

    type AttestStream = Pin<Box<dyn Stream<Item = Result<AttestResponse, Status>> + Send>>;

    async fn attest(&self, request: Request<Streaming<AttestRequest>>) -> Result<Response<Self::AttestStream>, Status> {
        let mut asked = request.into_inner();
        let Asked::Request(request) = next(&mut asked).await? else {
            return Err(Status::invalid_argument("the first message is the request, with the node's certificate"));
        };
        let chain = request.certificates.iter().map(|der| CertificateDer::from(der.clone())).collect();
        let challenge = self.0.challenge(chain, &request).await?;
        let nonce = AttestResponse { step: Some(Answered::Nonce(challenge.nonce().to_vec())) };
        let enroller = Arc::clone(&self.0);
        let rest = async move {
            let Asked::Proof(proof) = next(&mut asked).await? else {
                return Err(Status::invalid_argument("the second message is the proof"));
            };
            let node = challenge.verify(&proof).map_err(|error| Status::unauthenticated(error.to_string()))?;
            let joined = enroller.admit(node, request.workload, request.csr).await?;
            Ok(AttestResponse { step: Some(Answered::Joined(joined)) })
        };
        Ok(Response::new(Box::pin(stream::iter([Ok(nonce)]).chain(stream::once(rest)))))
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let JoinRequest { secret, csr, workload } = request.into_inner();
        self.0.join(secret, workload, csr).await.map(Response::new)
    }
}

/// The node's next message. It has not proven anything, so that it is waited for no longer than need be.
async fn next(asked: &mut Streaming<AttestRequest>) -> Result<Asked, Status> {
    let late = |_| Status::deadline_exceeded("the node's message did not come in time");
    let message = tokio::time::timeout(ATTESTATION, asked.message()).await.map_err(late)??;
    message.and_then(|it| it.step).ok_or_else(|| Status::invalid_argument("the node has ended the call"))
}
