//! A ClusterIssuer as the mesh's own authority (`trust.issuer`). Its certificate is the root of the trust domain, and intermediates are made
//! below it; or it is an intermediate below a root, and signs itself. Another root in its Secret is a root rotation.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::warn;
use zeroize::Zeroizing;

use crate::certificates::{self, Controller};
use crate::policy::{Issuer, PolicySet};
use crate::source;
use crate::trust::{Brought, Settings, Store, TrustError, import_authority, last_of};

/// An authority with its key. `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct MeshAuthority {
    chain: String,
    root: String,
    key: Zeroizing<String>,
}

impl std::fmt::Debug for MeshAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeshAuthority").finish_non_exhaustive()
    }
}

impl MeshAuthority {
    /// As trust takes it.
    pub(super) fn brought(&self) -> Brought<'_> {
        Brought { chain: &self.chain, root: &self.root, key: Some(&self.key) }
    }
}

/// What the issuer signs with, or why there is nothing. The root is in `ca.crt`, as cert-manager writes it, or at the end of `tls.crt`.
fn authority_of(set: &PolicySet, issuer: &str, namespace: &str) -> Result<MeshAuthority, String> {
    let found = set.cluster_issuers.iter().find(|it| it.meta.name == issuer);
    let found = found.ok_or_else(|| format!("there is no ClusterIssuer {issuer}"))?;
    let Issuer::Ca(ca) = &found.spec else {
        return Err(format!("ClusterIssuer {issuer} ({}) is not of the type ca", found.at));
    };
    let name = &ca.secret_name.value;
    let mut of_name = set.secrets.iter().filter(|it| it.meta.namespace == namespace);
    let secret = of_name.find(|it| it.meta.name == *name);
    let secret = secret.ok_or_else(|| format!("Secret {namespace}/{name} is not there"))?;
    let entry = |key: &str| {
        let value = secret.spec.data.get(key).filter(|value| !value.is_empty());
        let text = value.map(|value| std::str::from_utf8(value).map(str::to_owned));
        text.transpose().map_err(|_| format!("{key} of Secret {namespace}/{name} is not PEM"))
    };
    let needed = |key: &str| entry(key)?.ok_or_else(|| format!("Secret {namespace}/{name} has no {key}"));
    let (chain, key) = (needed("tls.crt")?, Zeroizing::new(needed("tls.key")?));
    let root = match entry("ca.crt")? {
        Some(root) => root,
        None => last_of(&chain).map_err(|error| format!("tls.crt of Secret {namespace}/{name}: {error}"))?,
    };
    Ok(MeshAuthority { chain, root, key })
}

/// Founds the mesh on the issuer's authority, if the store is new. What the directory's own Certificates make of it counts: it is issued
/// here, where it is not there yet.
///
/// # Errors
/// The authority is not there, or cannot sign. A mesh that began with another root instead would have to be led away from it in steps,
/// and until then nobody outside would know whom to believe.
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
    let unusable = |reason: &str| {
        let help = "the mesh begins with this authority: put it into the policy directory, or leave trust.issuer out";
        TrustError::material("trust.issuer", format!("{reason} ({help})"))
    };
    let set = match source::read(directory) {
        Ok(Ok((set, _))) => Arc::new(set),
        Ok(Err(errors)) => {
            let first = errors.first().map(ToString::to_string).unwrap_or_default();
            return Err(unusable(&format!("the policy is refused: {first}")));
        }
        Err(error) => return Err(unusable(&error.to_string())),
    };
    let set = with_issued(store, &set, namespace, now)?;
    let authority = authority_of(&set, issuer, namespace).map_err(|reason| unusable(&reason))?;
    import_authority(store, settings, authority.brought(), now).map(drop)
}

/// The set with the Secrets that its Certificates ask for, which are kept before anything is built on them.
fn with_issued(
    store: &dyn Store,
    set: &Arc<PolicySet>,
    namespace: &str,
    now: time::OffsetDateTime,
) -> Result<Arc<PolicySet>, TrustError> {
    let settings = certificates::Settings {
        cluster_resource_namespace: namespace.to_owned(),
        ..certificates::Settings::default()
    };
    let mut controller = Controller::new(settings, store.certificates()?)?;
    let outcome = controller.pass(set, now);
    store.save_certificates(&outcome.keep, &outcome.forget)?;
    Ok(controller.with_secrets(set))
}

/// Follows the policy that is served, and says what authority is to sign. `None`: it is not known, and nothing changes.
pub(super) fn follow(
    issuer: String,
    namespace: String,
    mut served: watch::Receiver<Arc<source::State>>,
    changed: impl Fn() + Send + 'static,
) -> (watch::Receiver<Option<Arc<MeshAuthority>>>, tokio::task::JoinHandle<()>) {
    let (authority, receiver) = watch::channel(None);
    let task = tokio::spawn(async move {
        let mut told = String::new();
        loop {
            let state = Arc::clone(&served.borrow_and_update());
            if let Some(update) = &state.current {
                match authority_of(&update.set, &issuer, &namespace) {
                    Ok(found) => {
                        told.clear();
                        let is_news = authority.send_if_modified(|before| {
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
                        warn!(%reason, "trust.issuer cannot be followed; the authority that signs goes on signing");
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
