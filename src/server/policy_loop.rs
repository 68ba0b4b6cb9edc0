//! From each good policy set to what the connected proxies see.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info};

use super::config::Config;
use super::federated;
use super::model::Model;
use super::proxies::Proxies;
use super::staging::{Pace, Staging};
use crate::mesh::ServerConf;
use crate::{mesh, plan, source};

/// After a failure to keep what is to be served it tries again this much later.
const RETRY: Duration = Duration::from_secs(2);

/// What the mesh and the plans take from the configuration.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) mesh: mesh::Settings,
    pub(super) plan: plan::Settings,
    /// Whether mode changes go in steps.
    pub(super) staged: bool,
    /// Proxies that were connected within this time, and are not now, are waited for.
    pub(super) wait_for_absent: Duration,
    /// How long a proxy keeps a cluster or listener of which it hears nothing; `None`: for ever.
    pub(super) resource_ttl: Option<Duration>,
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        let http_proxy: SocketAddr = config.proxy.http_proxy;
        Self {
            mesh: mesh::Settings {
                trust_domain: config.trust_domain.to_string(),
                trust_domain_aliases: Vec::new(),
                federated: config.federates_with.iter().map(ToString::to_string).collect(),
                root_namespace: config.root_namespace.clone(),
                cluster: config.cluster.clone(),
                cluster_domain: config.cluster_domain.clone(),
                istio_compatibility: config.istio_compatibility,
                server_conf: config.spire.as_ref().map_or(ServerConf::None, |it| ServerConf::Of(it.clone().into())),
                mesh_config: config.mesh_config.clone(),
            },
            plan: plan::Settings { http_proxy },
            staged: config.policy.staged,
            wait_for_absent: config.rotation.wait_for_absent,
            resource_ttl: Some(config.xds.resource_ttl).filter(|ttl| !ttl.is_zero()),
        }
    }
}

/// Serves what the source has, and then follows it for as long as it lives, and takes ports that change their mode from step to step. A
/// set that comes while one is being prepared replaces whatever waits.
pub(super) async fn start(
    proxies: Proxies,
    mut policy: watch::Receiver<Arc<source::State>>,
    staging: Staging,
    served: watch::Sender<Option<Arc<Model>>>,
) -> JoinHandle<()> {
    let state = Arc::clone(&policy.borrow_and_update());
    let mut behind = !follow(&proxies, &state, &staging, &served).await;
    tokio::spawn(async move {
        let mut answers = proxies.fleet.answers();
        let mut pace = Pace::default();
        let mut kept = staging.keep().await;
        loop {
            let under_way = staging.is_under_way().await;
            let wait = if behind || !kept { RETRY } else { pace.look };
            let mut changed = false;
            tokio::select! {
                it = policy.changed() => match it {
                    Ok(()) => changed = true,
                    Err(_) => return,
                },
                () = staging.forced() => {}
                () = tokio::time::sleep(wait), if under_way || behind || !kept => {}
                // In a large fleet many answer at once: they are looked at together.
                _ = answers.changed(), if under_way && !behind && kept => tokio::time::sleep(pace.gather).await,
            }
            if changed || behind {
                let state = Arc::clone(&policy.borrow_and_update());
                behind = !follow(&proxies, &state, &staging, &served).await;
            }
            kept = staging.keep().await;
            match staging.advance().await {
                Ok(next) => pace = next,
                Err(error) => {
                    error!(%error, "a step of a mode change cannot be kept, and is not taken; trying again");
                    behind = true;
                }
            }
        }
    })
}

/// `false`: it has to be tried again.
async fn follow(
    proxies: &Proxies,
    state: &source::State,
    staging: &Staging,
    served: &watch::Sender<Option<Arc<Model>>>,
) -> bool {
    proxies.metrics.policy_rejected.set(i64::from(state.rejected.is_some()));
    let Some(update) = &state.current else { return true };
    if proxies.model.load().as_ref().is_some_and(|model| model.generation == update.generation) {
        return true;
    }
    let before = proxies.model.load_full();
    federated::take(proxies, before.as_deref(), &update.set).await;
    let model = match staging.follow(update).await {
        Ok(Some(model)) => model,
        Ok(None) => {
            // The panic itself is in the log. A set that does this is as bad as one that does not parse.
            error!("a policy set cannot be made into a model, and is not served; the last good one goes on serving");
            proxies.metrics.policy_rejected.set(1);
            return true;
        }
        Err(error) => {
            error!(%error, "what ports serve cannot be kept, so that a change of it is not served; trying again");
            return false;
        }
    };
    let (generation, workloads) = (model.generation, model.mesh.workloads().count());
    served.send_replace(Some(model));
    proxies.metrics.policy_generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
    info!(generation, workloads, "serving the policy");
    true
}
