//! `Fetch…`: one request, one answer, no subscription.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use tonic::server::UnaryService;
use tonic::{Response as GrpcResponse, Status};

use super::scope::Scope;
use super::wire::{Form, Response};
use super::{Attachment, ControlPlane, Limits, NodeInfo, Resource, ResourceType, StreamObserver, Version, View};

/// Answers one unary request with what the client may have now. `version_info` is not compared: who asks gets an answer.
pub(super) struct Fetch<C> {
    pub(super) control: Arc<C>,
    pub(super) scope: Scope,
    pub(super) limits: Limits,
}

impl<C: ControlPlane> UnaryService<DiscoveryRequest> for Fetch<C> {
    type Response = Response;
    type Future = Pin<Box<dyn Future<Output = Result<GrpcResponse<Response>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<DiscoveryRequest>) -> Self::Future {
        let (control, scope, limits) = (Arc::clone(&self.control), self.scope, self.limits);
        Box::pin(async move {
            let peer = request.extensions().get::<C::Peer>().cloned();
            let mut request = request.into_inner();
            let ty = scope.resolve(&request.type_url)?;
            let ty = ty.ok_or_else(|| Status::invalid_argument("this type is not served"))?;
            limits.check_names(request.resource_names.len())?;
            let node = request.node.take().map(NodeInfo::from).unwrap_or_default();
            let Attachment { views, mut observer } = control.attach(peer, node).await?;
            let view = Arc::clone(&views.borrow());
            for name in request.resource_names.iter().filter(|name| view.is_absent(ty, name)) {
                observer.unavailable(ty, name);
            }
            let resources = asked(&view, ty, &request.resource_names);
            let version = Version::of_set(resources.iter().map(|resource| (&**resource.name(), resource.version())));
            let response = Response::sotw(ty, version, resources, Form::Plain, 1);
            observer.sent(&response);
            Ok(GrpcResponse::new(response))
        })
    }
}

/// The named resources that are there, by name; without names all, of the types that have a wildcard.
fn asked(view: &View, ty: ResourceType, names: &[String]) -> Vec<Arc<Resource>> {
    let found: BTreeMap<_, _> = if names.is_empty() && ty.is_full_state() {
        view.resources(ty).map(|resource| (Arc::clone(resource.name()), resource)).collect()
    } else {
        let named = names.iter().filter_map(|name| view.get(ty, name));
        named.map(|resource| (Arc::clone(resource.name()), resource)).collect()
    };
    found.into_values().cloned().collect()
}
