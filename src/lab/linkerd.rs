//! Linkerd's policies in the lab: legacy's port under one after the other, and what clients see of each; and the seed's, with the workload that
//! it is for.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use super::checks::{Peer, plaintext_refused, served_by_proxy, served_directly};
use super::topology::ServedPort;
use super::{ControlPlane, EnvoyOptions, EnvoyProcess, LabError, Mesh, Node, Progress, Stage, Topology, Workload};

const SEED: &str = include_str!("../../config/policies/seed/linkerd.yaml");
/// How long a policy may take to be seen at work; a port that changes its mode goes there in steps.
const LIMIT: Duration = Duration::from_secs(30);

/// A Server for legacy's port, and who is let in.
fn policies(more: &str) -> String {
    format!(
        "# Written by `countersign lab --scenario linkerd`.\n\
         apiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata: {{name: legacy, namespace: legacy-namespace}}\n\
         spec:\n  podSelector: {{matchLabels: {{app: legacy}}}}\n  port: 8080\n  proxyProtocol: HTTP/1\n{more}"
    )
}

const NOBODY: &str = "";

const CLIENT: &str = "---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: client, namespace: legacy-namespace}
spec:
  targetRef: {group: policy.linkerd.io, kind: Server, name: legacy}
  requiredAuthenticationRefs:
  - {group: policy.linkerd.io, kind: MeshTLSAuthentication, name: client}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {name: client, namespace: legacy-namespace}
spec:
  identities: [client.production.serviceaccount.identity.linkerd.cluster.local]
";

const MACHINE: &str = "---
apiVersion: policy.linkerd.io/v1beta1
kind: ServerAuthorization
metadata: {name: machine, namespace: legacy-namespace}
spec:
  server: {name: legacy}
  client: {unauthenticated: true, networks: [{cidr: 127.0.0.0/8}]}
";

/// Writes one policy after the other into the directory, and looks at each as clients do.
pub(super) async fn check(topology: &Topology, policies_in: &Path, progress: &mut Progress) -> Result<(), LabError> {
    progress.section("Linkerd's policies");
    let Topology { client, payment, legacy } = topology;
    let file = policies_in.join("linkerd.yaml");
    let write = |more| std::fs::write(&file, policies(more)).map_err(LabError::file("write", &file));
    let (url, host, address) = (legacy.url(8080, "/"), legacy.host(), legacy.at(8080));
    let identity = client.identity();
    let is_refused = async |proxy| match served_by_proxy(proxy, &url, Peer::Nobody).await {
        Err(seen) if seen.starts_with("403") => Ok(seen),
        Err(seen) | Ok(seen) => Err(seen),
    };

    write(NOBODY)?;
    let seen = within(async || is_refused(client.http_proxy()).await).await;
    progress.check("a Server without authorizations refuses everybody", seen);

    write(CLIENT)?;
    let seen = within(async || served_by_proxy(client.http_proxy(), &url, Peer::Identity(&identity)).await).await;
    progress.check("an identity that Linkerd's policy names is let in", seen);
    let seen = within(async || is_refused(payment.http_proxy()).await).await;
    progress.check("another identity is refused", seen);
    progress.check("plaintext is refused", within(async || plaintext_refused(address, &host).await).await);

    write(MACHINE)?;
    let seen = within(async || served_directly(address, &host, Peer::Nobody).await).await;
    progress.check("an allowed network is let in, in plaintext too", seen);
    let seen =
        within(async || served_by_proxy(payment.http_proxy(), &url, Peer::Identity(&payment.identity())).await).await;
    progress.check("and with mutual TLS", seen);

    std::fs::remove_file(&file).map_err(LabError::file("remove", &file))
}

/// What the seed's Server is for.
fn my_app(topology: &Topology) -> Workload {
    let [a, b, c, _] = topology.payment.address.octets();
    let apps = topology.legacy.ports.iter().map(|port| port.app);
    let ports = apps.map(|app| ServedPort { number: 8080, name: "external-api".into(), app });
    Workload {
        namespace: "my-namespace".into(),
        name: "my-app".into(),
        address: Ipv4Addr::new(a, b, c, 8),
        ports: ports.collect(),
        tcp_egress: Vec::new(),
    }
}

/// Writes the seed, and the workload that its Server selects.
pub(super) fn write_seed(policies: &Path, topology: &Topology) -> Result<(), LabError> {
    let mut workload = String::new();
    my_app(topology).documents(&mut workload);
    // The Server has its port by name, as the workload calls it.
    let account = "  serviceAccount: my-app\n";
    let workload = workload.replace(account, &format!("{account}  ports:\n    external-api: 8080\n"));
    for (name, text) in [("linkerd.yaml", SEED), ("my-app.yaml", &workload)] {
        let path = policies.join(name);
        std::fs::write(&path, text).map_err(LabError::file("write", &path))?;
    }
    Ok(())
}

/// Starts the proxy of the seed's workload, and looks at who is let in, without an authorization and with one.
pub(super) async fn check_seed<C: ControlPlane>(
    mesh: &mut Mesh<C>,
    stage: &mut Stage<'_>,
    progress: &mut Progress,
) -> Result<(), LabError> {
    progress.section("Linkerd's seed policies, beside the others");
    let (workload, home) = (my_app(&mesh.topology), stage.directory.join("envoys/my-app.my-namespace"));
    std::fs::create_dir_all(&home).map_err(LabError::file("make", &home))?;
    let admin = stage.ports.free_address()?;
    let config = mesh.control_plane.bootstrap(&workload, &home, admin).await?;
    let (binary, log) = (stage.envoy.to_owned(), home.join("envoy.log"));
    let mut envoy = EnvoyProcess::start(EnvoyOptions { name: workload.id(), binary, config, admin, log })?;
    envoy.wait_ready(LIMIT).await?;
    mesh.envoys.push(envoy);
    mesh.nodes.push(Node { workload: workload.clone(), directory: home, admin });

    let (url, client) = (workload.url(8080, "/"), &mesh.topology.client);
    let refused = within(async || match served_by_proxy(client.http_proxy(), &url, Peer::Nobody).await {
        Err(seen) if seen.starts_with("403") => Ok(seen),
        Err(seen) | Ok(seen) => Err(seen),
    });
    progress.check("Server external-api has no authorization, and refuses everybody", refused.await);
    let authorization = format!(
        "apiVersion: policy.linkerd.io/v1beta1\nkind: ServerAuthorization\nmetadata: {{name: client, namespace: my-namespace}}\n\
         spec:\n  server: {{name: external-api}}\n  client: {{meshTLS: {{identities: [{}.{}.serviceaccount.identity.linkerd.cluster.local]}}}}\n",
        client.name, client.namespace
    );
    let file = stage.directory.join("policies/authorization.yaml");
    std::fs::write(&file, authorization).map_err(LabError::file("write", &file))?;
    let identity = client.identity();
    let seen = within(async || served_by_proxy(client.http_proxy(), &url, Peer::Identity(&identity)).await).await;
    progress.check("with one, whom it names is let in, by mutual TLS", seen);
    let refused = within(async || plaintext_refused(workload.at(8080), &workload.host()).await).await;
    progress.check("and plaintext is refused", refused);
    Ok(())
}

/// The first good result, or the last bad one.
async fn within<T, E>(look: impl AsyncFn() -> Result<T, E>) -> Result<T, E> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match look().await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(50)).await,
            seen => return seen,
        }
    }
}
