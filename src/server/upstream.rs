//! SPIRE's `UpstreamAuthority "disk"`: the files of the authority above ours, at the start and when they change.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::task::JoinHandle;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::config::Config;
use super::proxies::Proxies;
use super::rotation::Rotation;
use super::{ServerError, blocking};
use crate::policy::{KeyManager, SpireServer, UpstreamDisk};
use crate::trust::{AuthorityKind, AuthorityRecord, AuthorityState, Keys, Settings, Store, TrustError, Upstream};

/// The files are looked at this often. They are small, and their metadata says too little: a kubelet replaces a directory's link.
const LOOK: Duration = Duration::from_secs(2);

/// What the `server.conf` says of keys.
///
/// A ConfigMap keeps no server from starting: where it names files of an authority that are not there, the store goes on as it is, or begins
/// with a root of its own, and the authority follows by a root rotation when its files come. A store that has been below another root, and
/// whose own intermediate cannot sign any more, is not begun anew: a second root would cut its mesh off.
pub(super) fn keys(
    config: &Config,
    settings: &Settings,
    store: &dyn Store,
    now: OffsetDateTime,
) -> Result<Keys, ServerError> {
    let Some(spire) = &config.spire else { return Ok(Keys::default()) };
    let in_memory = spire.key_manager.value == KeyManager::Memory;
    let Some(disk) = config.upstream() else {
        if in_memory {
            warn!(
                "{}: KeyManager \"memory\" without an UpstreamAuthority: the keys of intermediates are in memory alone, and the root's is in the \
                 store, since a root that is lost with its process would cut every workload off",
                spire.key_manager.at
            );
        }
        return Ok(Keys { upstream: None, in_memory });
    };
    let read = Files::read(&disk.value);
    let upstream = read.and_then(|files| files.upstream(settings, now).map_err(|error| error.to_string()));
    match upstream {
        Ok(upstream) => Ok(Keys { upstream: Some(Arc::new(upstream)), in_memory }),
        Err(reason) if config.spire_is_named => Err(refused(spire, reason)),
        Err(reason) => {
            let meanwhile = meanwhile(store).map_err(|error| refused(spire, format!("{reason}; {error}")))?;
            warn!("{}: UpstreamAuthority \"disk\": {reason}; {meanwhile}", disk.at);
            Ok(Keys { upstream: None, in_memory })
        }
    }
}

/// What is done without the upstream authority's files, or why nothing can be.
fn meanwhile(store: &dyn Store) -> Result<&'static str, String> {
    let contents = store.load().map_err(|error| error.to_string())?;
    if contents.trust_domain.is_none() {
        return Ok(
            "the mesh begins with a root of its own, which theirs follows by a root rotation as soon as they are there",
        );
    }
    let active = |kind| {
        move |it: &&AuthorityRecord| {
            it.kind == kind && it.standing.state == AuthorityState::Active && !it.key.is_empty()
        }
    };
    let has = |kind| contents.authorities.iter().any(|it| active(kind)(&it));
    match (has(AuthorityKind::Root), has(AuthorityKind::Intermediate)) {
        (true, _) => Ok("the mesh's own root goes on, and theirs follows by a root rotation as soon as they are there"),
        (false, true) => Ok(
            "the intermediate that is in the store signs until it ends; what bundle_file_path names beside is not trusted meanwhile",
        ),
        (false, false) => {
            let message = "the mesh is below the root in these files, and nothing can be signed without them: put them back (another root \
                           would cut every workload off)";
            Err(message.to_owned())
        }
    }
}

fn refused(spire: &SpireServer, message: String) -> ServerError {
    let at = spire.upstream.as_ref().map_or(&spire.at, |it| &it.at).clone();
    ServerError::Upstream { at, message }
}

/// The files' text.
struct Files {
    certificate: Zeroizing<String>,
    key: Zeroizing<String>,
    bundle: Option<Zeroizing<String>>,
}

impl Files {
    fn read(disk: &UpstreamDisk) -> Result<Self, String> {
        let read = |path: &String| {
            let text = std::fs::read_to_string(path).map(Zeroizing::new);
            text.map_err(|error| format!("cannot read {path}: {error}"))
        };
        let bundle = disk.bundle.as_ref().map(read).transpose()?;
        Ok(Self { certificate: read(&disk.certificate)?, key: read(&disk.key)?, bundle })
    }

    fn digest(&self) -> [u8; 32] {
        let bundle = self.bundle.as_ref().map(|text| text.as_str()).unwrap_or_default();
        let mut digest = Sha256::new();
        for text in [self.certificate.as_str(), self.key.as_str(), bundle] {
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text);
        }
        digest.finalize().into()
    }

    fn upstream(&self, settings: &Settings, now: OffsetDateTime) -> Result<Upstream, TrustError> {
        Upstream::read(settings, &self.certificate, &self.key, self.bundle.as_ref().map(|text| text.as_str()), now)
    }
}

/// Follows the files for as long as the server runs. A bad change is told of and changes nothing: the keys that were read last go on.
pub(super) fn follow(
    config: &Config,
    settings: Settings,
    proxies: Proxies,
    rotation: Rotation,
) -> Option<JoinHandle<()>> {
    let disk = config.upstream()?.value.clone();
    Some(tokio::spawn(async move {
        let mut followed = Followed { disk, settings, proxies, rotation, begun: false, told: None };
        let mut seen = followed.digest().await;
        followed.rotate_if_awaited().await;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = followed.digest().await;
            // What could not be taken is tried again: the store may be at fault, and not the files.
            if now != seen && followed.take().await {
                seen = now;
            }
            followed.rotate_if_awaited().await;
        }
    }))
}

struct Followed {
    disk: UpstreamDisk,
    settings: Settings,
    proxies: Proxies,
    rotation: Rotation,
    /// Whether a rotation to this root was begun: one that an operator has aborted is not begun again before the files change.
    begun: bool,
    /// What was told last, so that it is told once.
    told: Option<String>,
}

impl Followed {
    async fn digest(&self) -> Option<[u8; 32]> {
        let disk = self.disk.clone();
        blocking(move || Files::read(&disk).ok().map(|files| files.digest())).await
    }

    /// Whether they are taken.
    async fn take(&mut self) -> bool {
        let (disk, settings) = (self.disk.clone(), self.settings.clone());
        let (trust, now) = (Arc::clone(&self.proxies.trust), (self.proxies.clock)());
        let taken = blocking(move || {
            let upstream = Files::read(&disk)?.upstream(&settings, now).map_err(|error| error.to_string())?;
            trust.set_upstream(Arc::new(upstream), now).map_err(|error| error.to_string())
        });
        match taken.await {
            Ok(awaited) => {
                info!(another_root = awaited, "the files of the upstream authority have changed, and are taken");
                (self.told, self.begun) = (None, false);
                self.proxies.changed.notify_one();
                true
            }
            Err(error) => {
                self.tell(error);
                false
            }
        }
    }

    /// A new root is taken in by steps. While another rotation is under way it waits.
    async fn rotate_if_awaited(&mut self) {
        if self.begun || !self.proxies.trust.awaits_upstream() || self.rotation.is_under_way().await {
            return;
        }
        match self.rotation.start(false, false).await {
            Ok(()) => {
                self.begun = true;
                info!("the upstream authority's root follows ours, step by step");
            }
            Err(error) => self.tell(error.to_string()),
        }
    }

    fn tell(&mut self, error: String) {
        if self.told.as_ref() != Some(&error) {
            warn!(%error, "the upstream authority's files cannot be used; what was read before goes on");
            self.told = Some(error);
        }
    }
}
