//! A ClusterIssuer as the mesh's own authority (`trust.issuer`): its certificate is the root of the trust domain, and another one in its
//! Secret is a root rotation.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::warn;
use zeroize::Zeroizing;

use crate::policy::{Issuer, PolicySet, Secret};
use crate::source;
use crate::trust::{Brought, Settings, Store, TrustError, import_authority};

/// A root with its key. `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct MeshRoot {
    pub(super) certificate: String,
    key: Zeroizing<String>,
}

impl std::fmt::Debug for MeshRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeshRoot").finish_non_exhaustive()
    }
}

impl MeshRoot {
    /// As trust takes it: the root itself is to sign, by an intermediate that is made here.
    pub(super) fn brought(&self) -> Brought<'_> {
        Brought { chain: &self.certificate, root: &self.certificate, key: Some(&self.key) }
    }
}

/// What the issuer signs with, or why there is nothing.
fn root_of(set: &PolicySet, issuer: &str, namespace: &str) -> Result<MeshRoot, String> {
    let found = set.cluster_issuers.iter().find(|it| it.meta.name == issuer);
    let found = found.ok_or_else(|| format!("there is no ClusterIssuer {issuer}"))?;
    let Issuer::Ca(ca) = &found.spec else {
        return Err(format!("ClusterIssuer {issuer} ({}) is not of the type ca", found.at));
    };
    let name = &ca.secret_name.value;
    let of_name = |it: &&crate::policy::Object<Secret>| it.meta.namespace == namespace && it.meta.name == *name;
    let secret = set
        .secrets
        .iter()
        .map(Arc::as_ref)
        .find(of_name)
        .ok_or_else(|| format!("Secret {namespace}/{name} is not there"))?;
    let entry = |key: &str| {
        let value = secret.spec.data.get(key).ok_or_else(|| format!("Secret {namespace}/{name} has no {key}"))?;
        let text = std::str::from_utf8(value).map_err(|_| format!("{key} of Secret {namespace}/{name} is not PEM"))?;
        Ok::<_, String>(text.to_owned())
    };
    Ok(MeshRoot { certificate: entry("tls.crt")?, key: Zeroizing::new(entry("tls.key")?) })
}

/// Founds the mesh on the issuer's root, if the store is new and the directory has it. Otherwise the mesh begins with a root of its own,
/// and the issuer's follows by a rotation as soon as it is there.
pub(super) fn found(
    store: &dyn Store,
    settings: &Settings,
    directory: &Path,
    (issuer, namespace): (&str, &str),
    now: time::OffsetDateTime,
) -> Result<(), TrustError> {
    if store.load()?.trust_domain.is_some() {
        return Ok(());
    }
    let set = match source::read(directory) {
        Ok(Ok((set, _))) => set,
        // Whatever is wrong with it is said when it is read to be served.
        Ok(Err(_)) | Err(_) => PolicySet::default(),
    };
    match root_of(&set, issuer, namespace) {
        Ok(root) => import_authority(store, settings, root.brought(), now).map(drop),
        Err(reason) => {
            warn!(%reason, "the mesh begins with a root of its own, and the issuer's follows when it is there");
            Ok(())
        }
    }
}

/// Follows the policy that is served, and says what root is to sign. `None`: it is not known, and nothing changes.
pub(super) fn follow(
    issuer: String,
    namespace: String,
    mut served: watch::Receiver<Arc<source::State>>,
    changed: impl Fn() + Send + 'static,
) -> (watch::Receiver<Option<Arc<MeshRoot>>>, tokio::task::JoinHandle<()>) {
    let (root, receiver) = watch::channel(None);
    let task = tokio::spawn(async move {
        let mut told = String::new();
        loop {
            let state = Arc::clone(&served.borrow_and_update());
            if let Some(update) = &state.current {
                match root_of(&update.set, &issuer, &namespace) {
                    Ok(found) => {
                        let is_news = root.send_if_modified(|before| {
                            let is_news = before.as_deref() != Some(&found);
                            if is_news {
                                *before = Some(Arc::new(found));
                            }
                            is_news
                        });
                        if is_news {
                            changed();
                        }
                    }
                    Err(reason) if reason != told => {
                        warn!(%reason, "trust.issuer cannot be followed; the root that signs goes on signing");
                        told = reason;
                    }
                    Err(_) => {}
                }
            }
            if served.changed().await.is_err() {
                return;
            }
        }
    });
    (receiver, task)
}
