//! A server process with the lab's policies, and a gRPC client on bare HTTP/2, which can do what no library lets one do.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use countersign::cli::{Connection, Format, WorkloadName, bootstrap};
use countersign::lab::topology::AppAddresses;
use countersign::lab::{Network, Ports, Topology, http};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use prost::Message;
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Code;

/// How long anything may take that a loaded machine could delay.
pub const LIMIT: Duration = Duration::from_secs(60);

/// `countersign serve` as a process of its own.
pub struct Server {
    pub xds: SocketAddr,
    pub admin: SocketAddr,
    child: Child,
    _ports: Ports,
    directory: TempDir,
}

impl Server {
    /// Started with this configuration file, in which `DIR` stands for a directory of the test.
    pub async fn start(config: &str) -> Self {
        Self::start_under("", config).await
    }

    /// The same, with a line of shell before it.
    pub async fn start_under(shell: &str, config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path();
        let nowhere: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let apps = AppAddresses { payment: nowhere, payment_metrics: nowhere, legacy: nowhere };
        Topology::new(Network::unique().unwrap(), apps).write(&home.join("policies")).unwrap();
        let config = config.replace("DIR", home.to_str().unwrap());
        std::fs::write(home.join("countersign.yaml"), config).unwrap();
        let mut ports = Ports::unique();
        let (xds, admin) = (ports.free_address().unwrap(), ports.free_address().unwrap());
        let log = std::fs::File::create(home.join("log")).unwrap();
        let child = Command::new("sh")
            .arg("-c")
            .arg(format!("{shell}\nexec \"$0\" \"$@\""))
            .arg(env!("CARGO_BIN_EXE_countersign"))
            .args(["serve", "--config", "countersign.yaml", "--policy", "policies", "--data-dir", "data"])
            .args(["--xds", &xds.to_string(), "--admin", &admin.to_string()])
            .current_dir(home)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let server = Self { xds, admin, child, directory, _ports: ports };
        server
            .eventually("the server is ready", async || {
                let answer = http::get(admin, "admin", "/ready", LIMIT).await;
                answer.is_ok_and(|answer| answer.status.is_success()).then_some(())
            })
            .await;
        server
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory().join("log")).unwrap_or_default()
    }

    pub async fn eventually<T>(&self, what: &str, mut done: impl AsyncFnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(value) = done().await {
                return value;
            }
            assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}; the server says: {}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it by signal; it must end well.
    pub async fn terminate(mut self) {
        let pid = rustix::process::Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = tokio::time::timeout(LIMIT, self.child.wait()).await.expect("it ends").unwrap();
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// The sum of a metric over the labels that contain `label`.
    pub async fn metric(&self, name: &str, label: &str) -> u64 {
        let text = http::get(self.admin, "admin", "/metrics", LIMIT).await.unwrap().text();
        let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
        lines.filter(|(labels, _)| labels.contains(label)).filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
    }

    pub async fn refused(&self, reason: &str) -> u64 {
        self.metric("countersign_xds_refused_total", reason).await
    }

    /// Resident memory in MiB.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
    }

    /// Credentials of a workload, in the directory that is returned.
    pub async fn credentials(&self, workload: &str) -> PathBuf {
        let output = self.directory().join("clients").join(workload.replace('/', "."));
        let options = bootstrap::Options::new(workload.parse::<WorkloadName>().unwrap(), &output);
        let connection = Connection::to_data_dir(self.directory().join("data"));
        let args = bootstrap::Args { options, format: Format::default(), connection };
        bootstrap::run(&args).await.unwrap().credentials
    }

    /// TLS with a workload's certificate.
    pub async fn tls(&self, workload: &str) -> Arc<ClientConfig> {
        let directory = self.credentials(workload).await;
        let chain = CertificateDer::pem_file_iter(directory.join("cert.pem")).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(directory.join("key.pem")).unwrap();
        let builder = verifying(&directory);
        Arc::new(alpn(builder.with_client_auth_cert(chain, key).unwrap()))
    }

    /// TLS without a certificate.
    pub async fn anonymous_tls(&self) -> Arc<ClientConfig> {
        let directory = self.credentials("production/client").await;
        Arc::new(alpn(verifying(&directory).with_no_client_auth()))
    }

    /// A TLS connection, for whatever bytes.
    pub async fn raw(&self, config: Arc<ClientConfig>) -> TlsStream<TcpStream> {
        let tcp = TcpStream::connect(self.xds).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        tokio::time::timeout(LIMIT, TlsConnector::from(config).connect(name, tcp)).await.unwrap().unwrap()
    }

    /// HTTP/2 over TLS.
    pub async fn connect(&self, config: Arc<ClientConfig>) -> Grpc {
        Grpc::over(self.raw(config).await, 1 << 20).await
    }

    /// The same, of which nothing may come.
    pub async fn try_connect(&self, config: Arc<ClientConfig>) -> Result<Grpc, Box<dyn std::error::Error>> {
        let tcp = TcpStream::connect(self.xds).await?;
        let name = ServerName::try_from("127.0.0.1")?;
        let tls = TlsConnector::from(config).connect(name, tcp).await?;
        let (send, connection) = h2::client::handshake(tls).await?;
        Ok(Grpc { send, driver: tokio::spawn(connection) })
    }

    /// HTTP/2 with a workload's certificate.
    pub async fn connect_as(&self, workload: &str) -> Grpc {
        self.connect(self.tls(workload).await).await
    }

    /// A workload comes, gets its clusters and its certificate, and leaves: what every honest client must always be able to.
    pub async fn honest_client(&self, config: Arc<ClientConfig>) {
        let mut grpc = self.connect(config).await;
        let mut call = grpc.open(DELTA_ADS, None).await;
        call.send(&delta(SECRET, &["default", "ROOTCA"]));
        let mut names = Vec::new();
        // What was on its way when an earlier stream of the workload broke comes by itself.
        while names.len() < 2 {
            let response: DeltaDiscoveryResponse = call.next().await.unwrap();
            names.extend(response.resources.into_iter().map(|resource| resource.name));
            call.send(&DeltaDiscoveryRequest { response_nonce: response.nonce, ..delta(SECRET, &[]) });
        }
        names.sort();
        assert_eq!(names, ["ROOTCA", "default"]);
    }
}

fn verifying(directory: &Path) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(directory.join("roots.pem")).unwrap() {
        roots.add(root.unwrap()).unwrap();
    }
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
}

fn alpn(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

pub use envoy_types::pb::envoy::config::core::v3::Node;
pub use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};

pub const DELTA_ADS: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
pub const SOTW_ADS: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
pub const ENDPOINT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
pub const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";

pub fn node(id: &str) -> Option<Node> {
    Some(Node { id: id.into(), ..Node::default() })
}

/// A first delta request; the identity says whose it is.
pub fn delta(type_url: &str, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: type_url.into(),
        resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

/// A first state-of-the-world request.
pub fn sotw(type_url: &str, names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: type_url.into(),
        resource_names: names.iter().map(ToString::to_string).collect(),
        ..DiscoveryRequest::default()
    }
}

/// A message in gRPC's framing.
pub fn framed(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.encoded_len() as u32);
    message.encode(&mut frame).unwrap();
    frame.freeze()
}

/// One HTTP/2 connection.
pub struct Grpc {
    send: SendRequest<Bytes>,
    driver: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

impl Drop for Grpc {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Grpc {
    /// With this flow-control window for each stream.
    pub async fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, window: u32) -> Self {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window).initial_max_send_streams(1000);
        let (send, connection) = builder.handshake(stream).await.unwrap();
        Self { send, driver: tokio::spawn(connection) }
    }

    pub async fn unix(path: &Path) -> Self {
        Self::over(UnixStream::connect(path).await.unwrap(), 1 << 20).await
    }

    pub async fn plaintext(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap(), 1 << 20).await
    }

    pub async fn open(&mut self, path: &str, token: Option<&str>) -> Call {
        let mut headers = Vec::new();
        let token = token.map(|token| format!("Bearer {token}"));
        if let Some(token) = &token {
            headers.push(("authorization", token.as_str()));
        }
        self.open_with(path, &headers).await.expect("the connection is there")
    }

    pub async fn open_with(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Call, h2::Error> {
        let mut request = ::http::Request::post(format!("http://xds.test{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send.clone().ready().await?;
        let (response, send) = self.send.send_request(request.body(()).unwrap(), false)?;
        Ok(Call { send, response: Some(response), received: None, buffer: BytesMut::new() })
    }

    /// One request, and the messages and the status that came back.
    pub async fn unary<M: Message + Default>(
        &mut self,
        path: &str,
        token: Option<&str>,
        request: &impl Message,
    ) -> Result<M, Ended> {
        let mut call = self.open(path, token).await;
        call.send.send_data(framed(request), true).unwrap();
        call.next().await
    }

    /// The end of the connection; what the server has said.
    pub async fn closed(&mut self) -> Result<(), h2::Error> {
        tokio::time::timeout(LIMIT, &mut self.driver).await.expect("the connection ends").unwrap()
    }
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub code: Code,
    pub message: String,
}

/// One stream.
pub struct Call {
    pub send: SendStream<Bytes>,
    response: Option<ResponseFuture>,
    received: Option<RecvStream>,
    buffer: BytesMut,
}

impl Call {
    pub fn send(&mut self, message: &impl Message) {
        // A server that has ended the stream is found out by `next`.
        let _ = self.send.send_data(framed(message), false);
    }

    /// Sends as much as the server's flow-control windows take, and waits for them to take the rest.
    pub async fn send_within_windows(&mut self, mut bytes: Bytes) -> Result<(), h2::Error> {
        while !bytes.is_empty() {
            self.send.reserve_capacity(bytes.len());
            let capacity = std::future::poll_fn(|context| self.send.poll_capacity(context)).await;
            let capacity = capacity.unwrap_or_else(|| Err(h2::Reason::CANCEL.into()))?;
            self.send.send_data(bytes.split_to(capacity.min(bytes.len())), false)?;
        }
        Ok(())
    }

    /// The next message, or how the stream ended.
    pub async fn next<M: Message + Default>(&mut self) -> Result<M, Ended> {
        tokio::time::timeout(LIMIT, self.read()).await.expect("the server answers")
    }

    /// The next message if one comes within this time.
    pub async fn within<M: Message + Default>(&mut self, time: Duration) -> Option<Result<M, Ended>> {
        tokio::time::timeout(time, self.read()).await.ok()
    }

    async fn read<M: Message + Default>(&mut self) -> Result<M, Ended> {
        let broken = |error: h2::Error| Ended { code: Code::Unknown, message: error.to_string() };
        if let Some(response) = self.response.as_mut() {
            let response = response.await.map_err(broken)?;
            self.response = None;
            if let Some(ended) = status(response.headers()) {
                return Err(ended);
            }
            if !response.status().is_success() {
                return Err(Ended { code: Code::Unknown, message: response.status().to_string() });
            }
            self.received = Some(response.into_body());
        }
        let received = self.received.as_mut().expect("it began");
        loop {
            if self.buffer.len() >= 5 {
                let length = u32::from_be_bytes(self.buffer[1..5].try_into().unwrap()) as usize;
                if self.buffer.len() >= 5 + length {
                    self.buffer.advance(5);
                    return Ok(M::decode(self.buffer.split_to(length)).unwrap());
                }
            }
            match received.data().await {
                Some(data) => {
                    let data = data.map_err(broken)?;
                    received.flow_control().release_capacity(data.len()).unwrap();
                    self.buffer.extend_from_slice(&data);
                }
                None => {
                    let trailers = received.trailers().await.map_err(broken)?;
                    return Err(trailers.as_ref().and_then(status).expect("a stream ends with a status"));
                }
            }
        }
    }
}

fn status(headers: &::http::HeaderMap) -> Option<Ended> {
    let code = headers.get("grpc-status")?.to_str().unwrap().parse().unwrap();
    let message = headers.get("grpc-message").map(|text| text.to_str().unwrap().to_owned()).unwrap_or_default();
    Some(Ended { code: Code::from_i32(code), message })
}

/// A bearer token and its line in the configuration.
pub fn token(identity: &str) -> (String, String) {
    let token = countersign::identity::generate_token().unwrap();
    let hash = countersign::identity::TokenHash::of(&token);
    (token.to_string(), format!("    - sha256: {hash}\n      identity: {identity}\n"))
}

/// The URI names in the leaf of a `Secret`.
pub fn uris_of(secret: &[u8]) -> VecDeque<String> {
    use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
    use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{Secret, secret};
    let secret = Secret::decode(secret).unwrap();
    let Some(secret::Type::TlsCertificate(certificate)) = secret.r#type else { return VecDeque::new() };
    let pem = match certificate.certificate_chain.unwrap().specifier.unwrap() {
        Specifier::InlineBytes(pem) => pem,
        Specifier::InlineString(pem) => pem.into_bytes(),
        other => panic!("{other:?}"),
    };
    let leaf = CertificateDer::from_pem_slice(&pem).unwrap();
    let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap().value.general_names.iter();
    names.map(|name| name.to_string()).collect()
}
