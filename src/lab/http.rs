//! A small HTTP/1.1 client that tells its failures apart: a check has to know whether nobody listened, the TLS handshake was
//! refused, or an answer came. Everything has a time limit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// The largest body that is read: an Envoy's `/config_dump` with thousands of clusters.
const MAX_BODY: usize = 64 << 20;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No TCP connection: nobody listens, or not for us.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The peer took the TCP connection and refused the TLS handshake.
    #[error("TLS handshake with {address}: {source}")]
    Tls {
        /// The address.
        address: SocketAddr,
        /// What TLS said.
        source: std::io::Error,
    },
    /// The peer took the connection and closed it, or answered with something that is not HTTP. A TLS 1.3 server that refuses the
    /// client's certificate shows here too, because the client's side of the handshake is over before the server looks.
    #[error("no HTTP answer from {address}: {}", with_cause(source))]
    Exchange {
        /// The address.
        address: SocketAddr,
        /// What hyper said.
        source: hyper::Error,
    },
    /// The body broke off or was too large.
    #[error("the body from {address} broke off: {reason}")]
    Body {
        /// The address.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// Too late.
    #[error("{address} did not answer within {limit:?}")]
    Timeout {
        /// The address.
        address: SocketAddr,
        /// How long was waited.
        limit: Duration,
    },
    /// The URI or host cannot be part of a request.
    #[error("not a request: {0}")]
    Request(#[from] http::Error),
}

impl HttpError {
    /// Whether a peer was there and refused: the connection was made and ended without an answer.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Tls { .. } | Self::Exchange { .. })
    }
}

fn with_cause(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text, for messages.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// TLS for [`Connection::open_tls`].
#[derive(Clone, Debug)]
pub struct Tls {
    /// Roots, client certificate, versions.
    pub config: Arc<rustls::ClientConfig>,
    /// The name that is sent as SNI and, by the usual verifiers, looked for in the certificate.
    pub server_name: ServerName<'static>,
}

/// One HTTP/1.1 connection, closed on drop.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    sender: http1::SendRequest<Empty<Bytes>>,
    driver: JoinHandle<()>,
    limit: Duration,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Connects in plaintext. `limit` holds for connecting and then for each request.
    pub async fn open(address: SocketAddr, limit: Duration) -> Result<Self, HttpError> {
        within(address, limit, async {
            let stream = connect(address).await?;
            Self::over(address, stream, limit).await
        })
        .await
    }

    /// Connects and does a TLS handshake.
    pub async fn open_tls(address: SocketAddr, tls: &Tls, limit: Duration) -> Result<Self, HttpError> {
        within(address, limit, async {
            let stream = connect(address).await?;
            let stream = tokio_rustls::TlsConnector::from(tls.config.clone())
                .connect(tls.server_name.clone(), stream)
                .await
                .map_err(|source| HttpError::Tls { address, source })?;
            Self::over(address, stream, limit).await
        })
        .await
    }

    /// Speaks over a stream that is already connected to `address`.
    pub async fn over<S>(address: SocketAddr, stream: S, limit: Duration) -> Result<Self, HttpError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|source| HttpError::Exchange { address, source })?;
        let driver = tokio::spawn(async move {
            // Its error is also the error of the request that was under way.
            let _ = connection.await;
        });
        Ok(Self { address, sender, driver, limit })
    }

    /// Whether the peer has closed it, as far as is known.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// `GET uri`: a path for a server, an absolute URI for a forward proxy. `host` becomes the `host` header.
    pub async fn get(&mut self, uri: &str, host: &str) -> Result<Answer, HttpError> {
        let request = Request::get(uri).header(header::HOST, host).body(Empty::new())?;
        let (address, limit) = (self.address, self.limit);
        within(address, limit, async {
            let exchange = |source| HttpError::Exchange { address, source };
            self.sender.ready().await.map_err(exchange)?;
            let response = self.sender.send_request(request).await.map_err(exchange)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_BODY).collect().await;
            let body = body.map_err(|e| HttpError::Body { address, reason: e.to_string() })?.to_bytes();
            Ok(Answer { status: head.status, headers: head.headers, body })
        })
        .await
    }
}

/// `GET path` over a new plaintext connection.
pub async fn get(address: SocketAddr, host: &str, path: &str, limit: Duration) -> Result<Answer, HttpError> {
    Connection::open(address, limit).await?.get(path, host).await
}

/// `GET url` (`http://host[:port]/path`) through the forward proxy at `proxy`, over a new connection.
pub async fn get_via_proxy(proxy: SocketAddr, url: &str, limit: Duration) -> Result<Answer, HttpError> {
    let mut connection = Connection::open(proxy, limit).await?;
    connection.get(url, authority(url)).await
}

/// `GET path` over a new TLS connection.
pub async fn get_tls(
    address: SocketAddr,
    tls: &Tls,
    host: &str,
    path: &str,
    limit: Duration,
) -> Result<Answer, HttpError> {
    Connection::open_tls(address, tls, limit).await?.get(path, host).await
}

/// `host[:port]` of an absolute URL; empty if it has none.
pub fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

async fn connect(address: SocketAddr) -> Result<TcpStream, HttpError> {
    let failed = |source| HttpError::Connect { address, source };
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

async fn within<T>(
    address: SocketAddr,
    limit: Duration,
    work: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(HttpError::Timeout { address, limit }))
}
