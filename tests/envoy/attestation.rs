//! A node's first credentials by a certificate that it has from another authority: SPIRE's node attestor `x509pop`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use countersign::admin::api::BundleDocument;
use countersign::cli::renew::renew;
use countersign::cli::{Client, Connection};
use countersign::lab::{EnvoyOptions, EnvoyProcess, Ports, http};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tokio::process::Child;

use crate::harness::{LIMIT, Setting, countersign, eventually, on_envoys};

on_envoys!(an_envoy_runs_on_what_a_node_got_for_its_certificate: delta_1_40);

/// The authority of a company's machines.
struct Machines {
    params: CertificateParams,
    key: KeyPair,
}

impl Machines {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "machines");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self { params, key: KeyPair::generate().unwrap() }
    }

    /// Writes NAME.pem and NAME.key of a machine.
    fn machine(&self, directory: &Path, name: &str) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let certificate = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap();
        std::fs::write(directory.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// A server with SPIRE's configuration, and the workload shop/web on the machine edge-1.
struct Server {
    directory: tempfile::TempDir,
    xds: SocketAddr,
    child: Child,
    ports: Ports,
}

impl Server {
    async fn start(machines: &Machines) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (here, mut ports) = (directory.path(), Ports::unique());
        let (xds, admin) = (ports.free_address().unwrap(), ports.free_address().unwrap());
        let authority = machines.params.self_signed(&machines.key).unwrap();
        std::fs::write(here.join("machines.pem"), authority.pem()).unwrap();
        let at = here.display();
        let conf = format!(
            "server {{\n  bind_address = \"127.0.0.1\"\n  bind_port = \"{}\"\n  trust_domain = \"example.org\"\n  data_dir = \"{at}/data\"\n}}\n\
             plugins {{\n  DataStore \"sql\" {{ plugin_data {{ database_type = \"sqlite3\" connection_string = \"{at}/data/store.sqlite3\" }} }}\n  \
             NodeAttestor \"x509pop\" {{ plugin_data {{ ca_bundle_path = \"{at}/machines.pem\" agent_path_template = \
             \"/{{{{ .PluginName }}}}/cn/{{{{ .Subject.CommonName }}}}\" }} }}\n  KeyManager \"disk\" {{ plugin_data {{}} }}\n}}\n",
            xds.port()
        );
        std::fs::write(here.join("server.conf"), conf).unwrap();
        std::fs::create_dir(here.join("policies")).unwrap();
        write_entries(here, "x509pop/cn/edge-1");
        let log = std::fs::File::create(here.join("server.log")).unwrap();
        let mut serve = countersign();
        serve.args(["serve", "--spire-config", "server.conf", "--policy", "policies", "--admin", &admin.to_string()]);
        let child = serve.current_dir(here).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let server = Self { directory, xds, child, ports };
        eventually("the server is ready", async || {
            http::get(admin, "admin", "/ready", LIMIT).await.ok().filter(|answer| answer.status.is_success())
        })
        .await;
        let bundle: BundleDocument = server.client().get("/v1/bundle").await.unwrap();
        std::fs::write(server.path("roots.pem"), bundle.pem).unwrap();
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn client(&self) -> Client {
        Connection::to_data_dir(self.path("data")).client().unwrap()
    }

    /// `countersign bootstrap` on a machine that has nothing but its certificate and the mesh's roots.
    async fn join(&self, workload: &str, certificate: &str, key: &str, roots: &Path) -> Result<PathBuf, String> {
        let output = self.path(&format!("node-of-{certificate}"));
        let mut join = countersign();
        join.args(["bootstrap", workload, "--xds-address", &self.xds.to_string(), "--admin-port", "0", "--output"]);
        join.arg(&output).arg("--x509pop-cert").arg(self.path(&format!("{certificate}.pem")));
        join.arg("--x509pop-key").arg(self.path(&format!("{key}.key"))).arg("--trust-bundle").arg(roots);
        join.args(["--trust-domain", "example.org", "--data-dir", "/nonexistent"]);
        let done = join.output().await.unwrap();
        match done.status.success() {
            true => Ok(output),
            false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
        }
    }
}

/// The workload, and whose node it is.
fn write_entries(here: &Path, agent: &str) {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: web, namespace: shop}}\nspec: {{address: 127.0.0.1, \
         serviceAccount: web}}\n---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: api, namespace: shop}}\nspec: \
         {{address: 127.0.0.2, serviceAccount: api}}\n---\napiVersion: spire.spiffe.io/v1alpha1\nkind: ClusterStaticEntry\nmetadata: {{name: \
         web}}\nspec:\n  spiffeID: spiffe://example.org/web\n  parentID: spiffe://example.org/spire/agent/{agent}\n  selectors: [\"k8s:ns:shop\", \
         \"k8s:sa:web\"]\n"
    );
    std::fs::write(here.join("policies/.new"), text).unwrap();
    std::fs::rename(here.join("policies/.new"), here.join("policies/entries.yaml")).unwrap();
}

fn identity(node: &Path) -> String {
    let pem = std::fs::read(node.join("credentials/cert.pem")).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
    let names = pem.parse_x509().unwrap().subject_alternative_name().unwrap().unwrap().value.general_names.clone();
    names.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn threat_04_a_node_gets_what_its_certificate_is_for_and_nothing_else() {
    let (machines, strangers) = (Machines::new(), Machines::new());
    let server = Server::start(&machines).await;
    let here = server.directory.path();
    machines.machine(here, "edge-1");
    machines.machine(here, "edge-2");
    strangers.machine(here, "stranger");
    let roots = server.path("roots.pem");
    let refused = async |workload: &str, certificate: &str, reason: &str| {
        let said = server.join(workload, certificate, certificate, &roots).await.expect_err(reason);
        assert!(said.contains(reason), "{said}");
        assert!(!server.path(&format!("node-of-{certificate}")).join("credentials").exists());
    };
    refused("shop/web", "stranger", "the node's certificate is refused").await;
    let other = "the node spiffe://example.org/spire/agent/x509pop/cn/edge-2 may not become shop/web";
    refused("shop/web", "edge-2", other).await;
    // A workload that no entry gives to a node, and one that does not exist.
    refused("shop/api", "edge-1", "may not become shop/api").await;
    refused("shop/none", "edge-1", "may not become shop/none").await;
    // A server that these roots do not verify is shown nothing: not even the certificate.
    let foreign = server.path("machines.pem");
    let said = server.join("shop/web", "edge-1", "edge-1", &foreign).await.unwrap_err();
    assert!(said.contains("no connection to the server"), "{said}");
    // A key that is not the certificate's.
    let said = server.join("shop/web", "edge-1", "edge-2", &roots).await.unwrap_err();
    assert!(said.contains("the node's key cannot be used"), "{said}");

    let node = server.join("shop/web", "edge-1", "edge-1", &roots).await.unwrap();
    assert!(identity(&node).contains("spiffe://example.org/web"), "{}", identity(&node));
    renew(&node).await.unwrap();
    // As SPIRE's agents do, it may come again with the same certificate.
    server.join("shop/web", "edge-1", "edge-1", &roots).await.unwrap();
    // Until the entry is another node's.
    write_entries(here, "x509pop/cn/edge-2");
    eventually("the other node is let in", async || server.join("shop/web", "edge-2", "edge-2", &roots).await.ok())
        .await;
    let said = server.join("shop/web", "edge-1", "edge-1", &roots).await.unwrap_err();
    assert!(said.contains("x509pop/cn/edge-1 may not become shop/web"), "{said}");
    // Who is an authority of nodes is looked at each time.
    std::fs::write(server.path("machines.pem"), strangers.params.self_signed(&strangers.key).unwrap().pem()).unwrap();
    let said = server.join("shop/web", "edge-2", "edge-2", &roots).await.unwrap_err();
    assert!(said.contains("the node's certificate is refused"), "{said}");
}

async fn an_envoy_runs_on_what_a_node_got_for_its_certificate(setting: Setting) {
    let envoy = setting.envoy().await;
    let machines = Machines::new();
    let mut server = Server::start(&machines).await;
    machines.machine(server.directory.path(), "edge-1");
    let node = server.join("shop/web", "edge-1", "edge-1", &server.path("roots.pem")).await.unwrap();
    // The port of its admin page is chosen here, so that it can be asked.
    let admin = server.ports.free_address().unwrap();
    let config = node.join("envoy.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("port_value: 0", &format!("port_value: {}", admin.port()))).unwrap();
    let options = EnvoyOptions { name: "edge-1".into(), binary: envoy, config, admin, log: node.join("envoy.log") };
    let mut envoy = EnvoyProcess::start(options).unwrap();
    envoy.wait_ready(LIMIT).await.unwrap();
    eventually("it is connected as the workload", async || {
        let all: Vec<countersign::admin::api::ProxyStatus> = server.client().get("/v1/proxies").await.unwrap();
        all.into_iter().find(|proxy| proxy.name == "shop/web")
    })
    .await;
    assert_eq!(envoy.admin().stat("control_plane.connected_state").await.unwrap(), 1);
    drop(envoy);
    server.child.kill().await.unwrap();
}
