//! The books, over real protocol state and an injected clock.

mod adoption;
mod memories;
mod records;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use time::OffsetDateTime;

use super::*;
use crate::xds::{DeltaRequest, DeltaSubscription, Layer, NodeInfo, Resource, Response, Session, StreamObserver, View};
use ResourceType::Secret;

/// A fleet whose clock is set by hand, in seconds.
struct Books {
    fleet: Arc<Fleet>,
    seconds: Arc<AtomicI64>,
}

impl Books {
    fn new() -> Self {
        let seconds = Arc::new(AtomicI64::new(1_000));
        let clock = Arc::clone(&seconds);
        let now = move || OffsetDateTime::from_unix_timestamp(clock.load(Ordering::Relaxed)).unwrap();
        Self { fleet: Arc::new(Fleet::new(Arc::new(now))), seconds }
    }

    fn at(&self, seconds: i64) -> OffsetDateTime {
        self.seconds.store(seconds, Ordering::Relaxed);
        OffsetDateTime::from_unix_timestamp(seconds).unwrap()
    }

    fn join(&self, workload: &str) -> Stream {
        let description = Description {
            workload: workload.to_owned(),
            identity: Some(format!("spiffe://td/{workload}")),
            node: NodeInfo { user_agent: "envoy 1.40.0".into(), ..NodeInfo::default() },
            connected_since: (self.fleet.clock)(),
        };
        let mut observer = self.fleet.join(description);
        let session = Session::new(observer.recall());
        Stream { observer, session }
    }

    fn of(&self, workload: &str) -> StreamRecord {
        self.fleet.streams().into_iter().find(|it| it.description.workload == workload).unwrap()
    }
}

/// A stream as the server runs it.
struct Stream {
    observer: Observer,
    session: Session<DeltaSubscription>,
}

impl Stream {
    fn request(&mut self, ty: ResourceType, request: DeltaRequest, view: &View) {
        let outcome = self.session.on_request(ty, request, view);
        self.observer.answered(ty, &outcome);
    }

    fn subscribe(&mut self, ty: ResourceType, names: &[&str], view: &View) {
        let subscribe = names.iter().map(|name| (*name).to_owned()).collect();
        self.request(ty, DeltaRequest { subscribe, ..DeltaRequest::default() }, view);
    }

    fn next(&mut self, view: &View) -> Option<Response> {
        let response = self.session.next_response(view);
        match &response {
            Some(response) => self.observer.sent(response),
            None => self.session.settled().for_each(|(ty, holdings)| self.observer.settled(ty, holdings)),
        }
        response
    }

    fn ack(&mut self, response: &Response, view: &View) {
        let request = DeltaRequest { nonce: response.nonce.to_string(), ..DeltaRequest::default() };
        self.request(response.ty, request, view);
    }

    fn nack(&mut self, response: &Response, error: &str, view: &View) {
        let (nonce, error) = (response.nonce.to_string(), Some(error.to_owned()));
        self.request(response.ty, DeltaRequest { nonce, error, ..DeltaRequest::default() }, view);
    }

    fn leave(mut self) {
        self.observer.remember(self.session.memory());
    }

    fn drain(&mut self, view: &View) {
        while let Some(response) = self.next(view) {
            self.ack(&response, view);
        }
    }
}

fn restate(value: &[u8]) -> Option<Vec<u8>> {
    Some([value, b"\n"].concat())
}

fn secret(name: &str, content: &str) -> Resource {
    Resource::new(Secret, name, content.as_bytes()).with_serial(format!("serial of {content}")).restated_by(restate)
}

fn view(resources: impl IntoIterator<Item = Resource>) -> View {
    View::new(&[Arc::new(Layer::new(resources.into_iter().map(|it| (it.ty(), Arc::new(it))), None))])
}

fn version(view: &View, name: &str) -> Version {
    view.get(Secret, name).unwrap().version()
}
