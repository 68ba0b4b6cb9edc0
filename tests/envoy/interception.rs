//! Sidecars as in Kubernetes: iptables lead every connection to the proxy, on machines of their own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign::cli::{Format, bootstrap};
use countersign::lab::app::Echo;
use countersign::lab::intruder::{self, Disguise};
use countersign::lab::topology::AppAddresses;
use countersign::lab::{App, ControlPlane as _, EnvoyOptions, EnvoyProcess, Network, Scenario, Setup, Topology, http};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::bytes::{BytesApp, Speaks};
use crate::harness::{LIMIT, ServerProcess, Setting, eventually, on_envoys};
use crate::namespace::{CONTROL_PLANE_PORT, Namespace, PROXY_GROUP, Pair};

on_envoys!(iptables_lead_everything_to_the_proxies: delta_1_40, sotw_1_36);

/// The address of the service, which no machine has.
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 77, 10);

const CLIENT: &str = "spiffe://cluster.local/ns/pods/sa/client";
const SERVER: &str = "spiffe://cluster.local/ns/pods/sa/server";

fn policy([client, server]: [Ipv4Addr; 2]) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: client, namespace: pods}}
spec: {{address: {client}, serviceAccount: client, labels: {{app: client}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: server, namespace: pods}}
spec: {{address: {server}, serviceAccount: server, labels: {{app: server}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: server, namespace: pods}}
spec:
  clusterIP: {SERVICE}
  selector: {{app: server}}
  ports:
  - {{name: http, port: 80, targetPort: 8080}}
  - {{name: tcp, port: 9000}}
  - {{name: mysql, port: 9001}}
  - {{name: any, port: 7000}}
---
apiVersion: v1
kind: Service
metadata: {{name: chosen, namespace: pods}}
spec:
  clusterIP: None
  selector: {{app: server}}
  ports: [{{name: tcp, port: 9100}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: tls, namespace: pods}}
spec:
  hosts: ['*.tls.test']
  resolution: NONE
  ports: [{{number: 9443, name: tls, protocol: TLS}}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: server, namespace: pods}}
spec:
  selector: {{matchLabels: {{app: server}}}}
  mtls: {{mode: STRICT}}
  portLevelMtls:
    9000: {{mode: PERMISSIVE}}
    9300: {{mode: DISABLE}}
    9443: {{mode: DISABLE}}
"
    )
}

/// A proxy in a namespace, as a member of the group that iptables know.
async fn envoy(
    setting: Setting,
    server: &ServerProcess,
    name: &str,
    home: &Path,
    namespace: &Namespace,
) -> EnvoyProcess {
    std::fs::create_dir_all(home).unwrap();
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, 15000));
    let mut options = bootstrap::Options::new(format!("pods/{name}").parse().unwrap(), home);
    (options.mode, options.admin_port) = (setting.mode, admin.port());
    options.interception = bootstrap::Interception::Redirect;
    let args = bootstrap::Args { options, format: Format::default(), connection: server.connection() };
    let config = bootstrap::run(&args).await.unwrap().envoy_yaml;
    let binary = home.join("as-proxy");
    let envoy = setting.envoy().await;
    let script =
        format!("#!/bin/sh\nexec setpriv --regid {PROXY_GROUP} --clear-groups -- {} \"$@\"\n", envoy.display());
    std::fs::write(&binary, script).unwrap();
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
    let options = EnvoyOptions { name: name.to_owned(), binary, config, admin, log: home.join("envoy.log") };
    let start = async move {
        let mut envoy = EnvoyProcess::start(options).unwrap();
        envoy.wait_ready(LIMIT).await.unwrap();
        envoy
    };
    namespace.run(start).await
}

/// Whom the application saw: the SPIFFE ID, `nobody`, or why there was no answer.
async fn ask(address: SocketAddr, host: &'static str) -> String {
    match http::get(address, host, "/", LIMIT).await {
        Err(error) if error.is_refusal() => "refused".to_owned(),
        Err(error) => error.to_string(),
        Ok(answer) if answer.status.as_u16() != 200 => format!("{}: {}", answer.status, answer.text()),
        Ok(answer) => match serde_json::from_slice::<Echo>(&answer.body).unwrap().peer() {
            Some(certificate) => certificate.uris.join(" "),
            None => "nobody".to_owned(),
        },
    }
}

/// What comes back of a line, `first` before it if the server speaks first.
async fn say(address: SocketAddr) -> String {
    let stream = match tokio::time::timeout(LIMIT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return error.to_string(),
        Err(_) => return "no connection".to_owned(),
    };
    match tokio::time::timeout(LIMIT, line(stream)).await {
        Ok(Ok(line)) if line.is_empty() => "refused".to_owned(),
        Ok(Ok(line)) => line,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => "refused".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "silence".to_owned(),
    }
}

async fn line(stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<String> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"ping\n").await?;
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    Ok(line.trim_end().to_owned())
}

/// What a server says first.
async fn greeting(address: SocketAddr) -> String {
    let mut line = String::new();
    let read = async { BufReader::new(TcpStream::connect(address).await.unwrap()).read_line(&mut line).await };
    tokio::time::timeout(LIMIT, read).await.unwrap().unwrap();
    line.trim_end().to_owned()
}

/// What comes back of a line over the application's own TLS.
async fn say_in_tls(address: SocketAddr, name: &'static str) -> String {
    let tls = intruder::tls(Disguise::Nothing, name).unwrap();
    let mut config = rustls::ClientConfig::clone(&tls.config);
    config.alpn_protocols.clear();
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(tls.server_name, stream).await.unwrap();
    line(stream).await.unwrap()
}

async fn iptables_lead_everything_to_the_proxies(setting: Setting) {
    let pair = match Pair::new() {
        Ok(pair) => pair,
        Err(reason) => return eprintln!("skipped: no network namespace with iptables can be made here: {reason}"),
    };
    let [client, server] = &pair.namespaces;
    let [client_address, server_address] = pair.addresses;
    let at = move |port| SocketAddr::from((server_address, port));
    let service = |port| SocketAddr::from((SERVICE, port));

    let apps = async move {
        let http = [App::start("http", at(8080)).await.unwrap(), App::start("any", at(7000)).await.unwrap()];
        let mut bytes = Vec::new();
        for port in [9000, 9100, 9300, 9400, 9443] {
            bytes.push(BytesApp::start_at(Speaks::Second, at(port)).await);
        }
        bytes.push(BytesApp::start_at(Speaks::First, at(9001)).await);
        (http, bytes)
    };
    let apps = server.run(apps).await;

    let directory = tempfile::tempdir().unwrap();
    let (policies, data) = (directory.path().join("policies"), directory.path().join("data"));
    std::fs::create_dir_all(&policies).unwrap();
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(policies.join("pods.yaml"), policy(pair.addresses)).unwrap();
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let nowhere = AppAddresses { payment: anywhere, payment_metrics: anywhere, legacy: anywhere };
    let setup = Setup {
        policies: policies.clone(),
        data,
        xds: SocketAddr::from((client_address, CONTROL_PLANE_PORT)),
        admin: SocketAddr::from((Ipv4Addr::LOCALHOST, CONTROL_PLANE_PORT + 1)),
        trust_domain: "cluster.local".to_owned(),
        topology: Topology::new(Network::unique().unwrap(), nowhere),
        scenario: Scenario::default(),
    };
    let plane = client.run(async move { ServerProcess::start_with(setup, "", setting.mode).await }).await;
    let client_envoy = envoy(setting, &plane, "client", &directory.path().join("client"), client).await;
    let server_envoy = envoy(setting, &plane, "server", &directory.path().join("server"), server).await;

    // By the service's address, whatever is spoken.
    assert_eq!(client.run(ask(service(80), "server.pods")).await, CLIENT);
    assert_eq!(client.run(say(service(9000))).await, "plain ping");
    assert_eq!(client.run(greeting(service(9001))).await, "220 ready");
    assert_eq!(client.run(ask(service(7000), "server.pods:7000")).await, "nobody", "bytes name nobody");
    // A headless service's client chooses the endpoint. The port is STRICT, so what is served came over mutual TLS.
    assert_eq!(client.run(say(at(9100))).await, "plain ping");
    // A workload reaches itself, by way of both sides of its proxy.
    assert_eq!(server.run(ask(service(80), "server.pods")).await, SERVER);
    // No service has these addresses. The client's proxy sends them on as they are, and the server's knows the mode of each port.
    assert_eq!(client.run(say(at(9300))).await, "plain ping", "a port of which only a PeerAuthentication speaks");
    assert_eq!(client.run(say(at(9400))).await, "refused", "every other port is STRICT");
    assert_eq!(client.run(say(at(9000))).await, "plain ping", "PERMISSIVE");
    assert_eq!(client.run(ask(at(8080), "server.pods")).await, "refused", "STRICT");
    // TLS that is not the mesh's goes by the name it asks for.
    assert_eq!(client.run(say_in_tls(at(9443), "a.tls.test")).await, "tls ping");
    let (client_admin, server_admin) = (client_envoy.admin().clone(), server_envoy.admin().clone());
    let stat = |admin: &countersign::lab::EnvoyAdmin, name: &'static str| {
        let admin = admin.clone();
        async move { admin.stat(name).await.unwrap() }
    };
    assert_eq!(client.run(stat(&client_admin, "cluster.outbound|9443||*.tls.test.upstream_cx_total")).await, 1);

    // Whoever asks for the proxy's own ports would be sent to them again and again.
    for port in [15001, 15006] {
        let own = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        assert_eq!(server.run(say(own)).await, "refused", "{port} from within");
        assert_eq!(client.run(say(at(port))).await, "refused", "{port} from outside");
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let connections = server.run(stat(&server_admin, "listener.0.0.0.0_15006.downstream_cx_total")).await;
    assert!(connections < 40, "{connections} connections came of these few");
    for (namespace, admin) in [(client, &client_admin), (server, &server_admin)] {
        for name in ["listener_manager.lds.update_rejected", "cluster_manager.cds.update_rejected"] {
            assert_eq!(namespace.run(stat(admin, name)).await, 0, "{name}");
        }
        assert_eq!(namespace.run(stat(admin, "runtime.deprecated_feature_use")).await, 0);
    }

    // Where the operator says that only what is known may be reached, nothing else is.
    let only = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default, namespace: pods}\n\
                spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}\n";
    std::fs::write(policies.join("only.yaml"), only).unwrap();
    eventually("what no service has is refused", async || (client.run(say(at(9300))).await == "refused").then_some(()))
        .await;
    assert_eq!(client.run(ask(service(80), "server.pods")).await, CLIENT);

    for (namespace, mut envoy) in [(client, client_envoy), (server, server_envoy)] {
        namespace.run(async move { envoy.terminate().await.unwrap() }).await;
    }
    client.run(async move { plane.stop().await.unwrap() }).await;
    drop(apps);
}
