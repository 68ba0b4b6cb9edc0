//! A Pod with addresses of both families.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use countersign::cli::{Format, bootstrap};
use countersign::lab::http;
use countersign::lab::{EnvoyOptions, EnvoyProcess};

use crate::gateways::seen;
use crate::harness::{LIMIT, Setting, eventually, on_envoys};

on_envoys!(a_pod_of_two_families_is_reached_at_both_addresses: delta_1_40, sotw_1_36);

/// The Pod, its Service, and a Sidecar that forwards to `app`.
fn policy(address: Ipv4Addr, port: u16, app: SocketAddr) -> String {
    format!(
        "---
apiVersion: v1
kind: Pod
metadata: {{name: dual, namespace: production, labels: {{app: dual, security.istio.io/tlsMode: istio}}}}
spec: {{serviceAccountName: dual, containers: [{{name: app}}]}}
status: {{podIP: {address}, podIPs: [{{ip: {address}}}, {{ip: '::1'}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: dual, namespace: production}}
spec: {{selector: {{app: dual}}, clusterIP: None, ipFamilies: [IPv4, IPv6], ports: [{{name: http, port: {port}}}]}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: dual, namespace: production}}
spec: {{selector: {{matchLabels: {{app: dual}}}}, mtls: {{mode: PERMISSIVE}}}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: dual, namespace: production}}
spec:
  workloadSelector: {{labels: {{app: dual}}}}
  ingress: [{{port: {{number: {port}, name: http, protocol: HTTP}}, defaultEndpoint: '{app}'}}]
  egress: [{{hosts: ['*/*'], port: {{number: 15001, name: proxy, protocol: HTTP_PROXY}}, bind: {address}, captureMode: NONE}}]
"
    )
}

async fn a_pod_of_two_families_is_reached_at_both_addresses(setting: Setting) {
    let mut mesh = setting.mesh().await;
    let [a, b, c, _] = mesh.topology().payment.address.octets();
    let (address, port) = (Ipv4Addr::new(a, b, c, 9), mesh.ports.free_address().unwrap().port());
    let app = mesh.topology().payment.ports[0].app;
    mesh.write_policy("dual.yaml", &policy(address, port, app));
    eventually("the Pod is in the policy", async || {
        mesh.server().status().await.policy.generation.gt(&1).then_some(())
    })
    .await;
    let home = mesh.directory.path().join("dual");
    std::fs::create_dir_all(&home).unwrap();
    let admin = mesh.ports.free_address().unwrap();
    let mut options = bootstrap::Options::new("production/dual".parse().unwrap(), &home);
    (options.mode, options.admin_port) = (setting.mode, admin.port());
    let args = bootstrap::Args { options, format: Format::default(), connection: mesh.server().connection() };
    let config = bootstrap::run(&args).await.unwrap().envoy_yaml;
    let options = EnvoyOptions {
        name: "dual".to_owned(),
        binary: mesh.envoy.clone(),
        config,
        admin,
        log: home.join("envoy.log"),
    };
    let mut envoy = EnvoyProcess::start(options).unwrap();
    envoy.wait_ready(LIMIT).await.unwrap();

    for at in [SocketAddr::from((address, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))] {
        assert_eq!(seen(http::get(at, "dual", "/", LIMIT).await), "payment-service nobody", "{at}");
    }
    // A client's proxy has one endpoint with both.
    let client = &mesh.topology().client;
    let url = format!("http://dual.production.svc.cluster.local:{port}/");
    eventually("the client's proxy reaches it", async || {
        let answer = seen(http::get_via_proxy(client.http_proxy(), &url, LIMIT).await);
        (answer == format!("payment-service {}", client.identity())).then_some(())
    })
    .await;
    for envoy in [envoy.admin(), mesh.lab.envoys[0].admin()] {
        for stat in ["listener_manager.lds.update_rejected", "cluster_manager.cds.update_rejected"] {
            assert_eq!(envoy.stat(stat).await.unwrap(), 0, "{stat}");
        }
    }
    drop(envoy);
    mesh.stop().await;
}
