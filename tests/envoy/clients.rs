//! Clients of every kind, and what each sees.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use countersign::lab::app::Echo;
use countersign::lab::http::{self, Tls};
use countersign::lab::intruder::{self, Disguise};
use countersign::lab::{Workload, xfcc};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::bytes::{GREETING, PLAIN, TLS};

/// Longer than a server may wait for its client's first bytes: Envoy's own limit is 15 s.
const LIMIT: Duration = Duration::from_secs(20);
/// How long a client waits for a greeting before it speaks without one. Longer than a PERMISSIVE port waits for it.
const GREETED_WITHIN: Duration = Duration::from_secs(6);

/// Who connects.
#[derive(Clone)]
pub enum Client {
    /// Without TLS.
    Plain,
    /// A workload, through its own proxy.
    Proxy(Workload),
    /// With TLS of its own.
    Tls {
        config: Arc<rustls::ClientConfig>,
        /// Whether it offers the words that proxies of the mesh offer.
        as_proxy: bool,
    },
}

/// What is spoken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Conversation {
    Http,
    Http2,
    /// The client sends a line, and has it back.
    Lines,
    /// The server greets first.
    ServerFirst,
}

/// What came of it, in one word, and why.
pub struct Seen {
    word: &'static str,
    why: String,
}

impl Seen {
    pub fn new(word: &'static str) -> Self {
        Self { word, why: String::new() }
    }

    pub fn as_str(&self) -> &str {
        self.word
    }

    pub fn why(&self) -> &str {
        &self.why
    }
}

/// Who terminated TLS, as far as the client knows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Terminated {
    Nobody,
    Proxy,
    Application,
}

impl Client {
    pub fn tls(disguise: Disguise<'_>, as_proxy: bool) -> Self {
        let Tls { config, .. } = intruder::tls(disguise, "matrix.test").unwrap();
        Self::Tls { config, as_proxy }
    }
}

/// Connects to a port of `server`, and tries to say something.
pub async fn converse(client: &Client, server: &Workload, port: u16, conversation: Conversation) -> Seen {
    match tokio::time::timeout(LIMIT, attempt(client, server, port, conversation)).await {
        Ok(Ok(word)) => Seen::new(word),
        Ok(Err(why)) => Seen { word: "refused", why },
        Err(_) => Seen { word: "silence", why: format!("nothing within {LIMIT:?}") },
    }
}

async fn attempt(
    client: &Client,
    server: &Workload,
    port: u16,
    conversation: Conversation,
) -> Result<&'static str, String> {
    let is_http = matches!(conversation, Conversation::Http | Conversation::Http2);
    let (config, as_proxy) = match client {
        Client::Proxy(workload) if is_http => {
            let answer = http::get_via_proxy(workload.http_proxy(), &server.url(port, "/"), LIMIT).await;
            let answer = answer.map_err(|e| e.to_string())?;
            return match answer.status.as_u16() {
                200 => served(&answer.body, Terminated::Nobody),
                status => Err(format!("{status}: {}", answer.text())),
            };
        }
        Client::Proxy(workload) => {
            return speak(connect(workload.at(port)).await, conversation, Terminated::Nobody).await;
        }
        Client::Plain => return speak(connect(server.at(port)).await, conversation, Terminated::Nobody).await,
        Client::Tls { config, as_proxy } => (config, *as_proxy),
    };
    let mut config = rustls::ClientConfig::clone(config);
    let words: &[&str] = if as_proxy { &["istio-peer-exchange", "istio"] } else { &[] };
    let own: &[&str] = match conversation {
        Conversation::Http => &["http/1.1"],
        Conversation::Http2 => &["h2"],
        Conversation::Lines | Conversation::ServerFirst => &[],
    };
    config.alpn_protocols = words.iter().chain(own).map(|word| word.as_bytes().to_vec()).collect();
    let name = rustls_pki_types::ServerName::try_from("matrix.test").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, connect(server.at(port)).await).await.map_err(|e| e.to_string())?;
    let leaf = stream.get_ref().1.peer_certificates().map(|chain| chain[0].clone()).unwrap();
    let terminated = if is_of_mesh(&leaf) { Terminated::Proxy } else { Terminated::Application };
    speak(stream, conversation, terminated).await
}

/// Somebody always listens: if not, it is the test that is wrong.
async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap_or_else(|error| panic!("{address}: {error}"))
}

async fn speak<S>(stream: S, conversation: Conversation, terminated: Terminated) -> Result<&'static str, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    match conversation {
        Conversation::Http => {
            let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
            let connection = http::Connection::over(nowhere, stream, LIMIT).await;
            let answer = connection.map_err(|e| e.to_string())?.get("/", "matrix.test").await;
            let answer = answer.map_err(|e| e.to_string())?;
            match answer.status.as_u16() {
                200 => served(&answer.body, terminated),
                status => Err(format!("{status}: {}", answer.text())),
            }
        }
        Conversation::Http2 => served(&over_http2(stream).await.map_err(|e| e.to_string())?, terminated),
        Conversation::Lines => lines(&mut BufReader::new(stream), terminated).await,
        Conversation::ServerFirst => {
            let mut stream = BufReader::new(stream);
            let mut greeting = String::new();
            let greeted = tokio::time::timeout(GREETED_WITHIN, stream.read_line(&mut greeting)).await;
            match greeted {
                Ok(read) if read.as_ref().is_ok_and(|_| greeting.trim_end() == GREETING) => {
                    lines(&mut stream, terminated).await
                }
                Ok(read) => Err(format!("no greeting: {read:?} {greeting:?}")),
                Err(_) => match lines(&mut stream, terminated).await {
                    Ok(_) => Ok("late"),
                    Err(error) => Err(format!("silent at first, then {error}")),
                },
            }
        }
    }
}

async fn over_http2<S>(stream: S) -> Result<Bytes, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await?;
    let driver = tokio::spawn(connection);
    let request = ::http::Request::get("http://matrix.test/").body(Empty::<Bytes>::new()).unwrap();
    let answer = sender.send_request(request).await;
    let body = match answer {
        Ok(answer) => answer.into_body().collect().await.map(http_body_util::Collected::to_bytes),
        Err(error) => Err(error),
    };
    driver.abort();
    body
}

async fn lines<S>(stream: &mut BufReader<S>, terminated: Terminated) -> Result<&'static str, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(b"ping\n").await.map_err(|e| e.to_string())?;
    let mut line = String::new();
    stream.read_line(&mut line).await.map_err(|e| e.to_string())?;
    match (line.trim_end(), terminated) {
        ("", _) => Err("the connection ended".to_owned()),
        (line, Terminated::Nobody) if line == format!("{PLAIN}ping") => Ok("plain"),
        (line, Terminated::Proxy) if line == format!("{PLAIN}ping") => Ok("mutual"),
        (line, Terminated::Application) if line == format!("{TLS}ping") => Ok("own-tls"),
        (line, _) => panic!("the application says {line:?}"),
    }
}

/// What the application was told of its client.
fn served(body: &[u8], terminated: Terminated) -> Result<&'static str, String> {
    let echo: Echo = serde_json::from_slice(body).map_err(|e| format!("not the application's answer: {e}"))?;
    let told = echo.client_certificate.as_deref().map(xfcc::parse).unwrap_or_default();
    let of_mesh = told.iter().any(|it| it.uris.iter().any(|uri| uri.starts_with("spiffe://")));
    Ok(match (of_mesh, terminated) {
        (true, _) => "named",
        (false, Terminated::Proxy) => "mutual",
        (false, Terminated::Nobody) => "plain",
        (false, Terminated::Application) => "own-tls",
    })
}

fn is_of_mesh(leaf: &[u8]) -> bool {
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
    let (_, certificate) = X509Certificate::from_der(leaf).unwrap();
    let names = certificate.subject_alternative_name().unwrap();
    let names = names.map(|extension| extension.value.general_names.clone()).unwrap_or_default();
    names.iter().any(|name| matches!(name, GeneralName::URI(uri) if uri.starts_with("spiffe://")))
}
