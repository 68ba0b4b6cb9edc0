//! Both listeners, and one task for each that accepts connections.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::data_dir::{ADMIN_SOCKET, ADMIN_TOKEN, DataDirError, prepare};
use super::socket::Socket;
use super::token::Token;
use super::{Backend, http};

/// Connections served at once on each listener; more wait in the system's queue.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may live, so that a client that does not read its answer gives the slot back. Longer than the
/// longest request.
const LIFETIME: Duration = Duration::from_secs(600);
/// How long requests may go on after a stop.
const DRAIN: Duration = Duration::from_secs(2);

/// Where the admin API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The directory of the socket and the token; made if it is not there.
    pub data_dir: PathBuf,
    /// The TCP address; port 0 takes a free one.
    pub address: SocketAddr,
}

/// Why the admin API cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The data directory is not usable.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The Unix socket cannot be made.
    #[error("cannot listen on {}: {source}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another server uses this data directory.
    #[error(
        "another countersign answers on {}; stop it, or give this one another directory with --data-dir",
        path.display()
    )]
    AlreadyRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The TCP address cannot be had.
    #[error("cannot listen on {address} for the admin API: {source}; choose another with --admin")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The admin API, listening.
#[derive(Debug)]
pub struct Running {
    /// The socket with the full API.
    pub socket: PathBuf,
    /// The TCP address as bound.
    pub address: SocketAddr,
    /// The token's file, if the API is offered on TCP.
    pub token_file: Option<PathBuf>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Waits until both listeners have ended, which is up to two seconds after the stop. The socket's file is gone then.
    pub async fn stopped(self) {
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

/// Binds both listeners and serves `backend` on them until `shutdown` says `true` or its sender is dropped.
pub async fn serve<B: Backend>(
    backend: Arc<B>,
    options: &Options,
    shutdown: watch::Receiver<bool>,
) -> Result<Running, AdminError> {
    prepare(&options.data_dir)?;
    let path = options.data_dir.join(ADMIN_SOCKET);
    let (unix, place) = Socket::bind(&path, 0o600)?.into_parts();
    let tcp_error = |source| AdminError::Tcp { address: options.address, source };
    let tcp = TcpListener::bind(options.address).await.map_err(tcp_error)?;
    let address = tcp.local_addr().map_err(tcp_error)?;

    let token_file = options.data_dir.join(ADMIN_TOKEN);
    let token = match address.ip().to_canonical().is_loopback() {
        true => Some(Token::load_or_create(&token_file)?),
        false => None,
    };
    let token_file = token.is_some().then_some(token_file);

    let unix_router = http::trusted(Arc::clone(&backend));
    let tcp_router = http::exposed(backend, token);
    let stop = shutdown.clone();
    let over_unix = tokio::spawn(async move {
        accept(|| async { unix.accept().await.map(|(io, _)| io) }, unix_router, stop).await;
        drop(place);
    });
    let over_tcp = tokio::spawn(async move {
        accept(|| async { tcp.accept().await.map(|(io, _)| io) }, tcp_router, shutdown).await;
    });
    Ok(Running { socket: path, address, token_file, tasks: vec![over_unix, over_tcp] })
}

/// Accepts until the stop. An error of `accept` (no file descriptors left) costs a pause, never the loop.
async fn accept<I, F>(mut next: impl FnMut() -> F, router: axum::Router, mut stop: watch::Receiver<bool>)
where
    F: Future<Output = std::io::Result<I>>,
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = async {
                let slot = Arc::clone(&slots).acquire_owned().await;
                (next().await, slot)
            } => accepted,
        };
        match accepted {
            (Ok(io), Ok(slot)) => {
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(async move {
                    if tokio::time::timeout(LIFETIME, connection(io, router, stop)).await.is_err() {
                        tracing::debug!("an admin connection was cut after {LIFETIME:?}");
                    }
                    drop(slot);
                });
            }
            (Err(error), _) => {
                tracing::warn!(%error, "the admin API could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            (_, Err(_)) => break,
        }
    }
    let _ = tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
}

async fn connection<I>(io: I, router: axum::Router, mut stop: watch::Receiver<bool>)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut serving = std::pin::pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(io), TowerToHyperService::new(router))
    );
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stopped(&mut stop) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection ended early");
    }
}

/// Until the stop, or until nobody is left who could say it.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stopped| *stopped).await;
}
