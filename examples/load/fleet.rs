//! Clients that behave like Envoys, and what they saw.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::grpc::{Failure, Stream};
use super::node;
use super::policy::{Policy, SHARED_SECRET};
use super::protocol::{Mode, References, Response};

/// Clients that are connecting at once.
const CONNECTING: usize = 64;
/// What each client lets the server have in flight, in bytes, as much as the largest first response.
const WINDOW: u32 = 1 << 20;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// The types, by the last part of their URL, in the order in which Envoy asks for them.
pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const ENDPOINT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";

/// How the clients connect.
pub enum Transport {
    /// TLS with a certificate for each workload, and a connection for each client.
    Tls(Vec<Arc<ClientConfig>>),
    /// No TLS, and this many connections for all.
    Plaintext(usize),
}

/// What the fleet is.
pub struct Plan {
    pub clients: usize,
    pub workloads: usize,
    pub mode: Mode,
    pub transport: Transport,
    pub server: SocketAddr,
}

/// What all clients saw since it was last cleared.
#[derive(Default)]
pub struct Tally {
    synced: AtomicUsize,
    failed: AtomicUsize,
    failure: Mutex<Option<String>>,
    bytes: AtomicU64,
    arrivals: Mutex<Vec<(&'static str, Instant)>>,
}

impl Tally {
    /// Forgets what came.
    pub fn clear(&self) {
        self.bytes.store(0, Ordering::Relaxed);
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Bytes of messages, without framing.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// When responses of a type came.
    pub fn arrivals(&self, ty: &str) -> Vec<Instant> {
        let all = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|(of, _)| *of == ty).map(|(_, at)| *at).collect()
    }

    /// Waits until `count` responses of a type have come.
    pub async fn wait(&self, ty: &str, count: usize) -> Result<Vec<Instant>, Box<dyn Error>> {
        let from = Instant::now();
        loop {
            let arrivals = self.arrivals(ty);
            if arrivals.len() >= count {
                return Ok(arrivals);
            }
            if from.elapsed() > PATIENCE {
                return Err(format!("{} of {count} responses of {ty} came", arrivals.len()).into());
            }
            // Long enough to take no share of the processor from what is measured.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn came(&self, response: &Response) {
        let at = Instant::now();
        self.bytes.fetch_add(response.size as u64, Ordering::Relaxed);
        let known = [CLUSTER, ENDPOINT, SECRET, LISTENER, ROUTE].into_iter().find(|ty| *ty == response.type_url);
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.push((known.unwrap_or_default(), at));
    }
}

/// A connected fleet. Dropping it closes every connection.
pub struct Fleet {
    pub tally: Arc<Tally>,
    tasks: Vec<JoinHandle<()>>,
    connections: Vec<JoinHandle<()>>,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.tasks.iter().chain(&self.connections).for_each(JoinHandle::abort);
    }
}

/// What clients share.
struct Shared {
    plan: Arc<Plan>,
    tally: Arc<Tally>,
    references: References,
    extensions: Vec<u8>,
    connecting: Semaphore,
}

impl Fleet {
    /// Connects all clients, and waits until each has everything it asked for.
    pub async fn connect(plan: &Arc<Plan>) -> Result<Self, Box<dyn Error>> {
        let tally = Arc::<Tally>::default();
        let shared = Arc::new(Shared {
            plan: Arc::clone(plan),
            tally: Arc::clone(&tally),
            references: References::default(),
            extensions: node::extensions(),
            connecting: Semaphore::new(CONNECTING),
        });
        let mut fleet = Self { tally, tasks: Vec::new(), connections: Vec::new() };
        let mut senders = Vec::new();
        if let Transport::Plaintext(connections) = plan.transport {
            for _ in 0..connections {
                let stream = TcpStream::connect(plan.server).await?;
                stream.set_nodelay(true)?;
                let (sender, connection) = handshake(stream).await.map_err(|error| error.to_string())?;
                fleet.connections.push(connection);
                senders.push(sender);
            }
        }
        for index in 0..plan.clients {
            let shared = Arc::clone(&shared);
            let sender = (!senders.is_empty()).then(|| senders[index % senders.len()].clone());
            fleet.tasks.push(tokio::spawn(async move {
                if let Err(error) = client(&shared, index, sender).await {
                    shared.tally.failed.fetch_add(1, Ordering::Relaxed);
                    let text = Some(format!("client {index}: {error}"));
                    *shared.tally.failure.lock().unwrap_or_else(PoisonError::into_inner) = text;
                }
            }));
        }
        let from = Instant::now();
        while fleet.tally.synced.load(Ordering::Relaxed) < plan.clients {
            let failed = fleet.tally.failed.load(Ordering::Relaxed);
            if failed > 0 || from.elapsed() > PATIENCE {
                let synced = fleet.tally.synced.load(Ordering::Relaxed);
                let last = fleet.tally.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let last = last.unwrap_or_default();
                return Err(format!("{synced} clients have everything, {failed} failed; {last}").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(fleet)
    }

    /// How many clients have lost their stream.
    pub fn failed(&self) -> usize {
        self.tally.failed.load(Ordering::Relaxed)
    }
}

async fn client(shared: &Shared, index: usize, sender: Option<SendRequest<Bytes>>) -> Result<(), Failure> {
    let permit = shared.connecting.acquire().await?;
    let plan = &shared.plan;
    let workload = index % plan.workloads;
    let mut own = None;
    let sender = match (sender, &plan.transport) {
        (Some(sender), _) => sender,
        (None, Transport::Plaintext(_)) => return Err("no connection".into()),
        (None, Transport::Tls(configs)) => {
            let stream = TcpStream::connect(plan.server).await?;
            stream.set_nodelay(true)?;
            let connector = TlsConnector::from(Arc::clone(&configs[workload]));
            let stream = connector.connect(ServerName::try_from("localhost")?, stream).await?;
            let (sender, connection) = handshake(stream).await?;
            own = Some(AbortOnDrop(connection));
            sender
        }
    };
    let node = node::encoded(&Policy::workload(workload), &shared.extensions);
    let first = plan.mode.subscribe(CLUSTER, &[], &node);
    drop(node);
    let stream = Stream::open(sender, plan.mode.path(), &first).await?;
    drop(first);
    let mut envoy = Envoy { shared, stream, wanted: Default::default(), seen: [false; ORDER.len()] };
    while !envoy.seen[ORDER.len() - 1] {
        envoy.step().await?;
    }
    shared.tally.synced.fetch_add(1, Ordering::Relaxed);
    drop(permit);
    loop {
        envoy.step().await?;
        let _ = &own;
    }
}

/// The order in which an Envoy that starts asks for types.
const ORDER: [&str; 5] = [CLUSTER, ENDPOINT, SECRET, LISTENER, ROUTE];

struct Envoy<'a> {
    shared: &'a Shared,
    stream: Stream,
    wanted: [Vec<String>; ORDER.len()],
    seen: [bool; ORDER.len()],
}

impl Envoy<'_> {
    /// Takes one response, acknowledges it, and asks for what comes next.
    async fn step(&mut self) -> Result<(), Failure> {
        let mode = self.shared.plan.mode;
        let response = mode.response(self.stream.next().await?)?;
        self.shared.tally.came(&response);
        let ty = ORDER.iter().position(|ty| *ty == response.type_url).ok_or("a response of an unknown type")?;
        self.stream.send(&mode.acknowledge(&response, &self.wanted[ty]))?;
        if std::mem::replace(&mut self.seen[ty], true) {
            return Ok(());
        }
        match ORDER[ty] {
            CLUSTER => self.wanted[ty + 1] = self.shared.references.of(&response.resources)?,
            ENDPOINT if matches!(self.shared.plan.transport, Transport::Tls(_)) => {
                self.wanted[ty + 1] = ["default", "ROOTCA", SHARED_SECRET].map(str::to_owned).into();
            }
            LISTENER => self.wanted[ty + 1] = self.shared.references.of(&response.resources)?,
            _ => {}
        }
        self.ask(ty + 1)
    }

    /// Asks for a type, or for the one after it if there is nothing to ask for.
    fn ask(&mut self, ty: usize) -> Result<(), Failure> {
        let Some(url) = ORDER.get(ty) else { return Ok(()) };
        if self.wanted[ty].is_empty() && *url != LISTENER {
            self.seen[ty] = true;
            return self.ask(ty + 1);
        }
        self.stream.send(&self.shared.plan.mode.subscribe(url, &self.wanted[ty], &[]))
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub async fn handshake<I>(io: I) -> Result<(SendRequest<Bytes>, JoinHandle<()>), Failure>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW * 16);
    let (sender, connection) = builder.handshake(io).await?;
    Ok((sender, tokio::spawn(async move { drop(connection.await) })))
}
