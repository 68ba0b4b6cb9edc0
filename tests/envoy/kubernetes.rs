//! A cluster's own objects as policy, by what clients see.

use countersign::lab::Topology;
use countersign::lab::checks::{Peer, served_by_proxy};

use crate::harness::{Setting, eventually, on_envoys};

on_envoys!(slices_lead_to_pods: delta_1_40, sotw_1_36);

/// payment-service is found through an EndpointSlice of a Service that selects nothing, and its identity comes from the workload at its address.
async fn slices_lead_to_pods(setting: Setting) {
    let mesh = setting.mesh().await;
    let Topology { client, payment, .. } = mesh.topology();
    let url = payment.url(8080, "/pay");
    let served = async || {
        let identity = client.identity();
        served_by_proxy(client.http_proxy(), &url, Peer::Identity(&identity)).await
    };
    served().await.expect("by the Service's selector");

    let selector = format!(
        "kind: Service\nmetadata:\n  name: {}\n  namespace: {}\nspec:\n  selector:\n    app: {0}\n",
        payment.name, payment.namespace
    );
    let topology = mesh.topology().to_yaml();
    let without =
        topology.replace(&selector, &selector.replace(&format!("  selector:\n    app: {}\n", payment.name), ""));
    assert_ne!(topology, without);
    mesh.write_policy("topology.yaml", &without);
    eventually("there is nobody behind it", async || served().await.err().filter(|seen| seen.starts_with("503"))).await;

    let slice = |ready: bool| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: payment-x\n  namespace: {}\n  labels:\n    kubernetes.io/service-name: {}\naddressType: IPv4\nports:\n- name: http\n  port: 8080\nendpoints:\n- addresses: [{}]\n  conditions:\n    ready: {ready}\n",
            payment.namespace, payment.name, payment.address
        )
    };
    mesh.write_policy("slices.yaml", &slice(true));
    eventually("the slice leads there, over mutual TLS", async || served().await.ok()).await;
    mesh.write_policy("slices.yaml", &slice(false));
    eventually("who is not ready is left out", async || served().await.err().filter(|seen| seen.starts_with("503")))
        .await;
    mesh.stop().await;
}
