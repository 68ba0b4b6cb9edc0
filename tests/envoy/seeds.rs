//! All templates of the guide in one directory, as a newcomer has them: a server starts, although SPIRE's ConfigMap names files that are not
//! there yet.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign::admin::api::{RootRotationStatus, ServerStatus};
use countersign::cli::{Client, Connection};
use countersign::lab::{Ports, http};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use tokio::process::{Child, Command};

use crate::harness::{LIMIT, countersign, eventually};

const SEEDS: [(&str, &str); 4] = [
    ("istio.yaml", include_str!("../../config/policies/seed/istio.yaml")),
    ("cert-manager.yaml", include_str!("../../config/policies/seed/cert-manager.yaml")),
    ("linkerd.yaml", include_str!("../../config/policies/seed/linkerd.yaml")),
    ("spire.yaml", include_str!("../../config/policies/seed/spire.yaml")),
];

struct Server {
    directory: tempfile::TempDir,
    addresses: [SocketAddr; 2],
    child: Option<Child>,
}

impl Server {
    /// The templates as they are, with an authority where one has a placeholder, and another directory than SPIRE's, which only an
    /// administrator could make.
    fn new(ports: &mut Ports) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let policies = directory.path().join("policy");
        std::fs::create_dir(&policies).unwrap();
        std::fs::create_dir_all(directory.path().join("spire/secrets")).unwrap();
        let spire = directory.path().join("spire").display().to_string();
        for (name, text) in SEEDS {
            let (root, key) = authority("cert-manager's");
            let text = text.replace("<base64-encoded-ca-cert>", &STANDARD.encode(&root));
            let text = text.replace("<base64-encoded-ca-key>", &STANDARD.encode(&key));
            std::fs::write(policies.join(name), text.replace("/run/spire", &spire)).unwrap();
        }
        let addresses = [ports.free_address().unwrap(), ports.free_address().unwrap()];
        Self { directory, addresses, child: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self) -> Command {
        let [xds, admin] = self.addresses.map(|it| it.to_string());
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("server.log")).unwrap();
        let mut command = countersign();
        command.args(["serve", "--xds", &xds, "--admin", &admin]).current_dir(self.directory.path());
        command.stdout(Stdio::null()).stderr(log);
        command
    }

    async fn start(&mut self) {
        let mut child = self.command().spawn().unwrap();
        eventually("the server is ready", async || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "{}", self.log());
            let answer = http::get(self.addresses[1], "admin", "/ready", LIMIT).await;
            answer.ok().filter(|answer| answer.status.is_success())
        })
        .await;
        self.child = Some(child);
    }

    async fn kill(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("server.log")).unwrap_or_default()
    }

    fn client(&self) -> Client {
        Connection::to_data_dir(self.path("spire/data")).client().unwrap()
    }

    async fn root(&self) -> String {
        self.client().get::<ServerStatus>("/v1/status").await.unwrap().root.serial
    }

    async fn run(&self, arguments: &[&str]) -> (bool, String) {
        let done = countersign().args(arguments).current_dir(self.directory.path()).output().await.unwrap();
        (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
    }
}

/// A root and its key, PEM.
fn authority(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn write_upstream(secrets: &Path) {
    let (root, key) = authority("an upstream");
    std::fs::write(secrets.join("bootstrap.key"), key).unwrap();
    std::fs::write(secrets.join("bootstrap.crt"), root).unwrap();
}

#[tokio::test]
async fn an_upstream_whose_files_come_later_is_taken_in_by_steps() {
    let mut server = Server::new(&mut Ports::unique());
    server.start().await;
    let log = server.log();
    assert!(
        log.contains("spire.yaml:40: UpstreamAuthority") && log.contains("secrets/bootstrap.crt: No such file"),
        "{log}"
    );
    assert!(log.contains("the mesh begins with a root of its own, which theirs follows by a root rotation"), "{log}");
    let own = server.root().await;
    server.kill().await;
    server.start().await;
    assert_eq!(server.root().await, own, "a restart without the files makes no second root");

    write_upstream(&server.path("spire/secrets"));
    let upstream = eventually("the upstream's root signs", async || {
        let root = server.root().await;
        (root != own).then_some(root)
    })
    .await;
    let rotation: RootRotationStatus = server.client().get("/v1/rotate/root").await.unwrap();
    assert_eq!(rotation.old_root, own, "it came by a rotation: {rotation:?}");

    // From there on the mesh is below the files' root: without them nothing can be signed, and nothing is begun anew.
    server.kill().await;
    let (secrets, away) = (server.path("spire/secrets"), server.path("spire/away"));
    std::fs::rename(&secrets, &away).unwrap();
    let ended = tokio::time::timeout(LIMIT, server.command().status()).await.expect("it ends by itself").unwrap();
    assert!(!ended.success());
    let log = server.log();
    assert!(log.contains("the mesh is below the root in these files, and nothing can be signed without them"), "{log}");
    std::fs::rename(&away, &secrets).unwrap();
    server.start().await;
    assert_eq!(server.root().await, upstream);
    server.kill().await;
}

/// The store is where SPIRE's DataStore says, and not in the data directory under our own name.
#[tokio::test]
async fn a_backup_follows_the_data_store() {
    let mut server = Server::new(&mut Ports::unique());
    server.start().await;
    let root = server.root().await;
    let (done, said) = server.run(&["backup", "copy.db"]).await;
    assert!(done, "while the server runs: {said}");
    server.kill().await;
    let store = server.path("spire/data/datastore.sqlite3");
    assert!(store.exists() && !server.path("spire/data/trust.db").exists());
    std::fs::write(&store, b"spoilt".repeat(1000)).unwrap();
    let (done, said) = server.run(&["restore", "copy.db"]).await;
    assert!(!done && said.contains("--force"), "{said}");
    let (done, said) = server.run(&["restore", "copy.db", "--force", "--policy", "policy"]).await;
    assert!(done, "{said}");
    server.start().await;
    assert_eq!(server.root().await, root);
    server.kill().await;
    // The same by the file of --spire-config, without a policy directory.
    let conf = format!(
        "server {{\n trust_domain = \"example.org\"\n data_dir = \"{0}\"\n}}\nplugins {{\n DataStore \"sql\" {{ plugin_data {{ database_type = \
         \"sqlite3\" connection_string = \"{0}/datastore.sqlite3\" }} }}\n KeyManager \"disk\" {{ plugin_data {{}} }}\n}}\n",
        server.path("spire/data").display()
    );
    std::fs::write(server.path("server.conf"), conf).unwrap();
    let (done, said) = server.run(&["backup", "again.db", "--spire-config", "server.conf", "--policy", "none"]).await;
    assert!(done && server.path("again.db").exists(), "{said}");
}
