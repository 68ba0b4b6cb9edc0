//! The application of a workload: an HTTP server (1.1 and h2c on one port) that answers with what it saw of the request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::LabError;
use super::xfcc::{self, ForwardedCertificate};

/// How long connections may take to end after [`App::stop`].
const GRACE: Duration = Duration::from_secs(2);

/// What the application answers, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Echo {
    /// The application's name.
    pub app: String,
    /// The request's method.
    pub method: String,
    /// The request's path.
    pub path: String,
    /// The request's host.
    pub host: String,
    /// The request's `x-forwarded-client-cert`; `None`: the proxy saw no client certificate.
    pub client_certificate: Option<String>,
}

impl Echo {
    /// The client certificate that the workload's own proxy saw.
    pub fn peer(&self) -> Option<ForwardedCertificate> {
        xfcc::parse(self.client_certificate.as_deref()?).pop()
    }
}

/// A running application. Dropping it closes everything at once, [`App::stop`] lets requests finish.
#[derive(Debug)]
pub struct App {
    name: String,
    address: SocketAddr,
    counters: Arc<Counters>,
    stop: watch::Sender<bool>,
    accept: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    connections: AtomicU64,
}

impl Drop for App {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

impl App {
    /// Starts one at `address` (port 0: any free port).
    pub async fn start(name: impl Into<String>, address: SocketAddr) -> Result<Self, LabError> {
        let name = name.into();
        let failed = |source| LabError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let counters = Arc::new(Counters::default());
        let (stop, stopped) = watch::channel(false);
        let accept = tokio::spawn(accept(listener, Arc::from(name.as_str()), counters.clone(), stopped));
        Ok(Self { name, address, counters, stop, accept })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests that reached it.
    pub fn requests(&self) -> u64 {
        self.counters.requests.load(Ordering::Relaxed)
    }

    /// Connections that reached it.
    pub fn connections(&self) -> u64 {
        self.counters.connections.load(Ordering::Relaxed)
    }

    /// Stops accepting, lets requests that are under way finish, and closes what is left after two seconds.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let _ = tokio::time::timeout(GRACE, &mut self.accept).await;
    }
}

async fn accept(listener: TcpListener, name: Arc<str>, counters: Arc<Counters>, mut stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let handed_on = stopped.clone();
    loop {
        tokio::select! {
            () = asked_to_stop(&mut stopped) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    counters.connections.fetch_add(1, Ordering::Relaxed);
                    connections.spawn(serve(stream, name.clone(), counters.clone(), handed_on.clone()));
                }
                // Out of file descriptors, or the peer was gone already: neither is for ever.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Keeps nothing of the channel borrowed, so that what follows may wait.
async fn asked_to_stop(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn serve(stream: TcpStream, name: Arc<str>, counters: Arc<Counters>, mut stopped: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        counters.requests.fetch_add(1, Ordering::Relaxed);
        let response = respond(&name, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

fn respond(name: &str, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let text =
        |name: &str| request.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let host = match request.uri().authority() {
        Some(authority) => authority.to_string(),
        None => text("host").unwrap_or_default(),
    };
    let echo = Echo {
        app: name.to_owned(),
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        host,
        client_certificate: text("x-forwarded-client-cert"),
    };
    let mut body = serde_json::to_vec(&echo).unwrap_or_default();
    body.push(b'\n');
    let mut response = Response::new(Full::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
