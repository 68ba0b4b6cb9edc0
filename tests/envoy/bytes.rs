//! An application of bytes. It echoes lines, and says whether they came to it in TLS of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use countersign::lab::Ports;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::outside::{Pair, Pki};

/// What an application says that speaks first.
pub const GREETING: &str = "220 ready";
/// What it puts before a line that came as it is.
pub const PLAIN: &str = "plain ";
/// And before one that came in TLS, which it has terminated itself.
pub const TLS: &str = "tls ";

/// The first byte of a TLS record with a handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 0x16;

/// Whether the application waits for its client's first bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// Answers only. It takes lines and TLS.
    Second,
    /// Greets whoever connects, and knows no TLS.
    First,
}

/// A running one. It ends when it is dropped.
pub struct BytesApp {
    pub address: SocketAddr,
    accept: JoinHandle<()>,
}

impl Drop for BytesApp {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

impl BytesApp {
    pub async fn start(speaks: Speaks, ports: &mut Ports) -> Self {
        Self::start_at(speaks, ports.free_address().unwrap()).await
    }

    pub async fn start_at(speaks: Speaks, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let certificate = Pki::new("the application's own").issue("application", &["application.test"]);
        let acceptor = TlsAcceptor::from(Arc::new(config(&certificate)));
        let accept = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                // Clients go away as they like.
                tokio::spawn(async move { serve(stream, speaks, acceptor).await.ok() });
            }
        });
        Self { address, accept }
    }
}

async fn serve(mut stream: TcpStream, speaks: Speaks, acceptor: TlsAcceptor) -> std::io::Result<()> {
    if speaks == Speaks::First {
        stream.write_all(format!("{GREETING}\n").as_bytes()).await?;
        return echo(stream, PLAIN).await;
    }
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Ok(()),
        _ if first[0] == HANDSHAKE => echo(acceptor.accept(stream).await?, TLS).await,
        _ => echo(stream, PLAIN).await,
    }
}

async fn echo(stream: impl AsyncRead + AsyncWrite + Unpin, before: &str) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        stream.write_all(format!("{before}{line}").as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

fn config(certificate: &Pair) -> ServerConfig {
    let chain = CertificateDer::pem_slice_iter(certificate.chain.as_bytes()).map(Result::unwrap).collect();
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap())
        .unwrap()
}
