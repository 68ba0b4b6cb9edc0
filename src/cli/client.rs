//! One HTTP request over a Unix or a TCP socket.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::{CliError, Server};
use crate::admin::api::Problem;

/// How long a request may take, besides what it asks the server to wait.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer that is read: the secrets of some 100,000 proxies.
const MAX_ANSWER: usize = 256 << 20;

/// A client of one server's admin API. Each request has a connection of its own.
pub struct Client {
    server: Server,
    token: Option<String>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of `server`; the token is needed over TCP only.
    pub fn new(server: Server, token: Option<String>) -> Self {
        Self { server, token }
    }

    /// `GET path`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        self.get_within(path, Duration::ZERO).await
    }

    /// `GET path`; the server may take `wait` longer than usual.
    pub async fn get_within<T: DeserializeOwned>(&self, path: &str, wait: Duration) -> Result<T, CliError> {
        self.request(Method::GET, path, Bytes::new(), TIMEOUT + wait).await
    }

    /// `POST path` with `body`; the server may take `wait` longer than usual.
    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        wait: Duration,
    ) -> Result<T, CliError> {
        let body = serde_json::to_vec(body).map_err(|e| self.no_answer(e.to_string()))?;
        self.request(Method::POST, path, body.into(), TIMEOUT + wait).await
    }

    async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<T, CliError> {
        let host = match &self.server {
            Server::Unix(_) => "countersign",
            Server::Http(authority) => authority,
        };
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body)).map_err(|e| self.no_answer(e.to_string()))?;
        let (status, answer) = tokio::time::timeout(limit, self.send(request))
            .await
            .map_err(|_| self.no_answer(format!("nothing within {}", humantime::format_duration(limit))))??;
        if status.is_success() {
            return serde_json::from_slice(&answer).map_err(|e| self.no_answer(format!("not what was expected: {e}")));
        }
        let Problem { error, help } = serde_json::from_slice(&answer).unwrap_or_default();
        let error = if error.is_empty() { format!("the server answered {status}") } else { error };
        Err(CliError::Refused { status: status.as_u16(), error, help })
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), CliError> {
        let no_server = |source| CliError::NoServer { server: self.server.clone(), source };
        match &self.server {
            Server::Unix(path) => self.exchange(UnixStream::connect(path).await.map_err(no_server)?, request).await,
            Server::Http(host) => self.exchange(TcpStream::connect(host).await.map_err(no_server)?, request).await,
        }
    }

    async fn exchange<I>(&self, io: I, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), CliError>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let failed = |e: hyper::Error| self.no_answer(e.to_string());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.map_err(failed)?;
        let driver = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        driver.abort();
        Ok((status, body.map_err(|e| self.no_answer(e.to_string()))?.to_bytes()))
    }

    fn no_answer(&self, reason: String) -> CliError {
        CliError::NoAnswer { server: self.server.clone(), reason }
    }
}
