//! Every mode of a port, against every kind of client, for every kind of protocol: what happens, on real Envoys.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use countersign::lab::checks::{Peer, served_by_proxy};
use countersign::lab::intruder::Disguise;
use countersign::lab::{App, Workload};

use crate::bytes::{BytesApp, Speaks};
use crate::clients::{Client, Conversation, Seen, converse};
use crate::harness::{Mesh, Setting, eventually, on_envoys};

on_envoys!(every_mode_against_every_client: delta_1_40, sotw_1_36);

/// One line for each protocol and mode of a port, one column for each client:
/// - `plain`: without TLS.
/// - `proxy`: another workload, through its own proxy.
/// - `mutual`: with a certificate of the mesh and the words that proxies offer (ALPN).
/// - `tls`: TLS that only looks at the server, as an application's own.
/// - `as-proxy`: the same with the words that proxies offer.
/// - `foreign`: with the words, and a certificate for a workload's name that another authority has made.
///
/// What is seen:
/// - `refused`: somebody took the connection and ended it.
/// - `plain`: the application served, and no proxy terminated TLS.
/// - `named`: over mutual TLS, and the application was told whose.
/// - `mutual`: over mutual TLS, carried as bytes.
/// - `own-tls`: the application terminated TLS itself.
const EXPECTED: &str = "
    protocol         mode        plain    proxy   mutual   tls      as-proxy  foreign
    http             STRICT      refused  named   named    refused  refused   refused
    http             PERMISSIVE  plain    named   named    refused  refused   refused
    http             DISABLE     plain    plain   refused  refused  refused   refused
    grpc             STRICT      refused  named   named    refused  refused   refused
    grpc             PERMISSIVE  plain    named   named    refused  refused   refused
    grpc             DISABLE     plain    plain   refused  refused  refused   refused
    tcp              STRICT      refused  mutual  mutual   refused  refused   refused
    tcp              PERMISSIVE  plain    mutual  mutual   own-tls  refused   refused
    tcp              DISABLE     plain    plain   own-tls  own-tls  own-tls   own-tls
    mysql            STRICT      refused  mutual  mutual   refused  refused   refused
    mysql            PERMISSIVE  plain    mutual  mutual   refused  refused   refused
    mysql            DISABLE     plain    plain   refused  refused  refused   refused
    undeclared-http  STRICT      refused  mutual  mutual   refused  refused   refused
    undeclared-http  PERMISSIVE  plain    mutual  mutual   refused  refused   refused
    undeclared-http  DISABLE     plain    plain   refused  refused  refused   refused
    undeclared-tcp   STRICT      refused  mutual  mutual   refused  refused   refused
    undeclared-tcp   PERMISSIVE  plain    mutual  mutual   own-tls  refused   refused
    undeclared-tcp   DISABLE     plain    plain   own-tls  own-tls  own-tls   own-tls
";

/// A port of the server.
struct Port<'a> {
    number: u16,
    protocol: &'a str,
    mode: &'a str,
    expected: Vec<&'a str>,
}

impl<'a> Port<'a> {
    fn all() -> Vec<Self> {
        let rows = EXPECTED.lines().filter(|line| !line.trim().is_empty()).skip(1);
        let port = |(index, row): (usize, &'a str)| {
            let mut words = row.split_whitespace();
            let (protocol, mode) = (words.next().unwrap(), words.next().unwrap());
            Self { number: 7001 + u16::try_from(index).unwrap(), protocol, mode, expected: words.collect() }
        };
        rows.enumerate().map(port).collect()
    }

    /// By which Istio knows the protocol, or does not.
    fn name(&self) -> String {
        format!("{}-{}", self.protocol, self.number)
    }

    fn conversation(&self) -> Conversation {
        match self.protocol {
            "http" | "undeclared-http" => Conversation::Http,
            "grpc" => Conversation::Http2,
            "mysql" => Conversation::ServerFirst,
            _ => Conversation::Lines,
        }
    }
}

/// The applications behind the ports.
struct Apps {
    http: App,
    bytes: BytesApp,
    greeting: BytesApp,
}

impl Apps {
    fn of(&self, conversation: Conversation) -> SocketAddr {
        match conversation {
            Conversation::Http | Conversation::Http2 => self.http.address(),
            Conversation::Lines => self.bytes.address,
            Conversation::ServerFirst => self.greeting.address,
        }
    }
}

/// The policies of the mesh: `istio.yaml` with the modes, and `topology.yaml` with the ports.
fn policies(mesh: &Mesh, ports: &[Port<'_>], apps: &Apps) -> (String, String) {
    let (client, server) = (&mesh.topology().client, &mesh.topology().payment);
    let mut modes = String::from(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: matrix, namespace: production}\n\
         spec:\n  selector: {matchLabels: {app: payment-service}}\n  portLevelMtls:\n",
    );
    let (mut service, mut ingress, mut egress) = (String::new(), String::new(), String::new());
    for port in ports {
        let Port { number, mode, .. } = port;
        let (name, app) = (port.name(), apps.of(port.conversation()));
        let _ = writeln!(modes, "    {number}: {{mode: {mode}}}");
        let _ = writeln!(service, "  - {{name: {name}, port: {number}}}");
        let _ = write!(
            ingress,
            "  - port: {{number: {number}, name: {name}}}\n    bind: {}\n    captureMode: NONE\n    defaultEndpoint: {app}\n",
            server.address
        );
        if matches!(port.conversation(), Conversation::Lines | Conversation::ServerFirst) {
            let _ = write!(
                egress,
                "  - port: {{number: {number}, name: {name}, protocol: TCP}}\n    bind: {}\n    captureMode: NONE\n    \
                 hosts: [\"production/{}\"]\n",
                client.address,
                server.host()
            );
        }
    }
    let mut topology = mesh.topology().to_yaml();
    topology =
        topology.replacen("  - name: http\n    port: 8080\n", &format!("{service}  - name: http\n    port: 8080\n"), 1);
    topology = topology.replacen("  ingress:\n", &format!("  ingress:\n{ingress}"), 1);
    topology = topology.replacen("  egress:\n", &format!("  egress:\n{egress}"), 1);
    (modes, topology)
}

/// The client's own credentials, in the hands of somebody who speaks TLS without a proxy.
fn credentials(mesh: &Mesh, workload: &Workload) -> Disguise<'static> {
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    let node = mesh.lab.nodes.iter().find(|node| node.workload == *workload).unwrap();
    let file = |name: &str| node.directory.join("credentials").join(name);
    let read = |path: &Path| CertificateDer::pem_file_iter(path).unwrap().map(Result::unwrap).collect();
    Disguise::Stolen(read(&file("cert.pem")), PrivateKeyDer::from_pem_file(file("key.pem")).unwrap())
}

async fn every_mode_against_every_client(setting: Setting) {
    let mut mesh = setting.mesh().await;
    let ports = Port::all();
    let apps = Apps {
        http: App::start("matrix", mesh.ports.free_address().unwrap()).await.unwrap(),
        bytes: BytesApp::start(Speaks::Second, &mut mesh.ports).await,
        greeting: BytesApp::start(Speaks::First, &mut mesh.ports).await,
    };
    let (modes, topology) = policies(&mesh, &ports, &apps);
    mesh.write_policy("topology.yaml", &topology);
    mesh.write_policy("istio.yaml", &modes);
    let (client, server) = (mesh.topology().client.clone(), mesh.topology().payment.clone());
    for workload in [&client, &server] {
        let admin = mesh.lab.admin(workload).unwrap();
        eventually("every listener is there", async || {
            let listeners = admin.get("/listeners").await.unwrap();
            let wanted = |port: &Port<'_>| listeners.contains(&format!("{}:{}", workload.address, port.number));
            let is_served = |port: &Port<'_>| workload == &server || port.protocol.contains("tcp");
            ports.iter().filter(|port| is_served(port)).all(wanted).then_some(())
        })
        .await;
    }
    mesh.server().wait_synced(3).await;
    // The modes came in a second file; a port that is STRICT by now has them.
    eventually("the modes are served", async || {
        let url = server.url(ports[0].number, "/");
        served_by_proxy(client.http_proxy(), &url, Peer::Identity(&client.identity())).await.ok()
    })
    .await;

    let identity = client.identity();
    let clients = [
        ("plain", Client::Plain),
        ("proxy", Client::Proxy(client.clone())),
        ("mutual", Client::tls(credentials(&mesh, &client), true)),
        ("tls", Client::tls(Disguise::Nothing, false)),
        ("as-proxy", Client::tls(Disguise::Nothing, true)),
        ("foreign", Client::tls(Disguise::Forged(&identity), true)),
    ];
    let mut tasks = tokio::task::JoinSet::new();
    for port in &ports {
        for (column, (_, client)) in clients.iter().enumerate() {
            let (client, conversation) = (client.clone(), port.conversation());
            let (number, server) = (port.number, server.clone());
            tasks.spawn(async move { ((number, column), converse(&client, &server, number, conversation).await) });
        }
    }
    let mut seen: BTreeMap<(u16, usize), Seen> = tasks.join_all().await.into_iter().collect();
    // Bytes name nobody: whether the way between two proxies was mutual TLS is known by the server's listener.
    let admin = mesh.lab.admin(&server).unwrap();
    for port in ports.iter().filter(|port| !matches!(port.protocol, "http" | "grpc")) {
        let handshakes = admin.stat(&format!("{}ssl.handshake", server.listener_stats(port.number))).await.unwrap();
        let by_proxy = seen.get_mut(&(port.number, 1)).unwrap();
        // The client without a proxy has made one.
        if by_proxy.as_str() == "plain" && handshakes > 1 {
            *by_proxy = Seen::new("mutual");
        }
    }
    let mut wrong = String::new();
    for port in &ports {
        for (column, (name, _)) in clients.iter().enumerate() {
            let (expected, seen) = (port.expected[column], &seen[&(port.number, column)]);
            if seen.as_str() != expected {
                let (protocol, mode, word) = (port.protocol, port.mode, seen.as_str());
                let _ = writeln!(wrong, "{protocol} {mode} {name}: expected {expected}, saw {word} {}", seen.why());
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    for envoy in &mesh.lab.envoys {
        assert_eq!(envoy.admin().stat("listener_manager.lds.update_rejected").await.unwrap(), 0, "{}", envoy.name());
    }
    mesh.stop().await;
}
