//! An Envoy whose listener is its own, as gateways have: its configuration is a file, and only the certificate that it shows comes from the
//! control plane, by SDS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::LabError;
use super::http::{self, Tls};

/// How long a request may take on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(10);
/// The pause between two requests of one client.
const PAUSE: Duration = Duration::from_millis(10);

/// A copy of a bootstrap, beside it, that asks for no clusters and listeners, and listens at `address` with the secret of this name. Every
/// request is answered with `served`.
pub fn configure(bootstrap: &Path, address: SocketAddr, secret: &str) -> Result<PathBuf, LabError> {
    let text = std::fs::read_to_string(bootstrap).map_err(LabError::file("read", bootstrap))?;
    let mut config: Value =
        serde_saphyr::from_str(&text).map_err(|error| LabError::ControlPlane(format!("its bootstrap: {error}")))?;
    if let Some(dynamic) = config["dynamic_resources"].as_object_mut() {
        dynamic.remove("cds_config");
        dynamic.remove("lds_config");
    }
    config["static_resources"]["listeners"] = json!([listener(address, secret)]);
    let path = bootstrap.with_file_name("own-listener.json");
    std::fs::write(&path, config.to_string()).map_err(LabError::file("write", &path))?;
    Ok(path)
}

fn listener(address: SocketAddr, secret: &str) -> Value {
    let typed = |name: &str| format!("type.googleapis.com/envoy.extensions.{name}");
    let manager = json!({
        "@type": typed("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "own",
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": typed("filters.http.router.v3.Router") },
        }],
        "route_config": { "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "direct_response": { "status": 200, "body": { "inline_string": "served" } } }],
        }]},
    });
    json!({
        "name": "own",
        "address": { "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } },
        "filter_chains": [{
            "filters": [{ "name": "envoy.filters.network.http_connection_manager", "typed_config": manager }],
            "transport_socket": {
                "name": "envoy.transport_sockets.tls",
                "typed_config": {
                    "@type": typed("transport_sockets.tls.v3.DownstreamTlsContext"),
                    "common_tls_context": { "tls_certificate_sds_secret_configs": [{
                        "name": secret,
                        "sds_config": { "ads": {}, "resource_api_version": "V3" },
                    }]},
                },
            },
        }],
    })
}

/// Clients that open a connection for each request, and verify whom they reach. Dropping them ends them.
#[derive(Debug)]
pub struct Clients {
    counts: Arc<Counts>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    failures: AtomicU64,
    first: std::sync::Mutex<Option<String>>,
}

/// What came of their requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// How many there were.
    pub requests: u64,
    /// How many of them were not served.
    pub failures: u64,
    /// What the first of these has said.
    pub first_failure: Option<String>,
}

impl Clients {
    /// So many clients of this address.
    pub fn start(clients: usize, address: SocketAddr, tls: &Tls, host: &str) -> Self {
        let (counts, stop) = (Arc::<Counts>::default(), watch::Sender::new(false));
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let (counts, tls, host, stopped) = (Arc::clone(&counts), tls.clone(), host.to_owned(), stop.subscribe());
            tasks.spawn(async move {
                while !*stopped.borrow() {
                    counts.add(ask(address, &tls, &host).await);
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Self { counts, stop, tasks }
    }

    /// What came of them so far.
    pub fn served(&self) -> Served {
        self.counts.served()
    }

    /// Lets the last requests finish.
    pub async fn stop(mut self) -> Served {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        self.counts.served()
    }
}

impl Counts {
    fn add(&self, result: Result<(), String>) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if let Err(reason) = result {
            self.failures.fetch_add(1, Ordering::Relaxed);
            self.first.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(reason);
        }
    }

    fn served(&self) -> Served {
        Served {
            requests: self.requests.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            first_failure: self.first.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone(),
        }
    }
}

/// One request over a connection of its own.
pub async fn ask(address: SocketAddr, tls: &Tls, host: &str) -> Result<(), String> {
    let answer = http::get_tls(address, tls, host, "/", LIMIT).await.map_err(|error| error.to_string())?;
    match (answer.status.as_u16(), answer.text().as_str()) {
        (200, "served") => Ok(()),
        (status, text) => Err(format!("{status}: {text}")),
    }
}
