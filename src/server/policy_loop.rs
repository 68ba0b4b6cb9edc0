//! From each good policy set to what the connected proxies see.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

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
) -> JoinHandle<()> {
    let mut told = HashSet::new();
    let state = Arc::clone(&policy.borrow_and_update());
    follow(&proxies, &state, &settings, &mut told).await;
    tokio::spawn(async move {
        while policy.changed().await.is_ok() {
            let state = Arc::clone(&policy.borrow_and_update());
            follow(&proxies, &state, &settings, &mut told).await;
        }
    })
}

/// `told` is what the log has said already: a warning that stays true is said once.
async fn follow(proxies: &Proxies, state: &source::State, settings: &Settings, told: &mut HashSet<mesh::Warning>) {
    proxies.metrics.policy_rejected.set(i64::from(state.rejected.is_some()));
    let Some(update) = &state.current else { return };
    if proxies.model.load().as_ref().is_some_and(|model| model.generation == update.generation) {
        return;
    }
    let (update, settings, before) = (Arc::clone(update), settings.clone(), proxies.model.load_full());
    let (model, found) = blocking(move || {
        let (mesh, found) = mesh::Mesh::build(&update.set, &settings.mesh);
        let warnings = update.warnings.iter().map(ToString::to_string).chain(found.iter().map(ToString::to_string));
        let (set, generation) = (Arc::clone(&update.set), update.generation);
        (Arc::new(Model::new(mesh, set, generation, warnings.collect(), settings.plan, before.as_deref())), found)
    })
    .await;
    for warning in found.iter().filter(|warning| !told.contains(warning)) {
        warn!(at = %warning.at, "{}", warning.message);
    }
    *told = found.into_iter().collect();
    let (generation, workloads) = (model.generation, model.mesh.workloads().count());
    let shown = proxies.clone();
    // Encodes every class that is connected.
    blocking(move || shown.set_model(model)).await;
    proxies.metrics.policy_generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
    info!(generation, workloads, "serving the policy");
}
