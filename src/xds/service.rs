//! The gRPC services: which path is which stream.

use std::convert::Infallible;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use tonic::body::Body;
use tonic::server::{Grpc, StreamingService};
use tonic::{Response as GrpcResponse, Status, Streaming};

use super::codec::PreEncoded;
use super::fetch::Fetch;
use super::framing;
use super::method::{Method, Variant};
use super::scope::Scope;
use super::stream::{self, Request, ResponseStream, Terms};
use super::wire::Response;
use super::{ControlPlane, DrainSignal, Limits};

/// The discovery services: `AggregatedDiscoveryService`, and those of one type for secrets, clusters, listeners, endpoints and
/// routes; each state of the world, incremental and (those of one type) fetched over gRPC. Any other path is `UNIMPLEMENTED`.
pub struct XdsService<C> {
    control: Arc<C>,
    drain: DrainSignal,
    limits: Limits,
}

impl<C> Clone for XdsService<C> {
    fn clone(&self) -> Self {
        Self { control: Arc::clone(&self.control), drain: self.drain.clone(), limits: self.limits }
    }
}

impl<C: ControlPlane> XdsService<C> {
    /// Services that ask `control` whom to let in, and end their streams when `drain` says so.
    pub fn new(control: Arc<C>, drain: DrainSignal, limits: Limits) -> Self {
        Self { control, drain, limits }
    }

    /// Answers one HTTP/2 request. The peer, where the connection has one, is in the request's extensions; so is the
    /// [`DrainSignal`] of a connection that may end before the server does.
    ///
    /// # Errors
    /// None: what goes wrong is a gRPC status in the response.
    pub async fn handle<B>(&self, request: http::Request<B>) -> Result<http::Response<Body>, Infallible>
    where
        B: http_body::Body + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        let path = request.uri().path();
        let Some(Method { variant, scope }) = Method::at(path) else {
            return Ok(unknown(path));
        };
        Ok(match variant {
            Variant::Delta => {
                let streams = Streams::<C, DeltaDiscoveryRequest>::new(self, scope);
                framing::streaming(streams, request, self.limits.request_bytes).await
            }
            Variant::Sotw => {
                let streams = Streams::<C, DiscoveryRequest>::new(self, scope);
                framing::streaming(streams, request, self.limits.request_bytes).await
            }
            Variant::Fetch => {
                let fetch = Fetch { control: Arc::clone(&self.control), scope, limits: self.limits };
                let codec = PreEncoded::<DiscoveryRequest>::default();
                Grpc::new(codec).max_decoding_message_size(self.limits.request_bytes).unary(fetch, request).await
            }
        })
    }
}

/// The full names of the discovery services, such as `envoy.service.secret.v3.SecretDiscoveryService`.
pub fn services() -> impl Iterator<Item = &'static str> {
    super::method::services()
}

/// `UNIMPLEMENTED`. The path is somebody else's text, so no more than the length of a real one is repeated.
fn unknown(path: &str) -> http::Response<Body> {
    const SHOWN: usize = 128;
    let shown: String = path.chars().take(SHOWN).collect();
    Status::unimplemented(format!("{} is not served here", shown.escape_debug())).into_http()
}

struct Streams<C, R> {
    service: XdsService<C>,
    scope: Scope,
    request: std::marker::PhantomData<fn() -> R>,
}

impl<C: ControlPlane, R> Streams<C, R> {
    fn new(service: &XdsService<C>, scope: Scope) -> Self {
        Self { service: service.clone(), scope, request: std::marker::PhantomData }
    }
}

impl<C: ControlPlane, R: Request> StreamingService<R> for Streams<C, R> {
    type Response = Response;
    type ResponseStream = ResponseStream;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<GrpcResponse<ResponseStream>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Streaming<R>>) -> Self::Future {
        let (XdsService { control, drain, limits }, scope) = (self.service.clone(), self.scope);
        Box::pin(async move {
            let peer = request.extensions().get::<C::Peer>().cloned();
            let drain = drain.or(request.extensions().get::<DrainSignal>().cloned());
            let terms = Terms { scope, limits, drain };
            let responses = stream::open(control, peer, request.into_inner(), terms).await?;
            Ok(GrpcResponse::new(responses))
        })
    }
}
