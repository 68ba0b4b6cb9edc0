//! From each good policy set to what the connected proxies see.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info};

use super::blocking;
use super::config::Config;
use super::model::Model;
use super::proxies::Proxies;
use crate::{mesh, plan, source};

/// What the mesh and the plans take from the configuration.
#[derive(Clone)]
pub(super) struct Settings {
    mesh: mesh::Settings,
    plan: plan::Settings,
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        let http_proxy: SocketAddr = config.proxy.http_proxy;
        Self {
            mesh: mesh::Settings {
                trust_domain: config.trust_domain.to_string(),
                trust_domain_aliases: Vec::new(),
                root_namespace: config.root_namespace.clone(),
                cluster_domain: config.cluster_domain.clone(),
                istio_compatibility: config.istio_compatibility,
                mesh_config: config.mesh_config.clone(),
            },
            plan: plan::Settings { http_proxy },
        }
    }
}

/// Serves what the source has, and then follows it for as long as it lives. A set that comes while one is being prepared replaces
/// whatever waits.
pub(super) async fn start(
    proxies: Proxies,
    mut policy: watch::Receiver<Arc<source::State>>,
    settings: Settings,
    served: watch::Sender<Option<Arc<Model>>>,
) -> JoinHandle<()> {
    let state = Arc::clone(&policy.borrow_and_update());
    follow(&proxies, &state, &settings, &served).await;
    tokio::spawn(async move {
        while policy.changed().await.is_ok() {
            let state = Arc::clone(&policy.borrow_and_update());
            follow(&proxies, &state, &settings, &served).await;
        }
    })
}

async fn follow(
    proxies: &Proxies,
    state: &source::State,
    settings: &Settings,
    served: &watch::Sender<Option<Arc<Model>>>,
) {
    proxies.metrics.policy_rejected.set(i64::from(state.rejected.is_some()));
    let Some(update) = &state.current else { return };
    if proxies.model.load().as_ref().is_some_and(|model| model.generation == update.generation) {
        return;
    }
    let (update, settings, before) = (Arc::clone(update), settings.clone(), proxies.model.load_full());
    let built = tokio::task::spawn_blocking(move || {
        let (mesh, found) = mesh::Mesh::build(&update.set, &settings.mesh);
        let (set, generation) = (Arc::clone(&update.set), update.generation);
        let warnings = (update.warnings.clone(), found);
        Arc::new(Model::new(mesh, set, generation, warnings, settings.plan, before.as_deref()))
    });
    let Ok(model) = built.await else {
        // The panic itself is in the log. A set that does this is as bad as one that does not parse.
        error!("a policy set cannot be made into a model, and is not served; the last good one goes on serving");
        proxies.metrics.policy_rejected.set(1);
        return;
    };
    let (generation, workloads) = (model.generation, model.mesh.workloads().count());
    let (shown, model_of) = (proxies.clone(), Arc::clone(&model));
    // Encodes every class that is connected.
    blocking(move || shown.set_model(model_of)).await;
    served.send_replace(Some(model));
    proxies.metrics.policy_generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
    info!(generation, workloads, "serving the policy");
}
