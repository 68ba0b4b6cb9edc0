//! The asynchronous shell around a [`Session`]: one stream, polled by the connection that carries it. It has no task and no
//! channel of its own, so a client that does not read costs one response and delays nobody.

use std::pin::Pin;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use futures_util::stream::{self, Stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tonic::{Code, Status};
use tracing::{debug, info};

use super::lean::BoxError;
use super::limits::{Pace, cut};
use super::requests::Requests;
use super::scope::Scope;
use super::wire::Response;
use super::{
    Attachment, ControlPlane, DeltaRequest, DeltaSubscription, DrainSignal, Limits, NodeInfo, Session, SotwRequest,
    SotwSubscription, StreamObserver, Subscription, View,
};

/// A request message of either variant.
pub(super) trait Request: prost::Message + Default + Send + 'static {
    /// The number of the field `node`.
    const NODE_FIELD: u32;
    /// The state machine that understands it.
    type Subscription: Subscription + 'static;

    fn take_node(&mut self) -> Option<Node>;
    fn type_url(&self) -> &str;
    fn asked(&self) -> &[String];
    /// How many names it holds, wherever they stand.
    fn names(&self) -> usize;
    /// The lists of names in it.
    fn lists(&self) -> [&[String]; 2];
    fn reduce(self) -> <Self::Subscription as Subscription>::Request;
}

impl Request for DeltaDiscoveryRequest {
    const NODE_FIELD: u32 = 1;
    type Subscription = DeltaSubscription;

    fn take_node(&mut self) -> Option<Node> {
        self.node.take()
    }

    fn type_url(&self) -> &str {
        &self.type_url
    }

    fn asked(&self) -> &[String] {
        &self.resource_names_subscribe
    }

    fn names(&self) -> usize {
        let changed = self.resource_names_subscribe.len() + self.resource_names_unsubscribe.len();
        changed.max(self.initial_resource_versions.len())
    }

    fn lists(&self) -> [&[String]; 2] {
        [&self.resource_names_subscribe, &self.resource_names_unsubscribe]
    }

    fn reduce(self) -> DeltaRequest {
        DeltaRequest {
            nonce: self.response_nonce,
            error: self.error_detail.map(|status| cut(status.message)),
            subscribe: self.resource_names_subscribe,
            unsubscribe: self.resource_names_unsubscribe,
            initial_versions: self.initial_resource_versions,
        }
    }
}

impl Request for DiscoveryRequest {
    const NODE_FIELD: u32 = 2;
    type Subscription = SotwSubscription;

    fn take_node(&mut self) -> Option<Node> {
        self.node.take()
    }

    fn type_url(&self) -> &str {
        &self.type_url
    }

    fn asked(&self) -> &[String] {
        &self.resource_names
    }

    fn names(&self) -> usize {
        self.resource_names.len()
    }

    fn lists(&self) -> [&[String]; 2] {
        [&self.resource_names, &[]]
    }

    fn reduce(self) -> SotwRequest {
        SotwRequest {
            version: self.version_info,
            nonce: self.response_nonce,
            error: self.error_detail.map(|status| cut(status.message)),
            names: self.resource_names,
        }
    }
}

/// The body of a response stream.
pub(super) type ResponseStream = Pin<Box<dyn Stream<Item = Result<Response, Status>> + Send>>;

struct Open<R: Request, B, O: StreamObserver> {
    session: Session<R::Subscription>,
    requests: Requests<R, B>,
    views: watch::Receiver<Arc<View>>,
    view: Arc<View>,
    observer: O,
    drain: Pin<Box<dyn Future<Output = &'static str> + Send>>,
    node: String,
    scope: Scope,
    limits: Limits,
    pace: Pace,
}

/// On what terms a stream is served.
pub(super) struct Terms {
    pub(super) scope: Scope,
    pub(super) limits: Limits,
    pub(super) drain: DrainSignal,
}

/// Opens a stream: waits for the first request, has the client let in, and answers from then on.
pub(super) async fn open<C, R, B>(
    control: Arc<C>,
    peer: Option<C::Peer>,
    mut requests: Requests<R, B>,
    Terms { scope, limits, mut drain }: Terms,
) -> Result<ResponseStream, Status>
where
    C: ControlPlane,
    R: Request,
    B: http_body::Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    let Some(mut first) = requests.next().await? else {
        return Ok(Box::pin(stream::empty()));
    };
    // Before anything is prepared for a client that is at the wrong service.
    scope.resolve(first.type_url())?;
    let node = first.take_node().map(NodeInfo::from).unwrap_or_default();
    let id = node.id.clone();
    let Attachment { mut views, mut observer } = control.attach(peer, node).await?;
    let view = Arc::clone(&views.borrow_and_update());
    let drain = Box::pin(async move { drain.turn().await });
    let (session, pace) = (Session::new(observer.recall()), Pace::new(&limits, Instant::now()));
    let mut open =
        Open::<R, B, C::Observer> { session, requests, views, view, observer, drain, node: id, scope, limits, pace };
    open.take(first)?;
    // In a box: `unfold` has room for the state twice, beside the future and within it.
    Ok(Box::pin(stream::unfold(Some(Box::new(open)), |open| async move {
        let mut open = open?;
        match open.next().await {
            Some(Ok(response)) => Some((Ok(response), Some(open))),
            Some(Err(status)) => Some((Err(status), None)),
            None => None,
        }
    })))
}

impl<R: Request, B, O: StreamObserver> Drop for Open<R, B, O> {
    fn drop(&mut self) {
        self.observer.remember(self.session.memory());
    }
}

impl<R, B, O> Open<R, B, O>
where
    R: Request,
    B: http_body::Body,
    B::Error: Into<BoxError>,
    O: StreamObserver,
{
    fn take(&mut self, request: R) -> Result<(), Status> {
        let names = request.names();
        self.pace.spend(names, Instant::now());
        self.limits.check_names(names)?;
        request.lists().into_iter().try_for_each(Limits::check_length)?;
        let Some(ty) = self.scope.resolve(request.type_url())? else {
            debug!(node = %self.node, type_url = request.type_url(), "a type that is not served");
            return Ok(());
        };
        for name in request.asked().iter().filter(|name| self.view.is_absent(ty, name)) {
            self.observer.unavailable(ty, name);
        }
        let outcome = self.session.on_request(ty, request.reduce(), &self.view);
        self.limits.check_names(self.session.names(ty))?;
        self.limits.check_bytes(self.session.name_bytes(ty))?;
        self.observer.answered(ty, &outcome);
        Ok(())
    }

    async fn next(&mut self) -> Option<Result<Response, Status>> {
        loop {
            if let Some(response) = self.session.next_response(&self.view) {
                self.observer.sent(&response);
                return Some(Ok(response));
            }
            let turn = self.pace.next();
            if turn > Instant::now() {
                self.observer.throttled();
            }
            for (ty, holdings) in self.session.settled() {
                self.observer.settled(ty, holdings);
            }
            if let Some(response) = self.session.heartbeat(Instant::now().into_std()) {
                return Some(Ok(response));
            }
            let beat = self.session.next_heartbeat();
            tokio::select! {
                request = read(&mut self.requests, turn) => match request {
                    Ok(Some(mut request)) => {
                        drop(request.take_node());
                        if let Err(status) = self.take(request) {
                            self.observer.refused(&status);
                            return Some(Err(status));
                        }
                    }
                    Ok(None) => return None,
                    Err(status) => {
                        if broke_a_rule(&status) {
                            self.observer.refused(&status);
                        } else {
                            debug!(node = %self.node, %status, "the stream broke");
                        }
                        return Some(Err(status));
                    }
                },
                changed = self.views.changed() => {
                    if changed.is_err() {
                        info!(node = %self.node, "the stream ends: its workload is no longer served");
                        return Some(Err(Status::permission_denied("this workload is no longer in the policy")));
                    }
                    self.view = Arc::clone(&self.views.borrow_and_update());
                }
                reason = &mut self.drain => return Some(Err(Status::unavailable(reason))),
                () = at(beat), if beat.is_some() => {}
            }
        }
    }
}

/// Whether what came is no request, or too large a one. Anything else is a connection that is gone.
fn broke_a_rule(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted | Code::Unimplemented)
}

async fn at(beat: Option<std::time::Instant>) {
    match beat {
        Some(beat) => sleep_until(Instant::from_std(beat)).await,
        None => std::future::pending().await,
    }
}

/// The next request, when its turn has come. Cancelling it loses nothing.
async fn read<R, B>(requests: &mut Requests<R, B>, turn: Instant) -> Result<Option<R>, Status>
where
    R: Request,
    B: http_body::Body,
    B::Error: Into<BoxError>,
{
    if turn > Instant::now() {
        sleep_until(turn).await;
    }
    requests.next().await
}
