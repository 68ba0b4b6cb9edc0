//! gRPC's own xDS client, with Python's grpcio: an application without a proxy gets listeners and clusters for services, and calls
//! through them, in plaintext and with mutual TLS to an Envoy.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use countersign::admin::api::{ProxyStatus, TypeState};
use countersign::lab::{EnvoyOptions, EnvoyProcess};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::harness::{LIMIT, Mesh, Setting, eventually, on_envoys};

on_envoys!(a_grpc_client_calls_through: delta_1_40, sotw_1_36);

/// The release that is installed.
const GRPCIO: &str = "1.85.1";

/// A Python that has grpcio, in an environment of its own, which is made once.
fn python() -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("grpcio-{GRPCIO}"));
    let python = home.join("bin/python");
    std::fs::create_dir_all(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let lock = std::fs::File::create(home.with_extension("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let run = |command: &mut std::process::Command| {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "this test needs python3 with venv and pip: {command:?}: {said}");
    };
    // The mark says that it is whole.
    if !home.join("whole").exists() {
        drop(std::fs::remove_dir_all(&home));
        run(std::process::Command::new("python3").args(["-m", "venv"]).arg(&home));
        let mut pip = std::process::Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]);
        run(pip.arg(format!("grpcio=={GRPCIO}")));
        std::fs::write(home.join("whole"), GRPCIO).unwrap();
    }
    python
}

fn application(python: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/envoy/grpc_app.py")).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).env_remove("GRPC_XDS_BOOTSTRAP");
    command
}

/// A server that is ready. Dropping it ends it.
async fn server(python: &Path, name: &str, address: &str) -> Child {
    let mut child = application(python, &["serve", name, address]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = tokio::time::timeout(LIMIT, lines.next_line()).await.expect("it starts").unwrap();
    assert_eq!(ready.as_deref(), Some("ready"));
    child
}

/// A client that has started from what `countersign bootstrap` has written.
pub struct Client {
    child: Child,
    input: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Client {
    fn start(python: &Path, bootstrap: &Path) -> Self {
        let mut child = application(python, &["call"]).env("GRPC_XDS_BOOTSTRAP", bootstrap).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, answers: BufReader::new(output).lines() }
    }

    /// What came of a call over the channel that is open.
    pub async fn call(&mut self, name: &str) -> Value {
        self.ask("kept", name).await
    }

    /// The same over a channel, and a connection, of its own.
    pub async fn call_anew(&mut self, name: &str) -> Value {
        self.ask("fresh", name).await
    }

    async fn ask(&mut self, channel: &str, name: &str) -> Value {
        self.input.write_all(format!("{channel} xds:///{name}\n").as_bytes()).await.unwrap();
        let answer = tokio::time::timeout(LIMIT, self.answers.next_line()).await.expect("an answer").unwrap();
        serde_json::from_str(&answer.unwrap_or_else(|| panic!("the client has ended: {:?}", self.child))).unwrap()
    }
}

fn workload(name: &str, address: &str, labels: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}, namespace: production}}\n\
         spec: {{address: {address}, serviceAccount: {name}, labels: {{app: {name}{labels}}}}}\n"
    )
}

fn service(name: &str, port: u16) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: production}}\n\
         spec: {{selector: {{app: {name}}}, ports: [{{name: grpc, port: {port}}}]}}\n"
    )
}

/// The Envoy before a server, in the mode of the mesh: STRICT.
async fn sidecar(mesh: &mut Mesh, workload: &str) -> EnvoyProcess {
    let home = mesh.directory.path().join("sidecar");
    std::fs::create_dir_all(&home).unwrap();
    let admin = mesh.ports.free_address().unwrap();
    let config = mesh.server().bootstrap_as(workload, &home, admin, None).await;
    let options =
        EnvoyOptions { name: "sidecar".into(), binary: mesh.envoy.clone(), config, admin, log: home.join("envoy.log") };
    let mut envoy = EnvoyProcess::start(options).unwrap();
    envoy.wait_ready(LIMIT).await.unwrap();
    envoy
}

/// A gRPC client of a server that is behind an Envoy, and of one that is not.
pub struct Calls {
    pub mesh: Mesh,
    pub client: Client,
    pub envoy: EnvoyProcess,
    /// The client's credentials, and what it has started from.
    home: PathBuf,
    /// The workloads' policy.
    policy: String,
    /// Where the Envoy takes calls.
    served_at: String,
    _servers: [Child; 2],
}

impl Calls {
    pub async fn start(setting: Setting, config: &str) -> Self {
        let python = tokio::task::spawn_blocking(python).await.unwrap();
        let mut mesh = setting.mesh_with(config, |_| ()).await;
        let [_, second, third, _] = mesh.topology().client.address.octets();
        let at = |host: u8| format!("127.{second}.{third}.{host}");
        let (greeter, plain, port) = (at(4), at(5), 50051);
        let behind = mesh.ports.free_address().unwrap();
        let mut policy = workload("caller", &at(6), "");
        policy += &workload("greeter", &greeter, "");
        policy += &workload("plain", &plain, ", security.istio.io/tlsMode: disabled");
        policy += &(service("greeter", port) + &service("plain", port));
        policy += &format!(
            "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: greeter, namespace: production}}\n\
             spec: {{workloadSelector: {{labels: {{app: greeter}}}}, ingress: [{{port: {{number: {port}, name: grpc, protocol: GRPC}}, \
             bind: {greeter}, captureMode: NONE, defaultEndpoint: \"{behind}\"}}]}}\n"
        );
        mesh.write_policy("grpc.yaml", &policy);
        eventually("the workloads are there", async || {
            let status = mesh.server().client().get::<Value>("/v1/workload?name=production/caller").await;
            status.is_ok().then_some(())
        })
        .await;
        let servers = [
            server(&python, "greeter", &behind.to_string()).await,
            server(&python, "plain", &format!("{plain}:{port}")).await,
        ];
        let envoy = sidecar(&mut mesh, "production/greeter").await;
        let home = mesh.directory.path().join("caller");
        std::fs::create_dir_all(&home).unwrap();
        bootstrap(&mesh, &home).await;
        let client = Client::start(&python, &home.join("grpc.json"));
        Self { mesh, client, envoy, home, policy, served_at: format!("{greeter}_{port}"), _servers: servers }
    }

    /// New credentials on the client's disk.
    pub async fn renew(&self) {
        bootstrap(&self.mesh, &self.home).await;
    }
}

/// The client's credentials, and what it starts from.
async fn bootstrap(mesh: &Mesh, home: &Path) {
    mesh.server().bootstrap_as("production/caller", home, "127.0.0.1:0".parse().unwrap(), None).await;
}

async fn a_grpc_client_calls_through(setting: Setting) {
    let Calls { mesh, mut client, envoy, policy, served_at, _servers, .. } = Calls::start(setting, "").await;

    // Mutual TLS, with the certificate that is on the client's disk, to a port that takes nothing else.
    let answer = client.call("greeter.production.svc.cluster.local:50051").await;
    let seen = answer["client"].as_str().unwrap_or_default();
    assert!(seen.contains("URI=spiffe://cluster.local/ns/production/sa/caller"), "{answer}\n{}", mesh.server().log());
    assert_eq!(answer["name"], "greeter");
    // The short names that a proxy of the namespace knows too.
    assert_eq!(client.call("greeter:50051").await["name"], "greeter");
    // Plaintext, where there is no proxy.
    let answer = client.call("plain.production.svc.cluster.local:50051").await;
    assert_eq!((answer["name"].as_str(), answer["client"].as_str()), (Some("plain"), Some("")), "{answer}");
    // A name that does not exist is known not to.
    let answer = client.call("nobody.production.svc.cluster.local:50051").await;
    assert_eq!(answer["error"], "UNAVAILABLE", "{answer}");
    let listener = format!("listener.{served_at}.ssl.");
    assert!(envoy.admin().stat(&format!("{listener}handshake")).await.unwrap() >= 1);

    // What it was sent it has taken, and nothing of it is a secret.
    let proxies = mesh.server().proxies().await;
    let is_grpc = |proxy: &&ProxyStatus| proxy.name == "production/caller" && proxy.version.starts_with("gRPC");
    let caller = proxies.iter().find(is_grpc).unwrap_or_else(|| panic!("{proxies:#?}"));
    let state = |name: &str| caller.types.iter().find(|it| it.type_name == name).map(|it| it.state);
    assert_eq!(["LDS", "CDS", "EDS", "SDS"].map(state).map(Option::unwrap_or_default), {
        use TypeState::{NotSent, Synced};
        [Synced, Synced, Synced, NotSent]
    });

    // A server that is not who it should be is not spoken to.
    mesh.write_policy("grpc.yaml", &(policy.clone() + &another_server()));
    eventually("the client has heard of it", async || {
        let answer = client.call("greeter.production.svc.cluster.local:50051").await;
        (answer["error"] == "UNAVAILABLE").then_some(())
    })
    .await;
    mesh.write_policy("grpc.yaml", &policy);
    eventually("and of its end", async || {
        let answer = client.call("greeter.production.svc.cluster.local:50051").await;
        (answer["name"] == "greeter").then_some(())
    })
    .await;
    drop((client, envoy));
    mesh.stop().await;
}

/// A rule by which the server has to be somebody else.
fn another_server() -> String {
    "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: greeter, namespace: production}\n\
     spec: {host: greeter.production.svc.cluster.local, trafficPolicy: {tls: {mode: ISTIO_MUTUAL, \
     subjectAltNames: [\"spiffe://cluster.local/ns/production/sa/somebody-else\"]}}}\n"
        .to_owned()
}
