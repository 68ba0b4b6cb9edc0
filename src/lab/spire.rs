//! The SPIRE scenario: the seed's `server.conf` in its ConfigMap, with an authority of the lab's above it, and an Envoy that is configured as for
//! SPIRE's agent.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::authority::authority;
use super::checks::plaintext_refused;
use super::topology::TRUST_DOMAIN;
use super::{ControlPlane, EnvoyAdmin, EnvoyOptions, EnvoyProcess, LabError, Mesh, Progress, Stage, http};

const SEED: &str = include_str!("../../config/policies/seed/spire.yaml");
/// Whom the Envoy's process is.
const PATH: &str = "/shop/backend";
/// How long anything may take on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(30);
/// How often certificates are replaced while the Envoy is talked to.
const ROUNDS: usize = 3;
/// Requests with each new certificate.
const AFTERWARDS: u32 = 20;

/// Where the server takes the place of SPIRE's agent. `policies` is the policy directory.
pub(super) fn socket(policies: &Path) -> PathBuf {
    beside(policies).join("sockets/agent.sock")
}

fn beside(policies: &Path) -> &Path {
    policies.parent().unwrap_or(policies)
}

/// Writes the seed with this machine's paths and the lab's trust domain, the authority that it names, and an entry for whoever runs the lab.
pub(super) fn write(policies: &Path) -> Result<(), LabError> {
    let run = beside(policies);
    let secrets = run.join("secrets");
    let sockets = run.join("sockets");
    for directory in [&secrets, &sockets] {
        std::fs::create_dir_all(directory).map_err(LabError::file("make", directory))?;
    }
    let (certificate, key) = authority("the upstream authority of the lab")?;
    let seed = SEED.replace("/run/spire", &run.display().to_string()).replace("example.org", TRUST_DOMAIN);
    let uid = rustix::process::geteuid().as_raw();
    let entry = format!(
        "apiVersion: spire.spiffe.io/v1alpha1\nkind: ClusterStaticEntry\nmetadata:\n  name: backend\nspec:\n  \
         spiffeID: spiffe://{TRUST_DOMAIN}{PATH}\n  parentID: spiffe://{TRUST_DOMAIN}/spire/agent/join_token/lab\n  \
         selectors: [\"unix:uid:{uid}\"]\n  x509SVIDTTL: 30m\n"
    );
    for (path, text) in [
        (secrets.join("bootstrap.crt"), certificate),
        (secrets.join("bootstrap.key"), key),
        (policies.join("spire.yaml"), seed),
        (policies.join("entries.yaml"), entry),
    ] {
        std::fs::write(&path, text).map_err(LabError::file("write", &path))?;
    }
    Ok(())
}

/// Starts the Envoy, and looks at what it has and does, while its certificate is replaced.
pub(super) async fn check<C: ControlPlane>(
    mesh: &mut Mesh<C>,
    stage: &mut Stage<'_>,
    progress: &mut Progress,
) -> Result<(), LabError> {
    progress.section("SPIRE's server.conf, and an Envoy that is configured for SPIRE's agent");
    let home = stage.directory.join("envoys/backend.spire");
    std::fs::create_dir_all(&home).map_err(LabError::file("make", &home))?;
    let (admin, front) = (stage.ports.free_address()?, stage.ports.free_address()?);
    let (back, config) = (stage.ports.free_address()?, home.join("envoy.json"));
    let text = configuration(&socket(&stage.directory.join("policies")), admin, front, back).to_string();
    std::fs::write(&config, text).map_err(LabError::file("write", &config))?;
    let (binary, log, name) = (stage.envoy.to_owned(), home.join("envoy.log"), "spire/backend".to_owned());
    let mut envoy = EnvoyProcess::start(EnvoyOptions { name, binary, config, admin, log })?;
    envoy.wait_ready(LIMIT).await?;
    let admin = envoy.admin().clone();
    // From here on it ends with the mesh.
    mesh.envoys.push(envoy);

    let served = ask(front).await.map(|()| "`default` and `ROOTCA` on both ends");
    progress.check("a request is served with mutual TLS, with secrets by the names of SPIRE's agent", served);
    progress.check("plaintext to it is refused", plaintext_refused(back, "backend").await);
    progress.check("its identity is that of the ClusterStaticEntry for its process", identity(&admin).await);
    progress.check("the root is the upstream authority's", upstream(&admin, mesh).await);
    progress.check(
        "its certificate was replaced again and again, and no request was lost",
        renew(mesh, &admin, front).await,
    );
    Ok(())
}

async fn identity(envoy: &EnvoyAdmin) -> Result<String, String> {
    let expected = format!("spiffe://{TRUST_DOMAIN}{PATH}");
    let held = envoy.certs().await.map_err(|error| error.to_string())?;
    match held.leaves.iter().all(|leaf| leaf.uris == [expected.clone()]) && !held.leaves.is_empty() {
        true => Ok(expected),
        false => Err(format!("{:?}", held.leaves)),
    }
}

/// The Envoy and the mesh's trust one root, whose name is the upstream's.
async fn upstream<C: ControlPlane>(envoy: &EnvoyAdmin, mesh: &Mesh<C>) -> Result<String, String> {
    let roots = async |admin: &EnvoyAdmin| {
        let held = admin.certs().await.map_err(|error| error.to_string())?;
        let mut serials: Vec<_> = held.roots.into_iter().map(|root| root.serial).collect();
        serials.sort();
        serials.dedup();
        Ok::<_, String>(serials)
    };
    let of_mesh = mesh.admin(&mesh.topology.payment).map_err(|error| error.to_string())?;
    match (roots(envoy).await?, roots(of_mesh).await?) {
        (here, there) if here.len() == 1 && here == there => Ok(format!("serial number {}", here[0])),
        (here, there) => Err(format!("it trusts {here:?}, and the mesh {there:?}")),
    }
}

/// Has certificates replaced, and asks on and on until the Envoy has its new one.
async fn renew<C: ControlPlane>(mesh: &Mesh<C>, envoy: &EnvoyAdmin, front: SocketAddr) -> Result<String, String> {
    let serial = async || {
        let held = envoy.certs().await.map_err(|error| error.to_string())?;
        held.leaves.into_iter().next().map(|leaf| leaf.serial).ok_or_else(|| "it has no certificate".to_owned())
    };
    let mut requests = 0_u32;
    for round in 1..=ROUNDS {
        let before = serial().await?;
        mesh.control_plane.rotate_all().await.map_err(|error| error.to_string())?;
        let deadline = Instant::now() + LIMIT;
        while serial().await? == before {
            ask(front).await?;
            requests += 1;
            if Instant::now() >= deadline {
                return Err(format!("round {round}: it still has {before}"));
            }
        }
        for _ in 0..AFTERWARDS {
            ask(front).await?;
        }
        requests += AFTERWARDS;
    }
    Ok(format!("{requests} requests"))
}

/// One request, over a connection of its own at both ends.
async fn ask(front: SocketAddr) -> Result<(), String> {
    let answer = http::get(front, "backend", "/", LIMIT).await.map_err(|error| error.to_string())?;
    match (answer.status.as_u16(), answer.text().as_str()) {
        (200, "served") => Ok(()),
        (status, text) => Err(format!("{status}: {text}")),
    }
}

/// As SPIRE's documentation has it: a cluster for the agent's socket, and secrets by SDS over it. A listener in plaintext leads to one with
/// mutual TLS, which answers.
fn configuration(agent: &Path, admin: SocketAddr, front: SocketAddr, back: SocketAddr) -> Value {
    let typed = |name: &str| format!("type.googleapis.com/envoy.extensions.{name}");
    let tls = |kind: &str| {
        let mut context =
            json!({ "@type": typed(&format!("transport_sockets.tls.v3.{kind}")), "common_tls_context": secrets() });
        if kind == "DownstreamTlsContext" {
            context["require_client_certificate"] = json!(true);
        }
        json!({ "name": "envoy.transport_sockets.tls", "typed_config": context })
    };
    let answers = json!({ "match": { "prefix": "/" }, "direct_response": { "status": 200, "body": { "inline_string": "served" } } });
    let leads = json!({ "match": { "prefix": "/" }, "route": { "cluster": "backend" } });
    let once = json!({
        "@type": typed("upstreams.http.v3.HttpProtocolOptions"),
        "common_http_protocol_options": { "max_requests_per_connection": 1 },
        "explicit_http_config": { "http_protocol_options": {} },
    });
    let mut backend = listener("backend", back, answers);
    backend["filter_chains"][0]["transport_socket"] = tls("DownstreamTlsContext");
    json!({
        "node": { "id": "backend", "cluster": "demo-cluster-spire" },
        "admin": { "address": address(admin) },
        "static_resources": {
            "listeners": [listener("frontend", front, leads), backend],
            "clusters": [
                {
                    "name": "spire_agent",
                    "connect_timeout": "0.25s",
                    "http2_protocol_options": {},
                    "load_assignment": endpoints("spire_agent", &json!({ "pipe": { "path": agent.display().to_string() } })),
                },
                {
                    "name": "backend",
                    "connect_timeout": "1s",
                    "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": once },
                    "load_assignment": endpoints("backend", &address(back)),
                    "transport_socket": tls("UpstreamTlsContext"),
                },
            ],
        },
    })
}

fn secrets() -> Value {
    let secret = |name: &str| {
        let service = json!({ "envoy_grpc": { "cluster_name": "spire_agent" } });
        let source = json!({ "api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [service] });
        json!({ "name": name, "sds_config": { "resource_api_version": "V3", "api_config_source": source } })
    };
    let expected = json!({ "san_type": "URI", "matcher": { "exact": format!("spiffe://{TRUST_DOMAIN}{PATH}") } });
    json!({
        "tls_certificate_sds_secret_configs": [secret("default")],
        "combined_validation_context": {
            "default_validation_context": { "match_typed_subject_alt_names": [expected] },
            "validation_context_sds_secret_config": secret("ROOTCA"),
        },
    })
}

fn listener(name: &str, at: SocketAddr, route: Value) -> Value {
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
    });
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "http_filters": [router],
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
    });
    let filter = json!({ "name": "envoy.filters.network.http_connection_manager", "typed_config": manager });
    json!({ "name": name, "address": address(at), "filter_chains": [{ "filters": [filter] }] })
}

fn endpoints(cluster: &str, address: &Value) -> Value {
    json!({ "cluster_name": cluster, "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address } }] }] })
}

fn address(at: SocketAddr) -> Value {
    json!({ "socket_address": { "address": at.ip().to_string(), "port_value": at.port() } })
}
