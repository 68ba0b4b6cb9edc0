//! The gRPC service: which path is which stream.

use std::convert::Infallible;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use tonic::body::Body;
use tonic::server::StreamingService;
use tonic::{Response as GrpcResponse, Status, Streaming};

use super::framing;
use super::stream::{self, Request, ResponseStream};
use super::wire::Response;
use super::{ControlPlane, DrainSignal};

/// The largest request that is read, in bytes. A real one is 61 KB; with 100,000 names it stays below this.
const MAX_REQUEST: usize = 4 * 1024 * 1024;

const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const SOTW: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// `envoy.service.discovery.v3.AggregatedDiscoveryService`, both variants. Any other path is `UNIMPLEMENTED`.
pub struct XdsService<C> {
    control: Arc<C>,
    drain: DrainSignal,
}

impl<C> Clone for XdsService<C> {
    fn clone(&self) -> Self {
        Self { control: Arc::clone(&self.control), drain: self.drain.clone() }
    }
}

impl<C: ControlPlane> XdsService<C> {
    /// A service that asks `control` whom to let in, and ends its streams when `drain` says so.
    pub fn new(control: Arc<C>, drain: DrainSignal) -> Self {
        Self { control, drain }
    }

    /// Answers one HTTP/2 request. The peer, where the connection has one, is in the request's extensions.
    ///
    /// # Errors
    /// None: what goes wrong is a gRPC status in the response.
    pub async fn handle<B>(&self, request: http::Request<B>) -> Result<http::Response<Body>, Infallible>
    where
        B: http_body::Body + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        // The path is compared byte for byte: one that only looks like ours after some clean-up is not ours.
        let response = match request.uri().path() {
            DELTA => framing::streaming(Aggregated::<C, DeltaDiscoveryRequest>::new(self), request, MAX_REQUEST).await,
            SOTW => framing::streaming(Aggregated::<C, DiscoveryRequest>::new(self), request, MAX_REQUEST).await,
            path => Status::unimplemented(format!("{path} is not served here")).into_http(),
        };
        Ok(response)
    }
}

struct Aggregated<C, R> {
    service: XdsService<C>,
    request: std::marker::PhantomData<fn() -> R>,
}

impl<C: ControlPlane, R> Aggregated<C, R> {
    fn new(service: &XdsService<C>) -> Self {
        Self { service: service.clone(), request: std::marker::PhantomData }
    }
}

impl<C: ControlPlane, R: Request> StreamingService<R> for Aggregated<C, R> {
    type Response = Response;
    type ResponseStream = ResponseStream;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<GrpcResponse<ResponseStream>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Streaming<R>>) -> Self::Future {
        let XdsService { control, drain } = self.service.clone();
        Box::pin(async move {
            let peer = request.extensions().get::<C::Peer>().cloned();
            let responses = stream::open(control, peer, request.into_inner(), drain).await?;
            Ok(GrpcResponse::new(responses))
        })
    }
}
