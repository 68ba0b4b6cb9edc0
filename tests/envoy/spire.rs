//! Envoys that are configured for SPIRE's agent, and a server that is configured as SPIRE's server.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use countersign::admin::api::{BundleDocument, RotateReport, RotateRequest, ServerStatus};
use countersign::cli::{Client, Connection};
use countersign::lab::app::App;
use countersign::lab::{self, EnvoyOptions, EnvoyProcess, Network, Ports};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;
use tokio::process::Child;

use crate::harness::{LIMIT, Setting, countersign, eventually, on_envoys};

on_envoys!(envoys_of_a_spire_agent_work_unchanged: sotw_1_40, sotw_1_36);

/// Groups of two workloads on one machine. Only root can take them on; whoever else runs this has one workload twice.
const GROUPS: [u32; 2] = [48_201, 48_202];

fn identities() -> [&'static str; 2] {
    match rustix::process::geteuid().is_root() {
        true => ["spiffe://example.org/shop/frontend", "spiffe://example.org/shop/backend"],
        false => ["spiffe://example.org/shop/both"; 2],
    }
}

/// A server with nothing but SPIRE's files, and a socket.
struct Server {
    directory: TempDir,
    admin: SocketAddr,
    child: Child,
}

fn write_upstream(directory: &Path, name: &str) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let replace = |file: &str, text: String| {
        let new = directory.join(format!(".{file}"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, directory.join(file)).unwrap();
    };
    let root = params.self_signed(&key).unwrap().pem();
    let further = directory.join("further.crt");
    if !further.exists() {
        params.distinguished_name.push(DnType::CommonName, "a further root");
        std::fs::write(&further, params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()).unwrap();
    }
    replace("bootstrap.key", key.serialize_pem());
    replace("bundle.crt", root.clone() + &std::fs::read_to_string(&further).unwrap());
    replace("bootstrap.crt", root);
}

impl Server {
    fn write(directory: &Path, xds: SocketAddr) {
        write_upstream(directory, "the first upstream");
        let at = directory.display();
        let conf = format!(
            "server {{\n  bind_address = \"127.0.0.1\"\n  bind_port = \"{}\"\n  trust_domain = \"example.org\"\n  data_dir = \"{at}/data\"\n  \
             log_level = \"INFO\"\n  ca_ttl = \"168h\"\n  default_x509_svid_ttl = \"1h\"\n}}\nplugins {{\n  DataStore \"sql\" {{ plugin_data {{ \
             database_type = \"sqlite3\" connection_string = \"{at}/data/datastore.sqlite3\" }} }}\n  NodeAttestor \"join_token\" {{ plugin_data \
             {{}} }}\n  KeyManager \"memory\" {{ plugin_data {{}} }}\n  UpstreamAuthority \"disk\" {{ plugin_data {{ key_file_path = \
             \"{at}/bootstrap.key\" cert_file_path = \"{at}/bootstrap.crt\" bundle_file_path = \"{at}/bundle.crt\" }} }}\n}}\n",
            xds.port()
        );
        std::fs::write(directory.join("server.conf"), conf).unwrap();
        let socket = directory.join("sockets");
        std::fs::create_dir(&socket).unwrap();
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o755)).unwrap();
        let config = format!("xds:\n  unix:\n    path: {}/agent.sock\n    mode: \"0660\"\n", socket.display());
        std::fs::write(directory.join("countersign.yaml"), config).unwrap();
        let policies = directory.join("policies");
        std::fs::create_dir(&policies).unwrap();
        let entry = |name: &str, id: &str, selector: String| {
            format!(
                "apiVersion: spire.spiffe.io/v1alpha1\nkind: ClusterStaticEntry\nmetadata:\n  name: {name}\nspec:\n  spiffeID: {id}\n  parentID: \
                 spiffe://example.org/spire/agent/join_token/x\n  selectors: [{selector}]\n  dnsNames: [\"{name}.example.org\"]\n  x509SVIDTTL: 30m\n"
            )
        };
        let [frontend, backend] = identities();
        let uid = rustix::process::geteuid().as_raw();
        let documents = match frontend == backend {
            true => entry("both", frontend, format!("\"unix:uid:{uid}\"")),
            false => [("frontend", frontend, GROUPS[0]), ("backend", backend, GROUPS[1])]
                .map(|(name, id, group)| entry(name, id, format!("\"unix:uid:{uid}\", \"unix:gid:{group}\"")))
                .join("---\n"),
        };
        std::fs::write(policies.join("entries.yaml"), documents).unwrap();
    }

    fn spawn(directory: &Path, admin: SocketAddr) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(directory.join("server.log")).unwrap();
        let mut command = countersign();
        command.arg("serve").arg("--config").arg(directory.join("countersign.yaml"));
        command.arg("--spire-config").arg(directory.join("server.conf"));
        command.arg("--policy").arg(directory.join("policies")).args(["--admin", &admin.to_string()]);
        command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    async fn start(ports: &mut Ports) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Envoys of other groups have to reach the socket.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let (xds, admin) = (ports.free_address().unwrap(), ports.free_address().unwrap());
        Self::write(directory.path(), xds);
        let child = Self::spawn(directory.path(), admin);
        let mut server = Self { directory, admin, child };
        server.wait_ready().await;
        server
    }

    async fn wait_ready(&mut self) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let answer = lab::http::get(self.admin, "admin", "/ready", LIMIT).await;
            if answer.is_ok_and(|answer| answer.status.is_success()) {
                return;
            }
            assert!(self.child.try_wait().unwrap().is_none() && Instant::now() < deadline, "{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("server.log")).unwrap_or_default()
    }

    fn client(&self) -> Client {
        Connection::to_data_dir(self.directory.path().join("data")).client().unwrap()
    }

    async fn status(&self) -> ServerStatus {
        self.client().get("/v1/status").await.unwrap()
    }

    async fn rotate(&self) {
        let request = RotateRequest { all: true, wait_seconds: Some(20), ..RotateRequest::default() };
        let report: RotateReport = self.client().post("/v1/rotate/workload", &request, LIMIT).await.unwrap();
        assert!(!report.rotated.is_empty() && report.rotated.iter().all(|it| it.acknowledged), "{report:?}");
    }

    async fn kill_and_start_again(&mut self) {
        self.child.kill().await.unwrap();
        self.child = Self::spawn(self.directory.path(), self.admin);
        self.wait_ready().await;
    }
}

/// What an Envoy asks for.
#[derive(Clone, Copy)]
struct Names {
    certificate: &'static str,
    roots: &'static str,
    /// `disable_spiffe_cert_validation`
    plain: bool,
}

/// The configuration of SPIRE's own documentation and examples: a cluster for the agent's socket, and secrets by SDS over it.
fn configuration(own: &str, names: Names, peer: &str, admin: SocketAddr, socket: &Path, listener: String) -> String {
    let Names { certificate, roots, plain } = names;
    let certificate = if certificate == "own" { own } else { certificate };
    let sds = "sds_config:\n                resource_api_version: V3\n                api_config_source:\n                  api_type: GRPC\n                  \
               transport_api_version: V3\n                  grpc_services:\n                  - envoy_grpc:\n                      cluster_name: spire_agent";
    let tls = format!(
        "          common_tls_context:\n            tls_certificate_sds_secret_configs:\n            - name: \"{certificate}\"\n              {sds}\n            \
         combined_validation_context:\n              default_validation_context:\n                match_typed_subject_alt_names:\n                - san_type: \
         URI\n                  matcher:\n                    exact: \"{peer}\"\n              validation_context_sds_secret_config:\n                name: \
         \"{roots}\"\n                {}",
        sds.replace("\n  ", "\n    ")
    );
    let socket = socket.display();
    format!(
        "node:\n  id: \"{}\"\n  cluster: \"demo-cluster-spire\"\n  metadata:\n    disable_spiffe_cert_validation: {plain}\nadmin:\n  address:\n    \
         socket_address: {{ address: {}, port_value: {} }}\nstatic_resources:\n{}  clusters:\n  - name: spire_agent\n    connect_timeout: 0.25s\n    \
         http2_protocol_options: {{}}\n    load_assignment:\n      cluster_name: spire_agent\n      endpoints:\n      - lb_endpoints:\n        - \
         endpoint:\n            address:\n              pipe:\n                path: {socket}\n",
        own.rsplit('/').next().unwrap(),
        admin.ip(),
        admin.port(),
        listener.replace("TLS", &tls),
    )
}

const MANAGER: &str = "      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          forward_client_cert_details: SANITIZE_SET
          set_current_client_cert_details: { uri: true, dns: true }
          route_config:
            virtual_hosts:
            - name: all
              domains: [\"*\"]
              routes: [{ match: { prefix: \"/\" }, route: { cluster: next } }]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
";

fn next(to: SocketAddr) -> String {
    format!(
        "  - name: next\n    connect_timeout: 1s\n    load_assignment:\n      cluster_name: next\n      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ \
         socket_address: {{ address: {}, port_value: {} }} }} }} }}] }}]\n",
        to.ip(),
        to.port()
    )
}

fn listener(at: SocketAddr, tls: &str) -> String {
    format!(
        "  listeners:\n  - address: {{ socket_address: {{ address: {}, port_value: {} }} }}\n    filter_chains:\n    - filters:\n{MANAGER}{tls}",
        at.ip(),
        at.port()
    )
}

/// Takes TLS with a client certificate, and sends to the application.
fn backend_listener(at: SocketAddr, app: SocketAddr) -> (String, String) {
    let tls = "      transport_socket:\n        name: envoy.transport_sockets.tls\n        typed_config:\n          \"@type\": \
               type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext\n          require_client_certificate: true\nTLS\n";
    (listener(at, tls), next(app))
}

/// Takes plaintext, and sends each request over a new connection with TLS.
fn frontend_listener(at: SocketAddr, backend: SocketAddr) -> (String, String) {
    let tls = "    typed_extension_protocol_options:\n      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:\n        \"@type\": \
               type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\n        common_http_protocol_options: { \
               max_requests_per_connection: 1 }\n        explicit_http_config: { http_protocol_options: {} }\n    transport_socket:\n        name: \
               envoy.transport_sockets.tls\n        typed_config:\n          \"@type\": \
               type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext\nTLS\n";
    (listener(at, ""), next(backend) + tls)
}

/// Starts an Envoy as a member of a group.
async fn start(envoy: &Path, home: &Path, name: &str, group: u32, config: String, admin: SocketAddr) -> EnvoyProcess {
    std::fs::create_dir_all(home).unwrap();
    let file = home.join("envoy.yaml");
    std::fs::write(&file, config).unwrap();
    let mut binary = envoy.to_owned();
    if rustix::process::geteuid().is_root() {
        binary = home.join("envoy.sh");
        let script = format!("#!/bin/sh\nexec setpriv --regid={group} --clear-groups {} \"$@\"\n", envoy.display());
        std::fs::write(&binary, script).unwrap();
        std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let log = home.join("envoy.log");
    let mut envoy = EnvoyProcess::start(EnvoyOptions { name: name.into(), binary, config: file, admin, log }).unwrap();
    envoy.wait_ready(LIMIT).await.unwrap();
    envoy
}

/// Requests one after the other, until it is stopped: how many there were, and what went wrong.
struct Requests {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl Requests {
    fn start(at: SocketAddr) -> Self {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let task = tokio::spawn({
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            async move {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match lab::http::get(at, "backend", "/", LIMIT).await {
                        Ok(answer) if answer.status.is_success() => {}
                        other => failures.push(format!("{other:?}")),
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                failures
            }
        });
        Self { stop, count, task }
    }

    async fn some_more(&self) {
        let before = self.count.load(Ordering::Relaxed);
        eventually("requests go on", async || (self.count.load(Ordering::Relaxed) >= before + 20).then_some(())).await;
    }

    async fn finish(self) {
        self.some_more().await;
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.task.await.unwrap();
        assert!(failures.is_empty(), "{failures:#?}");
    }
}

async fn envoys_of_a_spire_agent_work_unchanged(setting: Setting) {
    let envoy: PathBuf = setting.envoy().await;
    let (network, mut ports) = (Network::unique().unwrap(), Ports::unique());
    let mut server = Server::start(&mut ports).await;
    let socket = server.directory.path().join("sockets/agent.sock");
    let app = App::start("backend", SocketAddr::from((network.host(9), ports.free().unwrap()))).await.unwrap();
    let [front, back] = identities();
    let variants = [
        Names { certificate: "own", roots: "spiffe://example.org", plain: false },
        Names { certificate: "default", roots: "ALL", plain: false },
        Names { certificate: "default", roots: "ROOTCA", plain: false },
        Names { certificate: "own", roots: "spiffe://example.org", plain: true },
    ];
    for (index, names) in variants.into_iter().enumerate() {
        let at = ports.free_address().unwrap();
        let (mut envoys, mut address) = (Vec::new(), at);
        let [front_admin, back_admin] = [ports.free_address().unwrap(), ports.free_address().unwrap()];
        let home = server.directory.path().join(format!("variant-{index}"));
        let (text, cluster) = backend_listener(at, app.address());
        let config = configuration(back, names, front, back_admin, &socket, text) + &cluster;
        envoys.push(start(&envoy, &home.join("backend"), "backend", GROUPS[1], config, back_admin).await);
        let to = std::mem::replace(&mut address, ports.free_address().unwrap());
        let (text, cluster) = frontend_listener(address, to);
        let body = configuration(front, names, back, front_admin, &socket, text);
        // The contexts of clusters are at the end of the file.
        let tls = tls_of(&configuration(front, names, back, front_admin, &socket, "TLS".into()));
        let config = body + &cluster.replace("TLS", &tls);
        envoys.push(start(&envoy, &home.join("frontend"), "frontend", GROUPS[0], config, front_admin).await);

        let answer = lab::http::get(address, "backend", "/", LIMIT).await.unwrap();
        assert!(answer.status.is_success(), "{index}: {answer:?}\n{}", server.log());
        let echo: lab::app::Echo = serde_json::from_str(&answer.text()).unwrap();
        let peer = echo.peer().expect("the application is told who called");
        assert!(format!("{peer:?}").contains(front), "{peer:?}");
        let held = envoys[0].admin().certs().await.unwrap();
        assert!(held.leaves.iter().any(|leaf| leaf.uris == [back.to_owned()]), "{held:?}");
        if names.roots != "ALL" && index != 0 {
            continue;
        }
        let traffic = Requests::start(address);
        for _ in 0..3 {
            server.rotate().await;
            traffic.some_more().await;
        }
        if names.roots == "ALL" {
            // The upstream authority is replaced: in steps, and nobody notices.
            let before = server.status().await;
            write_upstream(server.directory.path(), "the second upstream");
            eventually("the second upstream signs", async || {
                let now = server.status().await;
                (now.root.serial != before.root.serial).then_some(())
            })
            .await;
            traffic.some_more().await;
            // What the bundle names beside is trusted as before, by the proxies too.
            let further = std::fs::read_to_string(server.directory.path().join("further.crt")).unwrap();
            let bundle: BundleDocument = server.client().get("/v1/bundle").await.unwrap();
            assert!(bundle.pem.contains(further.trim()), "{}", bundle.pem);
            // And a crash: the key of the intermediate is gone with it, and the same upstream signs another.
            let before = server.status().await;
            server.kill_and_start_again().await;
            let after = server.status().await;
            assert_eq!(after.root.serial, before.root.serial);
            assert_ne!(after.intermediate.serial, before.intermediate.serial);
            traffic.some_more().await;
        }
        traffic.finish().await;
    }
    app.stop().await;
}

fn tls_of(config: &str) -> String {
    let start = config.find("          common_tls_context").unwrap();
    let end = config[start..].find("  clusters:\n  - name: spire_agent").unwrap();
    config[start..start + end].to_owned()
}
