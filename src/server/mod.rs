//! The server: every part put together, from the policy directory to the streams.
//!
//! [`Server::start`] takes the data directory, loads trust and policy, and listens. Policy flows through one task (`policy_loop`), which
//! turns each good set into a `model` off the async threads and shows it to the connected `proxies`; certificates flow through
//! another (`renewal`). [`run`] is a server until a signal ends it.

pub mod config;

mod admission;
mod analyst;
mod attestation;
mod authentication;
mod backend;
mod backup;
mod ca;
mod client_status;
mod connection;
mod enroller;
mod error;
mod federated;
mod flavour;
mod granted;
mod handshakes;
mod issuing;
mod lab;
mod lingering;
mod listener;
mod lock;
mod mesh_issuer;
mod mode_file;
mod model;
mod need;
mod notices;
mod observer;
mod one_task;
mod participants;
mod peers;
mod policy_loop;
mod proxies;
mod refusals;
mod renewal;
mod roots;
mod rotation;
mod run;
mod services;
mod small_frames;
mod staging;
mod tasks;
mod unix_socket;
mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::fleet::Fleet;
use crate::source::{self, Directory};
use crate::telemetry::Metrics;
use crate::trust::tls::{Clients, ServerTls};
use crate::trust::{self, KEY_VARIABLE, KeyEncryptionKey, SealError, SqliteStore, Trust, TrustError};
use crate::xds::{Drain, XdsService};
use crate::{admin, certificates as controller, policy};

use admission::Admission;
use attestation::Attestor;
use authentication::Authenticators;
use backend::ServerBackend;
pub use backup::{backup, restore};
pub use ca::{AuthorityFiles, AuthorityTexts, authority_request, import_authority};
use config::Config;
use enroller::Enrolling;
pub use error::ServerError;
use issuing::Issuing;
pub use lab::lab;
use listener::{Door, Security};
use lock::DataDirLock;
pub use lock::LockError;
use mode_file::ModeFile;
pub use mode_file::ModeFileError;
use proxies::Proxies;
use refusals::Refusals;
pub use run::run;
use services::{Health, Services};
use staging::Staging;
use tasks::Tasks;
pub use unix_socket::UnixSocketError;

/// Where the time comes from: the system's clock in a server, anything in a test.
pub type Clock = Arc<dyn Fn() -> OffsetDateTime + Send + Sync>;

/// The store, in the data directory.
const STORE: &str = "trust.db";
/// Workload certificates that live longer are worth a warning.
const LONG_TTL: Duration = Duration::from_secs(24 * 3600);
/// After the drain, streams that have not ended are cut off this much later.
const CUT_OFF: Duration = Duration::from_millis(500);

/// A running server. Dropping it ends it at once; [`Server::stop`] lets streams go in order.
pub struct Server {
    proxies: Proxies,
    xds_address: SocketAddr,
    admin: admin::Running,
    admin_stop: watch::Sender<bool>,
    drain: Drain,
    drain_time: Duration,
    health: Health,
    tasks: Tasks,
    _lock: DataDirLock,
}

impl Server {
    /// Starts everything. When it returns, both ports are open; `/ready` says when policy is loaded too.
    pub async fn start(config: Config, clock: Clock) -> Result<Self, ServerError> {
        for warning in &config.warnings {
            warn!("configuration: {warning}");
        }
        admin::prepare_data_dir(&config.data_dir)?;
        let lock = DataDirLock::take(&config.data_dir)?;
        let metrics = Arc::new(Metrics::new());
        let attestor = Attestor::new(&config, clock())?;
        let trust = open_trust(&config, &clock).await?;
        let limits = &config.xds.limits;
        let of_each = limits.first_pushes_per_identity;
        let admission = Admission::new(limits.first_pushes, of_each, limits.first_push_time);
        let fleet = Arc::new(Fleet::new(Arc::clone(&clock)));
        let proxies = Proxies::new(trust, fleet, Arc::clone(&metrics), Arc::clone(&clock), admission);

        let directory = config.policy.directory.clone();
        let (policy, source) = blocking(move || Directory::start(directory, source::Options::default()))
            .await
            .map_err(|source| ServerError::Policy { directory: config.policy.directory.clone(), source })?;
        let mut tasks = Tasks::default();
        tasks.push(source);
        let settings = controller::Settings {
            cluster_resource_namespace: config.policy.cluster_resource_namespace.clone(),
            ..controller::Settings::default()
        };
        let (trust, clock_of_issuing) = (Arc::clone(&proxies.trust), Arc::clone(&clock));
        let (issuing, policy, task) = Issuing::start(trust, clock_of_issuing, settings, policy).await?;
        tasks.push(task);
        // The first policy is served before the first stream is let in.
        let settings = policy_loop::Settings::from(&config);
        let served = watch::Sender::new(None);
        tasks.push(analyst::start(proxies.clone(), served.subscribe()));
        let staging = Staging::open(proxies.clone(), ModeFile::new(&config.data_dir), settings)?;
        tasks.push(policy_loop::start(proxies.clone(), policy.clone(), staging.clone(), served).await);

        let bound = TcpListener::bind(config.xds.address).await;
        let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (xds_address, listener) =
            bound.map_err(|source| ServerError::Xds { address: config.xds.address, source })?;
        let own = listener_certificate(&proxies, &config).await?;
        let security = match config.xds.insecure_plaintext {
            true => {
                warn!(
                    "xDS without TLS on {xds_address}: anyone on this machine is shown every configuration, and no secret"
                );
                Security::Plaintext
            }
            false => Security::Tls(Arc::clone(&own.tls)),
        };
        let drain = Drain::new(config.xds.drain, "the server is shutting down");
        let service = XdsService::new(Arc::new(proxies.clone()), drain.signal(), config.xds.limits.stream());
        let refusals = Arc::new(Refusals::new(metrics));
        let enrolling = Enrolling { proxies: proxies.clone(), attestor };
        let (services, health) = Services::new(service, enrolling, &config.xds.operators, Arc::clone(&refusals));
        health.set(false).await;
        tasks.push_finite(&health.follow(proxies.is_serving.subscribe()));
        let door =
            Door::new(&proxies, services, Authenticators::of(&config, &proxies), config.xds.limits.clone(), refusals);
        if let Some(path) = &config.xds.unix.path {
            let (listener, place) = unix_socket::bind(path, config.xds.unix.mode)?;
            info!(socket = %path.display(), "xDS on a Unix socket");
            tasks.push(listener::serve_unix(listener, place, Arc::clone(&door)));
        }
        tasks.push(listener::serve_tcp(listener, security, door));
        let wanted = config.trust.issuer.clone().map(|issuer| {
            let (namespace, proxies) = (config.policy.cluster_resource_namespace.clone(), proxies.clone());
            let (wanted, task) =
                mesh_issuer::follow(issuer, namespace, policy.clone(), move || proxies.changed.notify_one());
            tasks.push(task);
            wanted
        });
        let rotation = rotation::Rotation::new(proxies.clone(), config.rotation.clone(), wanted);
        if let Some(task) = upstream::follow(&config, trust_settings(&config), proxies.clone(), rotation.clone()) {
            tasks.push(task);
        }
        tasks.push(renewal::run(proxies.clone(), own, rotation.clone(), config.rotation.spread));

        let backend =
            ServerBackend { proxies: proxies.clone(), policy, xds_address, clock, rotation, staging, issuing };
        let (admin_stop, stopped) = watch::channel(false);
        let options = admin::Options { data_dir: config.data_dir.clone(), address: config.admin.address };
        let admin = admin::serve(Arc::new(backend), &options, stopped).await?;
        info!(xds = %xds_address, admin = %admin.address, socket = %admin.socket.display(), "listening");
        let drain_time = config.xds.drain;
        Ok(Self { proxies, xds_address, admin, admin_stop, drain, drain_time, health, tasks, _lock: lock })
    }

    /// Where xDS listens.
    pub fn xds_address(&self) -> SocketAddr {
        self.xds_address
    }

    /// Where probes, metrics and the admin API are.
    pub fn admin(&self) -> &admin::Running {
        &self.admin
    }

    /// Resolves when the server can no longer do its work, because one of its tasks has ended. It still holds what it held.
    pub async fn failed(&mut self) {
        self.tasks.one_ended().await;
    }

    /// Ends every stream at a moment of its own within the drain time, so that the fleet does not come back in one instant, then
    /// the admin API.
    pub async fn stop(self) {
        info!(streams = self.proxies.fleet.len(), "stopping");
        self.health.set(false).await;
        self.drain.begin();
        let all_gone = async {
            while !self.proxies.fleet.is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(self.drain_time + CUT_OFF, all_gone).await.is_err() {
            warn!(streams = self.proxies.fleet.len(), "streams are cut off");
        }
        drop(self.tasks);
        self.admin_stop.send_replace(true);
        self.admin.stopped().await;
        info!("stopped");
    }
}

/// What the configuration says of the hierarchy.
fn trust_settings(config: &Config) -> trust::Settings {
    trust::Settings {
        trust_domain: config.trust_domain.clone(),
        cluster: config.cluster.clone(),
        root_ttl: config.certificates.root_ttl,
        intermediate_ttl: config.certificates.intermediate_ttl,
        intermediate_prepare: config.rotation.intermediate_prepare,
        intermediate_activate: config.rotation.intermediate_activate,
        workload_ttl: config.certificates.workload_ttl,
        authority_key: config.certificates.authority_key,
        authority_name: config.spire.as_ref().and_then(|spire| spire.ca_subject.as_ref()).map(|subject| {
            let policy::CaSubject { country, organization, common_name } = subject.value.clone();
            trust::AuthorityName { country, organization, common_name }
        }),
        workload_key: config.certificates.workload_key,
        clock_skew: config.certificates.clock_skew,
        renewal_grace: config.certificates.renewal_grace,
        lists: config.certificates.revocation_lists,
    }
}

/// The key that keys at rest are encrypted with: the file's, or else the environment's.
fn key_encryption_key(config: &Config) -> Result<Option<KeyEncryptionKey>, SealError> {
    match &config.store.key_file {
        Some(file) => KeyEncryptionKey::read(file).map(Some),
        None => KeyEncryptionKey::from_environment(),
    }
}

async fn open_trust(config: &Config, clock: &Clock) -> Result<Arc<Trust>, ServerError> {
    let settings = trust_settings(config);
    let (path, now) = (config.store_file(STORE), clock());
    let key = key_encryption_key(config)?;
    match &key {
        Some(_) => info!("keys at rest are encrypted (AES-256-GCM)"),
        None => warn!(
            "keys at rest are not encrypted: {} is protected by its mode 0600 alone; store.keyFile or {KEY_VARIABLE} changes that",
            path.display()
        ),
    }
    if config.certificates.workload_ttl > LONG_TTL {
        warn!(
            workload_ttl = %humantime::format_duration(config.certificates.workload_ttl),
            "workload certificates live longer than a day: whoever takes a key has it for that long"
        );
    }
    let issuer = config.trust.issuer.clone();
    let (directory, namespace) = (config.policy.directory.clone(), config.policy.cluster_resource_namespace.clone());
    let config = config.clone();
    let opened = blocking(move || {
        let store = SqliteStore::open_sealed(&path, key).map_err(TrustError::from)?;
        if let Some(issuer) = &issuer {
            mesh_issuer::found(&store, &settings, &directory, (issuer, &namespace), now)?;
        }
        let keys = upstream::keys(&config, &settings, &store, now)?;
        Ok::<_, ServerError>(Trust::open_with(Box::new(store), settings, keys, now)?)
    })
    .await?;
    let (bundle, signer) = (opened.bundle(), opened.intermediate());
    for root in bundle.roots() {
        info!(trust_domain = %bundle.trust_domain(), serial = %root.serial, not_after = %root.not_after, "root");
    }
    info!(serial = %signer.serial, not_after = %signer.not_after, "intermediate");
    Ok(Arc::new(opened))
}

async fn listener_certificate(proxies: &Proxies, config: &Config) -> Result<renewal::Own, ServerError> {
    let (trust, names, now) = (Arc::clone(&proxies.trust), config.xds.dns_names.clone(), (proxies.clock)());
    let certificate = blocking({
        let names = names.clone();
        move || trust.server_certificate(&names, now)
    })
    .await?;
    let clients = Clients { clock: Arc::clone(&proxies.clock), grace: config.certificates.renewal_grace };
    let tls = Arc::new(ServerTls::new(&certificate, &proxies.trust.bundle(), clients)?);
    Ok(renewal::Own { tls, names, certificate })
}

/// Runs what signs, waits for the disk, or takes long, off the async threads.
async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(run).await {
        Ok(value) => value,
        // It panicked, or the runtime is ending: either goes on here.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests;
