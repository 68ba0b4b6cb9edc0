//! The gRPC services: which path is which stream.

use std::convert::Infallible;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use tonic::Status;
use tonic::body::Body;
use tonic::server::Grpc;

use super::codec::PreEncoded;
use super::fetch::Fetch;
use super::framing;
use super::lean::BoxError;
use super::method::{Method, Variant};
use super::requests::Requests;
use super::scope::Scope;
use super::stream::{self, Request, ResponseStream, Terms};
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
        B::Error: Into<BoxError> + Send,
    {
        let path = request.uri().path();
        let Some(Method { variant, scope }) = Method::at(path) else {
            return Ok(unknown(path));
        };
        Ok(match variant {
            Variant::Delta => framing::answer(self.open::<DeltaDiscoveryRequest, B>(scope, request).await),
            Variant::Sotw => framing::answer(self.open::<DiscoveryRequest, B>(scope, request).await),
            Variant::Fetch => {
                let fetch = Fetch { control: Arc::clone(&self.control), scope, limits: self.limits };
                let codec = PreEncoded::<DiscoveryRequest>::default();
                Grpc::new(codec).max_decoding_message_size(self.limits.request_bytes).unary(fetch, request).await
            }
        })
    }

    async fn open<R, B>(&self, scope: Scope, request: http::Request<B>) -> Result<ResponseStream, Status>
    where
        R: Request,
        B: http_body::Body + Send + 'static,
        B::Error: Into<BoxError> + Send,
    {
        let (head, body) = request.into_parts();
        let peer = head.extensions.get::<C::Peer>().cloned();
        let drain = self.drain.clone().or(head.extensions.get::<DrainSignal>().cloned());
        drop(head);
        let terms = Terms { scope, limits: self.limits, drain };
        let requests = Requests::<R, B>::new(body, self.limits.request_bytes);
        stream::open(Arc::clone(&self.control), peer, requests, terms).await
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
