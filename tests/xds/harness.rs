//! A server process with the lab's policies, and clients of it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::cli::{Connection, Format, WorkloadName, bootstrap};
use countersign::lab::topology::AppAddresses;
use countersign::lab::{Network, Ports, Topology, http};
use prost::Message;
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

mod grpc;

pub use grpc::*;

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
