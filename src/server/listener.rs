//! The xDS port: accepts connections, finishes TLS, and hands each to HTTP/2 with its authenticated peer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tonic::Status;
use tracing::{debug, warn};

use super::proxies::Proxies;
use crate::enrollment::Enrollment;
use crate::identity::{Peer, PeerError};
use crate::trust::tls::ServerTls;
use crate::xds::XdsService;

/// TLS handshakes under way at once. A fleet that comes back queues here instead of exhausting memory.
const HANDSHAKES: usize = 256;
/// A peer that has not finished TLS by then is let go.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How often an idle connection is asked whether its peer is still there, and how long the answer may take.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
/// After an error of `accept` (out of file descriptors, say) the loop waits this long; it never ends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How connections are secured.
#[derive(Clone)]
pub(super) enum Security {
    /// TLS with client certificates.
    Tls(Arc<ServerTls>),
    /// Nothing: for looking at what would be served, on loopback. No such stream gets a secret.
    Plaintext,
}

/// Serves until the task is aborted. Connections that are open then go on until their streams end.
pub(super) fn serve(
    listener: TcpListener,
    security: Security,
    service: XdsService<Proxies>,
    enrollment: Enrollment<Proxies>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    // The permit is taken before the task is made: beyond the limit, connections wait in the kernel's queue.
                    let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else { return };
                    let (security, service, enrollment) = (security.clone(), service.clone(), enrollment.clone());
                    tokio::spawn(async move {
                        let secured = secure(stream, from, &security).await;
                        drop(permit);
                        match secured {
                            Some((Secured::Tls(stream), peer)) => {
                                connection(*stream, from, peer, service, enrollment).await;
                            }
                            Some((Secured::Plain(stream), peer)) => {
                                connection(stream, from, peer, service, enrollment).await;
                            }
                            None => {}
                        }
                    });
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

enum Secured {
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
    Plain(TcpStream),
}

/// Who has shown no certificate has no peer: it may join, and nothing else.
async fn secure(stream: TcpStream, from: SocketAddr, security: &Security) -> Option<(Secured, Option<Peer>)> {
    // Small messages, each of which somebody waits for.
    let _ = stream.set_nodelay(true);
    let tls = match security {
        Security::Plaintext => return Some((Secured::Plain(stream), Some(Peer::Unauthenticated))),
        Security::Tls(tls) => TlsAcceptor::from(tls.config()),
    };
    match timeout(HANDSHAKE_TIME, tls.accept(stream)).await {
        Ok(Ok(stream)) => match Peer::from_chain(stream.get_ref().1.peer_certificates()) {
            Ok(peer) => Some((Secured::Tls(Box::new(stream)), Some(peer))),
            Err(PeerError::NoCertificate) => Some((Secured::Tls(Box::new(stream)), None)),
            Err(error) => {
                warn!(%from, %error, "the client's certificate names no workload");
                None
            }
        },
        Ok(Err(error)) => {
            debug!(%from, %error, "no TLS connection came about");
            None
        }
        Err(_) => {
            debug!(%from, "the TLS handshake took too long");
            None
        }
    }
}

async fn connection<S>(
    stream: S,
    from: SocketAddr,
    peer: Option<Peer>,
    service: XdsService<Proxies>,
    enrollment: Enrollment<Proxies>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
        let (peer, service, enrollment) = (peer.clone(), service.clone(), enrollment.clone());
        async move {
            let known = peer.is_some();
            if let Some(peer) = peer {
                request.extensions_mut().insert(peer);
            }
            let request = match enrollment.handle(request).await {
                Ok(response) => return Ok::<_, Infallible>(response),
                Err(request) => request,
            };
            match known {
                true => service.handle(request).await,
                false => Ok(Status::unauthenticated("this needs a client certificate").into_http()),
            }
        }
    });
    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1)
        .max_concurrent_streams(64)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    if let Err(error) = served {
        debug!(%from, %error, "the connection ended");
    }
}
