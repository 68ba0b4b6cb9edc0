//! Which service a request is for, and who may ask it: discovery, renewal and reflection whoever is known, client status operators,
//! health and joining everybody.

use std::convert::Infallible;
use std::sync::Arc;

use envoy_types::pb::envoy::service::status::v3::client_status_discovery_service_server::ClientStatusDiscoveryServiceServer;
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::{Status, server::NamedService};
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use super::client_status::ClientStatus;
use super::enroller::Enrolling;
use super::proxies::Proxies;
use super::refusals::{Refusal, Refusals};
use crate::enrollment::Enrollment;
use crate::identity::{Peer, SpiffeId};
use crate::xds::{self, XdsService};

type Grpc = BoxCloneSyncService<http::Request<Incoming>, http::Response<Body>, Infallible>;

/// `grpc.health.v1.Health`, for whoever has come as far as HTTP/2: a probe knows no secret, and learns none.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// `proto/README.md` says how it is made.
const DESCRIPTORS: &[u8] = include_bytes!("../../proto/services.binpb");

/// Everything that the xDS listeners offer.
#[derive(Clone)]
pub(super) struct Services {
    xds: XdsService<Proxies>,
    enrollment: Enrollment<Enrolling>,
    health: Grpc,
    status: Grpc,
    status_path: String,
    reflection: [(String, Grpc); 2],
    operators: Arc<[SpiffeId]>,
    refusals: Arc<Refusals>,
}

/// Says at the health service whether policy is served.
#[derive(Clone)]
pub(super) struct Health(HealthReporter);

impl Services {
    /// The discovery services, health, and client status for these operators.
    pub(super) fn new(
        xds: XdsService<Proxies>,
        enrolling: Enrolling,
        operators: &[SpiffeId],
        refusals: Arc<Refusals>,
    ) -> (Self, Health) {
        type Status = ClientStatusDiscoveryServiceServer<ClientStatus>;
        let (reporter, health) = health_reporter();
        let status = Status::new(ClientStatus::new(Arc::clone(&enrolling.proxies.fleet)));
        // The descriptors have more services than are served.
        let described = |own: &'static str| {
            let served = xds::services().chain([Status::NAME, "grpc.health.v1.Health", own]);
            let builder = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
            served.fold(builder, tonic_reflection::server::Builder::with_service_name)
        };
        let (v1, v1alpha) = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection");
        let services = Self {
            xds,
            enrollment: Enrollment::new(Arc::new(enrolling)),
            health: BoxCloneSyncService::new(health),
            status: BoxCloneSyncService::new(status),
            status_path: format!("/{}/", Status::NAME),
            reflection: [
                under(described(v1).build_v1().expect("the embedded descriptors")),
                under(described(v1alpha).build_v1alpha().expect("the embedded descriptors")),
            ],
            operators: operators.into(),
            refusals,
        };
        (services, Health(reporter))
    }

    /// Whether this path is for everybody.
    pub(super) fn is_public(&self, path: &str) -> bool {
        path.starts_with(HEALTH) || Enrollment::<Enrolling>::is_public(path)
    }

    /// Whether this path is where a certificate is renewed.
    pub(super) fn is_renewal(&self, path: &str) -> bool {
        Enrollment::<Enrolling>::is_renewal(path)
    }

    /// Answers a request that is for everybody.
    pub(super) async fn public(&self, request: http::Request<Incoming>) -> http::Response<Body> {
        match self.enrollment.handle(request).await {
            Ok(response) => response,
            Err(request) => call(&self.health, request).await,
        }
    }

    /// Answers a request of this peer.
    pub(super) async fn answer(
        &self,
        peer: Peer,
        from: &str,
        mut request: http::Request<Incoming>,
    ) -> http::Response<Body> {
        // Compared byte for byte, and what is behind the prefix too, by the service itself: no path is cleaned up first.
        if request.uri().path().starts_with(&self.status_path) {
            if !matches!(&peer, Peer::Authenticated { id, .. } if self.operators.contains(id)) {
                let who = match &peer {
                    Peer::Authenticated { id, .. } => format!("{id} at {from}"),
                    Peer::Unauthenticated => from.to_owned(),
                };
                self.refusals.note(Refusal::NotOperator, &who, &"the state of the clients is for operators");
                return Status::permission_denied("only for the identities in xds.operators").into_http();
            }
            return call(&self.status, request).await;
        }
        let path = request.uri().path();
        if let Some((_, reflection)) = self.reflection.iter().find(|(prefix, _)| path.starts_with(prefix)) {
            return call(reflection, request).await;
        }
        request.extensions_mut().insert(peer);
        match self.enrollment.handle(request).await {
            Ok(response) => response,
            Err(request) => self.xds.handle(request).await.unwrap_or_else(|never| match never {}),
        }
    }
}

/// A service and what its paths begin with.
fn under<S>(service: S) -> (String, Grpc)
where
    S: NamedService + Clone + Send + Sync + 'static,
    S: tower::Service<http::Request<Incoming>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    (format!("/{}/", S::NAME), BoxCloneSyncService::new(service))
}

async fn call(service: &Grpc, request: http::Request<Incoming>) -> http::Response<Body> {
    service.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
}

impl Health {
    /// Says of the server and of each discovery service whether it serves.
    pub(super) async fn set(&self, is_serving: bool) {
        let status = if is_serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in std::iter::once("").chain(xds::services()) {
            self.0.set_service_status(service, status).await;
        }
    }

    /// Says that it serves as soon as there is a policy to serve.
    pub(super) fn follow(&self, mut is_serving: watch::Receiver<bool>) -> JoinHandle<()> {
        let health = self.clone();
        tokio::spawn(async move {
            if is_serving.wait_for(|serving| *serving).await.is_ok() {
                health.set(true).await;
            }
        })
    }
}
