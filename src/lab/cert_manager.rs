//! The cert-manager scenario: the seed policies with an authority of the lab's in them, and a gateway whose listener is its own.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

use super::authority::authority;
use super::http::Tls;
use super::own_listener::{self, Clients};
use super::{
    ControlPlane, EnvoyAdmin, EnvoyOptions, EnvoyProcess, LabError, Mesh, Node, Progress, Stage, Topology, Workload,
};

const SEED: &str = include_str!("../../config/policies/seed/cert-manager.yaml");
/// What the seed's Certificate is for.
const HOST: &str = "my-service.my-namespace.svc.cluster.local";
const FILE: &str = "cert-manager.yaml";
/// The authority, beside the policies.
const ROOT: &str = "istio-ca.pem";
const PORT: u16 = 8443;
/// How often the Certificate is changed under traffic.
const CHANGES: usize = 10;
/// How long anything may take on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(30);

/// Writes the seed, and the gateway that may read its Secret.
pub(super) fn write(policies: &Path, topology: &Topology) -> Result<(), LabError> {
    let (root, key) = authority("istio-ca of the lab")?;
    let seed = SEED
        .replace("<base64-encoded-ca-cert>", &STANDARD.encode(&root))
        .replace("<base64-encoded-ca-key>", &STANDARD.encode(&key));
    let gateway = format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata:\n  name: edge\n  namespace: my-namespace\n\
         spec:\n  address: {}\n  serviceAccount: edge\n  labels:\n    app: edge\n---\n\
         apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata:\n  name: edge\n  namespace: my-namespace\nspec:\n  \
         selector:\n    app: edge\n  servers:\n  - port:\n      number: 443\n      name: https\n      protocol: HTTPS\n    \
         hosts:\n    - \"{HOST}\"\n    tls:\n      mode: SIMPLE\n      credentialName: my-service-tls\n",
        address(topology)
    );
    let beside = policies.parent().unwrap_or(policies);
    for (path, text) in
        [(policies.join(FILE), seed), (policies.join("gateway.yaml"), gateway), (beside.join(ROOT), root)]
    {
        std::fs::write(&path, text).map_err(LabError::file("write", &path))?;
    }
    Ok(())
}

/// The gateway's, beside the other workloads'.
fn address(topology: &Topology) -> Ipv4Addr {
    let [a, b, c, _] = topology.payment.address.octets();
    Ipv4Addr::new(a, b, c, 9)
}

/// Starts the gateway, looks at what it shows, and changes the Certificate under traffic.
pub(super) async fn check<C: ControlPlane>(
    mesh: &mut Mesh<C>,
    stage: &mut Stage<'_>,
    progress: &mut Progress,
) -> Result<(), LabError> {
    let policies = &stage.directory.join("policies");
    progress.section("cert-manager's seed policies, and a gateway whose listener is its own");
    let (gateway, home) = (gateway(&mesh.topology), stage.directory.join("envoys/edge.my-namespace"));
    std::fs::create_dir_all(&home).map_err(LabError::file("make", &home))?;
    let (admin, address) = (stage.ports.free_address()?, gateway.at(PORT));
    let bootstrap = mesh.control_plane.bootstrap(&gateway, &home, admin).await?;
    let config = own_listener::configure(&bootstrap, address, "kubernetes://my-service-tls")?;
    let (binary, log) = (stage.envoy.to_owned(), home.join("envoy.log"));
    let mut envoy = EnvoyProcess::start(EnvoyOptions { name: gateway.id(), binary, config, admin, log })?;
    envoy.wait_ready(LIMIT).await?;
    let of_envoy = envoy.admin().clone();
    // From here on it belongs to the mesh: whoever replaces the root counts it among the rest.
    mesh.envoys.push(envoy);
    mesh.nodes.push(Node { workload: gateway, directory: home, admin });

    let beside = stage.directory.join(ROOT);
    let root = std::fs::read(&beside).map_err(LabError::file("read", &beside))?;
    let tls = client(&root).map_err(|error| LabError::Certificate(error.to_string()))?;
    let deadline = Instant::now() + LIMIT;
    let mut served = own_listener::ask(address, &tls, HOST).await;
    while served.is_err() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
        served = own_listener::ask(address, &tls, HOST).await;
    }
    progress.check("the gateway shows my-service-tls, which ClusterIssuer istio-ca has signed", served.map(|()| HOST));

    let clients = Clients::start(4, address, &tls, HOST);
    let changed = change(policies, &of_envoy).await;
    let served = clients.stop().await;
    progress.value("requests, each with a new handshake", served.requests);
    let result = match (changed, served.failures) {
        (Ok(()), 0) => Ok(format!("{CHANGES} certificates")),
        (Err(reason), _) => Err(reason),
        (Ok(()), failures) => Err(format!("{failures}, the first: {}", served.first_failure.unwrap_or_default())),
    };
    progress.check("the Certificate was issued again and again, and no request was lost", result);
    Ok(())
}

fn gateway(topology: &Topology) -> Workload {
    let (namespace, name) = ("my-namespace".to_owned(), "edge".to_owned());
    Workload { namespace, name, address: address(topology), ports: Vec::new(), tcp_egress: Vec::new() }
}

/// Asks for another lifetime in the file, as an operator would, and waits until the Envoy shows what was issued.
async fn change(policies: &Path, envoy: &EnvoyAdmin) -> Result<(), String> {
    let path = policies.join(FILE);
    let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
    for round in 1..=CHANGES {
        let before = shown(envoy).await?;
        let changed = text.replace("duration: 24h", &format!("duration: {}h", 24 + round));
        let next = path.with_extension("next");
        std::fs::write(&next, changed)
            .and_then(|()| std::fs::rename(&next, &path))
            .map_err(|error| error.to_string())?;
        let deadline = Instant::now() + LIMIT;
        while shown(envoy).await? == before {
            if Instant::now() >= deadline {
                return Err(format!("change {round}: the gateway still shows {before}"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

/// The serial number of what the listener shows. The Envoy's own credentials have an identity.
async fn shown(envoy: &EnvoyAdmin) -> Result<String, String> {
    let held = envoy.certs().await.map_err(|error| error.to_string())?;
    let leaf = held.leaves.into_iter().find(|leaf| leaf.uris.is_empty());
    leaf.map(|leaf| leaf.serial).ok_or_else(|| "the gateway has no certificate".to_owned())
}

/// A client that trusts the lab's authority alone.
fn client(root: &[u8]) -> Result<Tls, Box<dyn std::error::Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root)?)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = builder.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth();
    Ok(Tls { config: Arc::new(config), server_name: ServerName::try_from(HOST)?.to_owned() })
}
