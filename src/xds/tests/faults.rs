//! Servers with one fault each. The model has to find every one of them, or it shows nothing of the one that has none.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

use super::*;
use crate::xds::model::{Client, DeltaClient, Side, SotwClient, run_against};
use crate::xds::refusals::Parcel;
use crate::xds::wire::Form;

/// What a fault needs to know of a variant.
trait Variant: Subscription<Request: Clone> {
    /// The acknowledgement of a response by a client whose newest request is this.
    fn acknowledgement(of: &Response, newest: &Self::Request) -> Self::Request;

    /// The response, with other contents.
    fn altered(response: &Response, resources: Vec<Arc<Resource>>, removed: Vec<Arc<str>>) -> Response;
}

impl Variant for DeltaSubscription {
    fn acknowledgement(of: &Response, _: &DeltaRequest) -> DeltaRequest {
        DeltaRequest { nonce: of.nonce.to_string(), ..DeltaRequest::default() }
    }

    fn altered(response: &Response, resources: Vec<Arc<Resource>>, removed: Vec<Arc<str>>) -> Response {
        Response::delta(response.ty, None, Parcel { resources, removed, form: Form::Plain }, response.nonce)
    }
}

impl Variant for SotwSubscription {
    fn acknowledgement(of: &Response, newest: &SotwRequest) -> SotwRequest {
        SotwRequest { nonce: of.nonce.to_string(), error: None, ..newest.clone() }
    }

    fn altered(response: &Response, resources: Vec<Arc<Resource>>, _: Vec<Arc<str>>) -> Response {
        Response::sotw(response.ty, Version::of(b"another"), resources, Form::Plain, response.nonce)
    }
}

/// What a fault makes of responses.
trait Fault<S>: Default {
    /// What is sent in the place of a response. Of `None`, the server believes that the client has taken it.
    fn response(&mut self, response: Response, view: &View) -> Option<Response>;

    /// What is sent besides.
    fn besides(&mut self) -> Option<Response> {
        None
    }

    fn outcome(&mut self, _: ResourceType, _: &Outcome) {}
}

struct Faulty<S: Subscription, F> {
    session: Session<S>,
    newest: BTreeMap<ResourceType, S::Request>,
    fault: F,
}

impl<S: Variant, F: Fault<S>> Default for Faulty<S, F> {
    fn default() -> Self {
        Self { session: Session::default(), newest: BTreeMap::new(), fault: F::default() }
    }
}

impl<S: Variant, F: Fault<S>> Side<S> for Faulty<S, F> {
    fn on_request(&mut self, ty: ResourceType, request: S::Request, view: &View) -> Outcome {
        self.newest.insert(ty, request.clone());
        let outcome = self.session.on_request(ty, request, view);
        self.fault.outcome(ty, &outcome);
        outcome
    }

    fn next_response(&mut self, view: &View) -> Option<Response> {
        if let Some(response) = self.fault.besides() {
            return Some(response);
        }
        loop {
            let response = self.session.next_response(view)?;
            let (ty, newest) = (response.ty, &self.newest[&response.ty]);
            let acknowledgement = S::acknowledgement(&response, newest);
            if let Some(response) = self.fault.response(response, view) {
                return Some(response);
            }
            self.session.on_request(ty, acknowledgement, view);
        }
    }

    fn reconnect(&mut self) {
        *self = Self { session: Session::new(self.session.memory()), ..Self::default() };
    }

    fn tell(&mut self) {}
}

fn parts(response: &Response) -> (Vec<Arc<Resource>>, Vec<Arc<str>>) {
    let resources = response.contents.iter().filter_map(|(_, resource)| resource.clone()).collect();
    let removed = response.contents.iter().filter(|(_, resource)| resource.is_none());
    (resources, removed.map(|(name, _)| Arc::clone(name)).collect())
}

/// Loses what is sent under one name.
#[derive(Default)]
struct Loses;

impl<S: Variant> Fault<S> for Loses {
    fn response(&mut self, response: Response, _: &View) -> Option<Response> {
        let is_lost = response.contents.iter().any(|(name, resource)| &**name == "n1" && resource.is_some());
        (!is_lost).then_some(response)
    }
}

/// Sends what was refused again, in the place of what is next.
#[derive(Default)]
struct Repeats {
    sent: BTreeMap<ResourceType, Response>,
    refused: BTreeMap<ResourceType, Response>,
}

impl<S: Variant> Fault<S> for Repeats {
    fn response(&mut self, response: Response, _: &View) -> Option<Response> {
        if let Some(refused) = self.refused.get(&response.ty) {
            let mut again = refused.clone();
            again.nonce = response.nonce;
            return Some(again);
        }
        self.sent.insert(response.ty, response.clone());
        Some(response)
    }

    fn outcome(&mut self, ty: ResourceType, outcome: &Outcome) {
        if let Outcome::Rejected { .. } = outcome {
            self.refused.extend(self.sent.remove(&ty).map(|response| (ty, response)));
        }
    }
}

/// Does not wait for an answer.
#[derive(Default)]
struct Hurries(Option<Response>);

impl<S: Variant> Fault<S> for Hurries {
    fn response(&mut self, response: Response, _: &View) -> Option<Response> {
        self.0 = Some(response.clone());
        Some(response)
    }

    fn besides(&mut self) -> Option<Response> {
        self.0.take()
    }
}

/// Sends all that there is to whoever asks for some of it.
#[derive(Default)]
struct Leaks;

impl<S: Variant> Fault<S> for Leaks {
    fn response(&mut self, response: Response, view: &View) -> Option<Response> {
        let (mut resources, removed) = parts(&response);
        let missing = |it: &&Arc<Resource>| !response.contents.iter().any(|(name, _)| name == it.name());
        let known = resources.len();
        resources.extend(view.resources(response.ty).filter(missing).cloned());
        Some(if resources.len() == known { response } else { S::altered(&response, resources, removed) })
    }
}

/// Never tells that something has ended.
#[derive(Default)]
struct Keeps(BTreeMap<(ResourceType, Arc<str>), Arc<Resource>>);

impl<S: Variant> Fault<S> for Keeps {
    fn response(&mut self, response: Response, view: &View) -> Option<Response> {
        let (mut resources, removed) = parts(&response);
        for resource in &resources {
            self.0.insert((response.ty, Arc::clone(resource.name())), Arc::clone(resource));
        }
        let gone = self.0.iter().filter(|((ty, name), _)| *ty == response.ty && view.get(*ty, name).is_none());
        let in_list = |name: &str, list: &[Arc<Resource>]| list.iter().any(|it| &**it.name() == name);
        if removed.is_empty() && response.ty.is_full_state() {
            let gone: Vec<_> = gone.filter(|((_, name), _)| !in_list(name, &resources)).map(|(_, it)| it).collect();
            resources.extend(gone.into_iter().cloned());
        }
        let is_same = removed.is_empty() && resources.len() == response.contents.len();
        Some(if is_same { response } else { S::altered(&response, resources, Vec::new()) })
    }
}

/// Sends what stood under a name first.
#[derive(Default)]
struct Lags(BTreeMap<(ResourceType, Arc<str>), Arc<Resource>>);

impl<S: Variant> Fault<S> for Lags {
    fn response(&mut self, response: Response, _: &View) -> Option<Response> {
        let (resources, removed) = parts(&response);
        let first = |it: &Arc<Resource>| {
            let key = (response.ty, Arc::clone(it.name()));
            Arc::clone(self.0.entry(key).or_insert_with(|| Arc::clone(it)))
        };
        let first: Vec<_> = resources.iter().map(first).collect();
        let is_same = first.iter().zip(&resources).all(|(left, right)| left.version() == right.version());
        Some(if is_same { response } else { S::altered(&response, first, removed) })
    }
}

/// The model says of this fault what it is.
fn finds<C: Client<Subscription: Variant>, F: Fault<C::Subscription>>(what: &str) {
    let config =
        ProptestConfig { cases: 1024, failure_persistence: None, max_shrink_iters: 0, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let result = runner.run(&vec(any::<u8>(), 0..160), |history| {
        run_against::<C, Faulty<C::Subscription, F>>(&history);
        Ok(())
    });
    match result {
        Err(TestError::Fail(reason, _)) => assert!(reason.message().contains(what), "{reason}"),
        other => panic!("the model does not see it: {other:?}"),
    }
}

/// Makes the tests of one fault in both variants.
macro_rules! the_model_finds {
    ($($name:ident: $fault:ty, $what:literal;)+) => {
        $(
            mod $name {
                use super::*;

                #[test]
                fn in_delta() {
                    finds::<DeltaClient, $fault>($what);
                }

                #[test]
                fn in_sotw() {
                    finds::<SotwClient, $fault>($what);
                }
            }
        )+
    };
}

the_model_finds! {
    an_update_that_is_lost: Loses, "is there and wanted";
    a_refused_response_that_comes_again: Repeats, "was refused and came again";
    a_response_that_does_not_wait_for_an_answer: Hurries, "a second response of";
    what_was_not_asked_for: Leaks, "nobody has asked for it";
    what_is_never_taken_away: Keeps, "is gone";
    older_content: Lags, "was sent and is not there";
}

mod none {
    use super::*;

    #[derive(Default)]
    struct None;

    impl<S: Variant> Fault<S> for None {
        fn response(&mut self, response: Response, _: &View) -> Option<Response> {
            Some(response)
        }
    }

    /// The wrapping is not what is found.
    #[test]
    #[should_panic(expected = "the model does not see it: Ok")]
    fn is_not_found() {
        finds::<DeltaClient, None>("");
    }
}
