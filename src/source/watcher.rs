//! Tells that something in a set of directories may have changed. A hint only: what has changed is found by reading.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// The watched directories and the bell that rings when one of them changes.
pub(super) struct Watcher {
    /// `None` when the system has no watches left; the poll remains.
    inner: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    root: PathBuf,
    pub(super) changed: Arc<Notify>,
}

impl Watcher {
    /// A watcher for the tree under `root`, which need not be canonical.
    pub(super) fn new(root: &Path) -> Self {
        let changed = Arc::new(Notify::new());
        let bell = Arc::clone(&changed);
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        // Its parent is watched because the root itself may be a symlink that is swapped, or be moved away and come back.
        // Of the parent's other entries nothing is of interest.
        let (parent, own) = (root.parent().map(Path::to_owned), root.clone());
        let handler = move |event: notify::Result<notify::Event>| match event {
            Ok(event) if !concerns(event.kind) => {}
            Ok(event) => {
                let foreign = |path: &PathBuf| path.parent() == parent.as_deref() && *path != own;
                if event.paths.is_empty() || !event.paths.iter().all(foreign) {
                    bell.notify_one();
                }
            }
            // An overflowing queue: anything may have changed.
            Err(_) => bell.notify_one(),
        };
        let inner = notify::recommended_watcher(handler)
            .inspect_err(|error| tracing::warn!(%error, "the policy directory cannot be watched and is polled only"))
            .ok();
        Self { inner, watched: BTreeSet::new(), root, changed }
    }

    /// Watches exactly `directories` and the root's parent.
    pub(super) fn watch(&mut self, directories: &BTreeSet<PathBuf>) {
        let Some(inner) = &mut self.inner else { return };
        let mut wanted = directories.clone();
        wanted.extend(self.root.parent().map(Path::to_owned));
        for gone in self.watched.difference(&wanted) {
            // It fails when the directory is gone, and then its watch is gone with it.
            let _ = inner.unwatch(gone);
        }
        // Again those that are watched already: one of that name may have been removed and made anew.
        self.watched = wanted
            .into_iter()
            .filter(|directory| match inner.watch(directory, RecursiveMode::NonRecursive) {
                Ok(()) => true,
                Err(error) => {
                    tracing::debug!(directory = %directory.display(), %error, "not watched, polled only");
                    false
                }
            })
            .collect();
    }
}

/// Reading a file is an event too; without this filter every scan would cause the next one.
fn concerns(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}
