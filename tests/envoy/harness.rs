//! A mesh for one test: server process, Envoys, applications.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use countersign::admin::api::{ProxyStatus, RotateReport, RotateRequest, SecretStatus, ServerStatus, TypeState};
use countersign::cli::{Client, Connection, Format, WorkloadName, bootstrap};
use countersign::lab::envoy_binary::{EnvoyVersion, Request, locate};
use countersign::lab::topology::TRUST_DOMAIN;
use countersign::lab::{
    self, ControlPlane, LabError, Network, Ports, Prepared, Rotation, Setup, Topology, Traffic, Workload,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::{Semaphore, SemaphorePermit};

/// How long anything may take that a loaded machine could delay.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Meshes at once: each has three Envoys and a server.
static MESHES: Semaphore = Semaphore::const_new(2);

/// Who needs two meshes at once: one test at a time, or each would hold one and wait for the other.
static PAIRS: Semaphore = Semaphore::const_new(1);

/// To be held by a test that has two meshes.
pub async fn pair() -> SemaphorePermit<'static> {
    PAIRS.acquire().await.unwrap()
}

/// What a test runs against.
#[derive(Clone, Copy)]
pub struct Setting {
    pub version: EnvoyVersion,
    pub mode: bootstrap::Mode,
}

/// Makes one test of `$run(Setting)` for each setting.
macro_rules! on_envoys {
    ($run:ident: $($name:ident),+ $(,)?) => {
        mod $run {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$run(crate::harness::Setting::$name()).await;
                }
            )+
        }
    };
}
pub(crate) use on_envoys;

impl Setting {
    pub fn delta_1_40() -> Self {
        Self { version: EnvoyVersion::V1_40_0, mode: bootstrap::Mode::Delta }
    }
    pub fn sotw_1_40() -> Self {
        Self { version: EnvoyVersion::V1_40_0, mode: bootstrap::Mode::Sotw }
    }
    pub fn delta_1_36() -> Self {
        Self { version: EnvoyVersion::V1_36_4, mode: bootstrap::Mode::Delta }
    }
    pub fn sotw_1_36() -> Self {
        Self { version: EnvoyVersion::V1_36_4, mode: bootstrap::Mode::Sotw }
    }

    pub async fn envoy(self) -> PathBuf {
        let located = tokio::task::spawn_blocking(move || locate(&Request::pinned(self.version)));
        located.await.unwrap().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The lab's mesh, ready.
    pub async fn mesh(self) -> Mesh {
        self.mesh_with("", |_| ()).await
    }

    /// The same with lines added to the server's configuration, and with a last word on the policy directory.
    pub async fn mesh_with(self, config: &str, edit: impl FnOnce(&Path)) -> Mesh {
        self.mesh_in(TRUST_DOMAIN, config, edit).await
    }

    /// The same in another trust domain.
    pub async fn mesh_in(self, trust_domain: &str, config: &str, edit: impl FnOnce(&Path)) -> Mesh {
        let permit = MESHES.acquire().await.unwrap();
        let envoy = self.envoy().await;
        let directory = tempfile::tempdir().unwrap();
        let (network, mut ports) = (Network::unique().unwrap(), Ports::unique());
        let prepared = Prepared::new(directory.path(), network, &mut ports).await.unwrap();
        let setup = Setup { trust_domain: trust_domain.to_owned(), ..prepared.setup().clone() };
        edit(&setup.policies);
        let server = ServerProcess::start_with(setup, config, self.mode).await;
        let mut mesh = prepared.start(server, &envoy, &mut ports).await.unwrap();
        mesh.wait_ready(LIMIT).await.unwrap();
        Mesh { lab: mesh, envoy, ports, directory, _permit: permit }
    }
}

/// A running mesh. Dropping it kills everything.
pub struct Mesh {
    pub lab: lab::Mesh<ServerProcess>,
    pub envoy: PathBuf,
    pub ports: Ports,
    pub directory: TempDir,
    _permit: SemaphorePermit<'static>,
}

impl Mesh {
    pub fn topology(&self) -> &Topology {
        &self.lab.topology
    }

    pub fn server(&self) -> &ServerProcess {
        &self.lab.control_plane
    }

    /// Continuous requests from client to payment-service, over kept and over new connections.
    pub fn traffic(&self) -> Traffic {
        let Topology { client, payment, .. } = self.topology();
        Traffic::start(lab::traffic::TrafficPlan {
            proxy: client.http_proxy(),
            url: payment.url(8080, "/kept"),
            kept: 2,
            fresh: client.at(8080),
            fresh_tasks: 3,
            interval: Duration::from_millis(30),
            limit: Duration::from_secs(10),
        })
    }

    /// Replaces one policy file, as an editor does: another file, moved into place.
    pub fn write_policy(&self, name: &str, text: &str) {
        let path = self.server().setup.policies.join(name);
        let new = path.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &path).unwrap();
    }

    pub async fn stop(self) {
        self.lab.stop().await.unwrap();
    }
}

/// The traffic's end: nothing may have failed, and there must have been some.
pub async fn finish(traffic: Traffic) -> lab::traffic::Report {
    eventually("there is some traffic", async || {
        let report = traffic.report();
        (report.new_connections > 10 && report.kept > 10).then_some(())
    })
    .await;
    let report = traffic.stop().await;
    assert_eq!(report.failures, 0, "of {} requests: {:#?}", report.requests, report.errors);
    report
}

/// Waits until `done` says so.
pub async fn eventually<T>(what: &str, mut done: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(value) = done().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// `countersign serve` as a process of its own.
#[derive(Debug)]
pub struct ServerProcess {
    pub setup: Setup,
    mode: bootstrap::Mode,
    child: Child,
}

impl ServerProcess {
    pub async fn start_with(setup: Setup, config: &str, mode: bootstrap::Mode) -> Self {
        let file = setup.data.with_extension("yaml");
        std::fs::write(&file, config).unwrap();
        let child = spawn(&setup);
        let mut server = Self { setup, mode, child };
        server.wait_ready().await;
        server
    }

    pub fn data_dir(&self) -> &Path {
        &self.setup.data
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(log_file(&self.setup)).unwrap_or_default()
    }

    /// As a crash would.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    pub async fn start_again(&mut self) {
        self.child = spawn(&self.setup);
        self.wait_ready().await;
    }

    pub fn terminate(&self) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs");
        kill_process(pid, Signal::TERM).unwrap();
    }

    pub async fn wait_end(&mut self) -> std::process::ExitStatus {
        tokio::time::timeout(LIMIT, self.child.wait()).await.expect("it ends").unwrap()
    }

    async fn wait_ready(&mut self) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let answer = lab::http::get(self.setup.admin, "admin", "/ready", LIMIT).await;
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server has ended ({status}): {}", self.log());
            }
            if answer.is_ok_and(|answer| answer.status.is_success()) {
                return;
            }
            assert!(Instant::now() < deadline, "the server is not ready: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn connection(&self) -> Connection {
        Connection::to_data_dir(self.data_dir())
    }

    pub fn client(&self) -> Client {
        self.connection().client().unwrap()
    }

    pub async fn status(&self) -> ServerStatus {
        self.client().get("/v1/status").await.unwrap()
    }

    pub async fn proxies(&self) -> Vec<ProxyStatus> {
        self.client().get("/v1/proxies").await.unwrap()
    }

    pub async fn secrets(&self) -> Vec<SecretStatus> {
        self.client().get("/v1/secrets").await.unwrap()
    }

    /// Replaces every certificate and waits until all have acknowledged theirs.
    pub async fn rotate(&self) -> RotateReport {
        let request = RotateRequest { all: true, wait_seconds: Some(20), ..RotateRequest::default() };
        let report: RotateReport = self.client().post("/v1/rotate/workload", &request, LIMIT).await.unwrap();
        assert!(report.rotated.iter().all(|it| it.acknowledged), "{report:?}");
        report
    }

    pub async fn metric(&self, name: &str) -> u64 {
        let text = lab::http::get(self.setup.admin, "admin", "/metrics", LIMIT).await.unwrap().text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    /// Waits until this many proxies are connected and have acknowledged everything.
    pub async fn wait_synced(&self, proxies: usize) {
        eventually("every proxy is in sync", async || {
            let all = self.proxies().await;
            let synced = |proxy: &ProxyStatus| {
                let state = |name: &str| proxy.types.iter().find(|it| it.type_name == name).map(|it| it.state);
                ["CDS", "LDS", "SDS"].iter().all(|name| state(name) == Some(TypeState::Synced))
            };
            (all.len() == proxies && all.iter().all(synced)).then_some(())
        })
        .await;
    }

    pub async fn bootstrap_as(
        &self,
        workload: &str,
        directory: &Path,
        admin: SocketAddr,
        node: Option<&str>,
    ) -> PathBuf {
        let workload: WorkloadName = workload.parse().unwrap();
        let mut options = bootstrap::Options::new(workload, directory);
        options.mode = self.mode;
        options.admin_address = admin.ip();
        options.admin_port = admin.port();
        options.node_id = node.map(str::to_owned);
        let args = bootstrap::Args { options, format: Format::default(), connection: self.connection() };
        bootstrap::run(&args).await.unwrap().envoy_yaml
    }
}

impl ControlPlane for ServerProcess {
    async fn start(setup: Setup) -> Result<Self, LabError> {
        Ok(Self::start_with(setup, "", bootstrap::Mode::Delta).await)
    }

    fn xds_address(&self) -> String {
        self.setup.xds.to_string()
    }

    fn hints(&self) -> Vec<String> {
        Vec::new()
    }

    async fn bootstrap(&self, workload: &Workload, directory: &Path, admin: SocketAddr) -> Result<PathBuf, LabError> {
        Ok(self.bootstrap_as(&workload.id(), directory, admin, None).await)
    }

    async fn rotate_all(&self) -> Result<Vec<Rotation>, LabError> {
        let pushed_at = Instant::now();
        let rotated = self.rotate().await.rotated.into_iter();
        Ok(rotated
            .map(|it| Rotation { workload: it.workload, serial: it.serial, certificate_sha256: None, pushed_at })
            .collect())
    }

    async fn stop(mut self) -> Result<(), LabError> {
        self.terminate();
        let status = self.wait_end().await;
        assert!(status.success(), "{status}: {}", self.log());
        Ok(())
    }
}

fn log_file(setup: &Setup) -> PathBuf {
    setup.data.with_extension("log")
}

/// The server's command, without its arguments about places.
pub fn countersign() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.stdin(Stdio::null()).env_remove("RUST_LOG").kill_on_drop(true);
    command
}

fn spawn(setup: &Setup) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log_file(setup)).unwrap();
    countersign()
        .arg("serve")
        .arg("--config")
        .arg(setup.data.with_extension("yaml"))
        .arg("--policy")
        .arg(&setup.policies)
        .arg("--data-dir")
        .arg(&setup.data)
        .args(["--xds", &setup.xds.to_string(), "--admin", &setup.admin.to_string()])
        .args(["--trust-domain", &setup.trust_domain])
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}
