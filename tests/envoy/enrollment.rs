//! A node's own credentials: the first ones by a join token, the next ones by the agent, under a real Envoy and without an operator.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use countersign::admin::api::{NewToken, TokenRequest, TokenState, TokenStatus};
use countersign::cli::renew::renew;
use countersign::cli::{Client, Connection};
use countersign::lab::{Ports, http};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::harness::{LIMIT, Mesh, Setting, countersign, eventually, finish, on_envoys};

on_envoys!(the_agent_keeps_the_xds_connection_fresh: delta_1_40, sotw_1_36);

fn agent(directory: &Path) -> Child {
    countersign().arg("agent").arg("--dir").arg(directory).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

async fn terminate(mut child: Child) -> std::process::ExitStatus {
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    tokio::time::timeout(LIMIT, child.wait()).await.expect("it ends").unwrap()
}

fn homes(mesh: &Mesh) -> Vec<PathBuf> {
    let homes = std::fs::read_dir(mesh.directory.path().join("envoys")).unwrap();
    homes.map(|home| home.unwrap().path()).collect()
}

/// The serial number of the credentials in a directory, as Envoy shows it.
fn serial(home: &Path) -> String {
    let pem = std::fs::read(home.join("credentials/cert.pem")).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
    pem.parse_x509().unwrap().raw_serial_as_string().replace(':', "")
}

/// Credentials of twelve seconds, so that those of the start are long over at the end: connections that are made then show newer ones.
async fn the_agent_keeps_the_xds_connection_fresh(setting: Setting) {
    let mut mesh = setting.mesh_with("certificates:\n  workloadTtl: 12s\n", |_| ()).await;
    let agents: Vec<Child> = homes(&mesh).iter().map(|home| agent(home)).collect();
    mesh.server().wait_synced(3).await;
    let traffic = mesh.traffic();
    let payment = mesh.lab.admin(&mesh.topology().payment).unwrap();
    let home = homes(&mesh).into_iter().find(|home| home.ends_with("payment-service.production")).unwrap();
    let (mut written, mut held) = (BTreeSet::new(), BTreeSet::new());
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        written.insert(serial(&home));
        held.extend(payment.certs().await.unwrap().leaves.into_iter().map(|leaf| leaf.serial));
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let taken: Vec<_> = written.intersection(&held).collect();
    assert!(taken.len() >= 3, "written {written:?}, held by the Envoy {held:?}");
    assert_eq!(payment.stat("control_plane.connected_state").await.unwrap(), 1);

    // Every stream has to come back now, over TLS, when what the nodes were bootstrapped with is over.
    mesh.lab.control_plane.kill().await;
    mesh.lab.control_plane.start_again().await;
    mesh.server().wait_synced(3).await;
    for agent in agents {
        assert!(terminate(agent).await.success());
    }
    finish(traffic).await;
    mesh.stop().await;
}

/// A server without Envoys, with the workload shop/web.
struct Lone {
    directory: tempfile::TempDir,
    xds: SocketAddr,
    admin: SocketAddr,
    child: Child,
    _ports: Ports,
}

impl Lone {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("policy")).unwrap();
        std::fs::write(directory.path().join("policy/web.yaml"), WEB).unwrap();
        let mut ports = Ports::unique();
        let (xds, admin) = (ports.free_address().unwrap(), ports.free_address().unwrap());
        let child = Self::command(directory.path(), xds, admin).spawn().unwrap();
        let lone = Self { directory, xds, admin, child, _ports: ports };
        lone.ready().await;
        lone
    }

    fn command(here: &Path, xds: SocketAddr, admin: SocketAddr) -> Command {
        let mut serve = countersign();
        serve.args(["serve", "--xds", &xds.to_string(), "--admin", &admin.to_string()]);
        serve.current_dir(here).stderr(Stdio::null());
        serve
    }

    async fn ready(&self) {
        eventually("the server is ready", async || {
            http::get(self.admin, "admin", "/ready", LIMIT).await.ok().filter(|answer| answer.status.is_success())
        })
        .await;
    }

    async fn kill_and_start_again(&mut self) {
        self.child.kill().await.unwrap();
        self.child = Self::command(self.directory.path(), self.xds, self.admin).spawn().unwrap();
        self.ready().await;
    }

    fn client(&self) -> Client {
        Connection::to_data_dir(self.directory.path().join("data")).client().unwrap()
    }

    async fn token(&self) -> NewToken {
        let request = TokenRequest { workload: "shop/web".into(), ttl_seconds: 600 };
        self.client().post("/v1/tokens", &request, LIMIT).await.unwrap()
    }

    async fn state(&self, id: &str) -> TokenState {
        let all: Vec<TokenStatus> = self.client().get("/v1/tokens").await.unwrap();
        all.into_iter().find(|token| token.id == id).unwrap().state
    }

    /// `countersign bootstrap` on a machine that has nothing but the token. What it said, if it failed.
    async fn join(&self, workload: &str, token: &str, output: &Path) -> Result<(), String> {
        let mut join = countersign();
        join.args(["bootstrap", workload, "--xds-address", &self.xds.to_string(), "--output"]).arg(output);
        // Not as an argument: those are for everybody to see.
        join.env("COUNTERSIGN_JOIN_TOKEN", token).args(["--data-dir", "/nonexistent"]);
        let done = join.output().await.unwrap();
        match done.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
        }
    }
}

const WEB: &str = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: web, namespace: shop}\n\
                   spec: {address: 127.0.0.1, serviceAccount: web}\n";

#[tokio::test]
async fn threat_09_a_new_node_joins_once_with_nothing_but_a_token() {
    let server = Lone::start().await;
    let made = server.token().await;
    let node = server.directory.path().join("node");
    let wrong = server.join("shop/api", &made.token, &node).await;
    // A mistake that can be told costs nothing: not the workload, not the place, not a token that was cut off when it was copied.
    let wrong = wrong.unwrap_err();
    assert!(wrong.contains("the join token is for shop/web, and not for shop/api; it is not spent"), "{wrong}");
    assert!(server.join("shop/web", &made.token, Path::new("/proc/nowhere")).await.is_err());
    let short = &made.token[..made.token.len() - 20];
    let said = server.join("shop/web", short, &node).await.unwrap_err();
    let secret = made.token.split('.').nth(1).unwrap();
    assert!(said.contains("not a join token") && !said.contains(&secret[..8]), "threat 7: {said}");
    assert!(!node.join("credentials").exists());
    server.join("shop/web", &made.token, &node).await.unwrap();
    assert!(std::fs::read_to_string(node.join("envoy.yaml")).unwrap().contains(&server.xds.ip().to_string()));
    let second = server.join("shop/web", &made.token, &server.directory.path().join("other")).await.unwrap_err();
    assert!(second.contains("the join token is not valid"), "{second}");
    assert_eq!(server.state(&made.status.id).await, TokenState::Used);

    // What it has got is good for the next.
    let before = serial(&node);
    let renewed = renew(&node).await.unwrap();
    assert_eq!(serial(&node), renewed.serial);
    assert_ne!(before, renewed.serial);
    verify_with_openssl(&node);

    // Who is no longer in the policy gets nothing new, and keeps what it has.
    std::fs::write(
        server.directory.path().join("policy/web.yaml"),
        WEB.replace("name: web", "name: api").replace("serviceAccount: web", "serviceAccount: api"),
    )
    .unwrap();
    eventually("it is refused", async || renew(&node).await.err().filter(|e| e.to_string().contains("no workload's")))
        .await;
    verify_with_openssl(&node);
}

/// Another X.509 library than those that issue and check here.
fn verify_with_openssl(node: &Path) {
    let credentials = node.join("credentials");
    let run = |arguments: &[&str]| {
        let done = std::process::Command::new("openssl").args(arguments).current_dir(&credentials).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    for purpose in ["sslclient", "sslserver"] {
        run(&[
            "verify",
            "-x509_strict",
            "-purpose",
            purpose,
            "-CAfile",
            "roots.pem",
            "-untrusted",
            "cert.pem",
            "cert.pem",
        ]);
    }
    let names = run(&["x509", "-in", "cert.pem", "-noout", "-ext", "subjectAltName"]);
    assert!(names.contains("critical") && names.contains("URI:spiffe://cluster.local/ns/shop/sa/web"), "{names}");
    assert_eq!(run(&["x509", "-in", "cert.pem", "-noout", "-pubkey"]), run(&["pkey", "-in", "key.pem", "-pubout"]));
}

#[tokio::test]
async fn threat_09_a_hundred_at_once_across_kill_9() {
    let mut server = Lone::start().await;
    let made = server.token().await;
    let token: countersign::enrollment::JoinToken = made.token.parse().unwrap();
    let csr = countersign::cli::bootstrap::Key::generate().unwrap().csr().unwrap();
    let attempts = |address: SocketAddr| -> Vec<_> {
        let many = (0..50).map(|_| {
            let (token, csr) = (token.clone(), csr.clone());
            let client = countersign::enrollment::Client::new(address.to_string());
            tokio::spawn(async move { client.join(&token, "shop/web", csr).await.is_ok() })
        });
        many.collect()
    };
    let first = attempts(server.xds);
    // In the middle of it, wherever that is.
    tokio::time::sleep(Duration::from_millis(40)).await;
    server.kill_and_start_again().await;
    let second = attempts(server.xds);
    let mut got_in = 0;
    for attempt in first.into_iter().chain(second) {
        got_in += usize::from(attempt.await.unwrap());
    }
    // None, where the server was killed between the decision and the answer.
    assert!(got_in <= 1, "{got_in} nodes have joined with one token");
    assert_eq!(server.state(&made.status.id).await, TokenState::Used);
}

#[tokio::test]
async fn a_server_that_the_token_does_not_name_is_not_shown_the_secret() {
    let (server, other) = (Lone::start().await, Lone::start().await);
    let made = server.token().await;
    let misled = other.join("shop/web", &made.token, &other.directory.path().join("node")).await.unwrap_err();
    assert!(misled.contains("none of the roots"), "{misled}");
    assert_eq!(server.state(&made.status.id).await, TokenState::Usable);
}

#[tokio::test]
async fn an_agent_waits_for_a_server_that_is_away_and_ends_when_told() {
    let mut server = Lone::start().await;
    let node = server.directory.path().join("node");
    server.join("shop/web", &server.token().await.token, &node).await.unwrap();
    let missing = countersign().args(["agent", "--dir", "/nonexistent"]).output().await.unwrap();
    assert!(!missing.status.success());
    assert!(String::from_utf8_lossy(&missing.stderr).contains("countersign bootstrap"));

    server.child.kill().await.unwrap();
    let before = serial(&node);
    assert!(renew(&node).await.is_err());
    assert_eq!(serial(&node), before);
    let agent = agent(&node);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(terminate(agent).await.success());
}

#[tokio::test]
async fn backup_and_restore_as_commands() {
    let mut server = Lone::start().await;
    let here = server.directory.path().to_owned();
    let run = async |arguments: &[&str]| {
        let done = countersign().args(arguments).current_dir(&here).output().await.unwrap();
        (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let root = server.client().get::<countersign::admin::api::ServerStatus>("/v1/status").await.unwrap().root;
    assert!(run(&["backup", "copy.db"]).await.0, "while the server runs");
    let (done, said) = run(&["restore", "copy.db", "--force"]).await;
    assert!(!done && said.contains("another countersign already serves"), "{said}");
    server.child.kill().await.unwrap();
    let (done, said) = run(&["restore", "copy.db"]).await;
    assert!(!done && said.contains("--force"), "{said}");
    std::fs::write(here.join("data/trust.db"), b"spoilt".repeat(1000)).unwrap();
    let (done, said) = run(&["serve", "--xds", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).await;
    assert!(!done && said.contains("countersign restore FILE --data-dir DIR --force"), "{said}");
    assert!(run(&["restore", "copy.db", "--force"]).await.0);
    server.kill_and_start_again().await;
    let after = server.client().get::<countersign::admin::api::ServerStatus>("/v1/status").await.unwrap().root;
    assert_eq!(after, root);
}
