//! A model of the protocol: a server, a simple client that behaves like Envoy, and a wire between them on which any of the two may be
//! late. Random bytes make a history; after it, once nothing is on its way any more, the client must have what it asked for. Property
//! tests and a fuzz target drive it.

mod asked;
mod delta;
mod side;
mod sotw;
mod world;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use prost::Message as _;

use super::{Outcome, ResourceType, Response, Session, Subscription, stream};

use asked::Asked;
pub use delta::DeltaClient;
pub(super) use side::Side;
pub use sotw::SotwClient;
use world::{Bytes, Refused, World};

/// The types of the model: two that are full-state, of which one holds back the removals of the other, and two that are not.
const TYPES: [ResourceType; 4] =
    [ResourceType::Cluster, ResourceType::Endpoint, ResourceType::Secret, ResourceType::Listener];

/// The names there are.
const NAMES: u8 = 6;

/// No history this short makes more responses than this.
const RESPONSES: usize = 4_000;

/// A reference client: what it wants, what it has, and how it answers.
pub trait Client: Default {
    /// The variant under test.
    type Subscription: Subscription<Request: Clone>;

    /// A request that changes what is asked for; `None` where nothing is to be said.
    #[doc(hidden)]
    fn change(&mut self, ty: ResourceType, wish: Wish) -> Option<Request<Self>>;

    /// The first request on a new stream.
    #[doc(hidden)]
    fn hello(&mut self, ty: ResourceType) -> Option<Request<Self>>;

    /// Takes a request that the server has read into account: what it asks for, and what it lets go.
    #[doc(hidden)]
    fn subscribe(asked: &mut Asked, ty: ResourceType, request: &Request<Self>);

    /// The names that a request asks for anew, after the one that was read before it.
    #[doc(hidden)]
    fn asked(request: &Request<Self>, before: Option<&Request<Self>>) -> Vec<String>;

    /// Whether the server takes a request with this outcome into account.
    #[doc(hidden)]
    fn counts(outcome: &Outcome) -> bool;

    /// The server has never read `request`, the one before it being `before`.
    #[doc(hidden)]
    fn unread(&mut self, ty: ResourceType, request: &Request<Self>, before: Option<&Request<Self>>);

    /// A request that was said before, as it would come late; `None` where a client never says such.
    #[doc(hidden)]
    fn stale(request: &Request<Self>) -> Option<Request<Self>>;

    /// Takes a response, and answers.
    #[doc(hidden)]
    fn take(&mut self, ty: ResourceType, wire: &[u8]) -> (Request<Self>, bool);

    /// What is in a response: names with the bytes of each, none for what is removed.
    #[doc(hidden)]
    fn read(wire: &[u8]) -> Vec<(String, Vec<u8>)>;

    /// Whether it wants a name, and what it has under it.
    #[doc(hidden)]
    fn state(&self, ty: ResourceType, name: &str) -> (bool, Option<u8>);

    /// Whether it hears of the end of resources of this type.
    #[doc(hidden)]
    fn hears_removals(ty: ResourceType) -> bool;
}

type Request<C> = <<C as Client>::Subscription as Subscription>::Request;

/// A change of what a client wants.
#[derive(Clone, Debug)]
pub enum Wish {
    /// It wants a name, anew if it wanted it before.
    Name(String),
    /// It no longer wants a name.
    NoName(String),
    /// It wants everything.
    Everything,
    /// It no longer wants everything.
    NotEverything,
}

/// Runs the history that `bytes` make. Panics where a rule is broken.
pub fn run<C: Client>(bytes: &[u8]) {
    run_against::<C, Session<C::Subscription>>(bytes);
}

/// The same against a server that may have a fault.
pub(super) fn run_against<C: Client, S: Side<C::Subscription>>(bytes: &[u8]) {
    let mut run = Run::<C, S>::new();
    for step in bytes.chunks_exact(2) {
        run.step(step[0], step[1]);
    }
    run.quiesce();
    run.check();
}

/// Has whatever requests of either variant these bytes are answered.
pub fn answer_bytes(bytes: &[u8]) {
    let mut world = World::default();
    TYPES.into_iter().for_each(|ty| world.set(ty, "n0".to_owned(), 0));
    if let Ok(request) = DeltaDiscoveryRequest::decode(bytes) {
        answer::<DeltaDiscoveryRequest>(request, &world);
    }
    if let Ok(request) = DiscoveryRequest::decode(bytes) {
        answer::<DiscoveryRequest>(request, &world);
    }
}

/// The same request three times: as the first, and twice as another.
fn answer<R: stream::Request + Clone>(request: R, world: &World) {
    let mut session = Session::<R::Subscription>::default();
    let ty = ResourceType::from_url(request.type_url()).unwrap_or(ResourceType::Secret);
    for _ in 0..3 {
        let mut request = request.clone();
        drop(request.take_node());
        session.on_request(ty, request.reduce(), &world.view);
        while session.next_response(&world.view).is_some() {}
    }
}

struct Run<C: Client, S> {
    world: World,
    client: C,
    server: S,
    /// What the requests that the server has read ask for.
    asked: BTreeMap<ResourceType, Asked>,
    started: BTreeSet<ResourceType>,
    requests: VecDeque<(ResourceType, Request<C>)>,
    responses: VecDeque<Response>,
    last: Option<(ResourceType, Request<C>)>,
    read: BTreeMap<ResourceType, Request<C>>,
    refused: Refused,
    sent: usize,
}

impl<C: Client, S: Side<C::Subscription>> Run<C, S> {
    fn new() -> Self {
        Self {
            world: World::default(),
            client: C::default(),
            server: S::default(),
            asked: BTreeMap::new(),
            started: BTreeSet::new(),
            requests: VecDeque::new(),
            responses: VecDeque::new(),
            last: None,
            read: BTreeMap::new(),
            refused: Refused::default(),
            sent: 0,
        }
    }

    fn step(&mut self, op: u8, argument: u8) {
        let ty = TYPES[usize::from(argument >> 6)];
        let name = format!("n{}", argument % NAMES);
        match op % 16 {
            0 | 1 => self.wish(ty, Wish::Name(name)),
            2 => self.wish(ty, Wish::NoName(name)),
            3 => self.wish(ty, Wish::Everything),
            4 => self.wish(ty, Wish::NotEverything),
            5..=7 => self.change(|world| world.set(ty, name, op >> 4)),
            8 => self.change(|world| world.prepare(ty, name)),
            9 => self.change(|world| world.remove(ty, &name)),
            10 => self.change(World::start_anew),
            11 | 12 => self.serve(),
            13 => self.hear(),
            14 => self.reconnect(),
            // The client says something once more: it is stale by now, or not.
            _ => {
                let late = self.last.as_ref().and_then(|(ty, request)| Some((*ty, C::stale(request)?)));
                self.requests.extend(late);
            }
        }
    }

    fn wish(&mut self, ty: ResourceType, wish: Wish) {
        if let Some(request) = self.client.change(ty, wish) {
            self.started.insert(ty);
            self.requests.push_back((ty, request));
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut World)) {
        change(&mut self.world);
        if !C::hears_removals(ResourceType::Endpoint) {
            self.refused.lists_changed();
        }
        self.poll();
    }

    /// The server reads a request.
    fn serve(&mut self) {
        let Some((ty, request)) = self.requests.pop_front() else { return };
        self.last = Some((ty, request.clone()));
        let outcome = self.server.on_request(ty, request.clone(), &self.world.view);
        if matches!(outcome, Outcome::Acknowledged(_)) && ty == ResourceType::Secret {
            self.refused.secrets_changed();
        }
        if C::counts(&outcome) {
            C::subscribe(self.asked.entry(ty).or_default(), ty, &request);
            self.refused.asked(ty, &C::asked(&request, self.read.get(&ty)));
            self.read.insert(ty, request);
        }
        self.poll();
    }

    /// The server writes what is due.
    fn poll(&mut self) {
        while let Some(response) = self.server.next_response(&self.world.view) {
            self.sent += 1;
            assert!(self.sent < RESPONSES, "no end of responses");
            let contents = C::read(&encode(&response));
            for (name, _) in &contents {
                let asked = self.asked.get(&response.ty).is_some_and(|asked| asked.covers(name));
                assert!(asked, "{} {name} was sent and nobody has asked for it", response.ty);
            }
            for (name, bytes) in contents.iter().filter(|(_, bytes)| !bytes.is_empty()) {
                self.world.assert_allowed(response.ty, name, bytes);
            }
            self.refused.sent(response.ty, &contents);
            let waiting = self.responses.iter().filter(|other| other.ty == response.ty).count();
            assert_eq!(waiting, 0, "a second response of {} in flight", response.ty);
            self.responses.push_back(response);
        }
        self.server.tell();
    }

    /// The client reads a response.
    fn hear(&mut self) {
        let Some(response) = self.responses.pop_front() else { return };
        let wire = encode(&response);
        let (answer, refused) = self.client.take(response.ty, &wire);
        if refused {
            self.refused.add(response.ty, C::read(&wire));
        } else {
            self.refused.taken(response.ty, &C::read(&wire));
        }
        self.requests.push_back((response.ty, answer));
    }

    fn reconnect(&mut self) {
        for (ty, request) in &self.requests {
            self.client.unread(*ty, request, self.read.get(ty));
        }
        self.server.reconnect();
        self.asked.clear();
        self.requests.clear();
        self.responses.clear();
        self.last = None;
        self.read.clear();
        self.refused = Refused::default();
        for ty in self.started.clone() {
            if let Some(hello) = self.client.hello(ty) {
                self.requests.push_back((ty, hello));
            }
        }
    }

    fn quiesce(&mut self) {
        while !(self.requests.is_empty() && self.responses.is_empty()) {
            self.serve();
            self.hear();
        }
    }

    fn check(&self) {
        // A client that refuses a listener runs the old one, and what that names stays.
        let held_back = self
            .world
            .names(ResourceType::Listener)
            .any(|(name, bytes)| self.client.state(ResourceType::Listener, name).0 && world::is_bad(bytes));
        for ty in TYPES {
            for name in (0..NAMES).map(|n| format!("n{n}")) {
                let (wanted, has) = self.client.state(ty, &name);
                let there = self.world.content(ty, &name);
                match there {
                    _ if !wanted => {}
                    Some(Bytes::Present(good)) if !world::is_bad(good) => {
                        assert_eq!(has, Some(good), "{ty} {name} is there and wanted");
                    }
                    Some(Bytes::Present(_)) => assert!(has.is_none_or(|has| !world::is_bad(has))),
                    Some(Bytes::Pending) => {}
                    None if C::hears_removals(ty) && (!held_back || ty == ResourceType::Listener) => {
                        assert_eq!(has, None, "{ty} {name} is gone");
                    }
                    None => {}
                }
            }
        }
    }
}

fn encode(response: &Response) -> Vec<u8> {
    let mut wire = Vec::new();
    response.encode(&mut wire);
    wire
}
