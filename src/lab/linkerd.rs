//! Linkerd's policies in the lab: legacy's port under one after the other, and what clients see of each.

use std::path::Path;
use std::time::{Duration, Instant};

use super::checks::{Peer, plaintext_refused, served_by_proxy, served_directly};
use super::{LabError, Progress, Topology};

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
