//! The loop that turns a directory's changes into states.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::listing::{self, Content, Listing};
use super::watcher::Watcher;
use super::{Rejected, State, Update, Verdict};
use crate::policy::{Origin, PolicyError, PolicySet, Warning, parse_set_after};

/// How many errors or warnings of one set are logged; all of them are in the state.
const MAX_LOGGED: usize = 50;

/// When a change is acted on.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long nothing may happen before the files are read: 20 ms, more than the gap between the writes of one save.
    pub quiet: Duration,
    /// How long a directory that is never quiet is waited for: 500 ms.
    pub at_most: Duration,
    /// How often the directory is listed without any event, for file systems that report none (NFS, overlay mounts) and
    /// when the system's watches are used up: 5 s. Files are read only when their size, inode or times have changed.
    pub poll: Duration,
    /// How long a directory must stay empty before its emptiness is believed: 1 s, so that a deployment that removes all
    /// files and writes them again does not drop every policy in between.
    pub empty: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(20),
            at_most: Duration::from_millis(500),
            poll: Duration::from_secs(5),
            empty: Duration::from_secs(1),
        }
    }
}

/// A directory of policy files.
pub struct Directory {
    root: PathBuf,
    options: Options,
    watcher: Watcher,
    state: watch::Sender<Arc<State>>,
    /// Of the last listing; the poll compares it.
    stamp: Option<[u8; 32]>,
    /// Of the content last judged, good or not.
    judged: Option<[u8; 32]>,
    good: Option<Arc<Good>>,
}

/// What is remembered of the last good content.
struct Good {
    hash: [u8; 32],
    /// Files that had content in it, and the SHA-256 of that.
    filled: BTreeMap<String, [u8; 32]>,
    /// What was made of it.
    update: Arc<Update>,
}

impl Directory {
    /// Reads `path` and follows it until the returned task is aborted or every receiver is dropped. The first state is there
    /// at once; if the files are bad it has only `rejected`, and an empty directory is a good, empty set.
    ///
    /// Reads `*.yaml`, `*.yml` and `*.json`, sub-directories included, symlinks followed, names that begin with a dot left
    /// out. File names in messages are relative to `path`. Blocks for the first read.
    ///
    /// # Errors
    /// `path` is no directory, or cannot be read.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn start(
        path: impl Into<PathBuf>,
        options: Options,
    ) -> io::Result<(watch::Receiver<Arc<State>>, JoinHandle<()>)> {
        let root = path.into();
        let mut watcher = Watcher::new(&root);
        let listing = listing::list(&root)?;
        watcher.watch(&listing.directories);
        // Listed again now that it is watched, so that no change falls between the two.
        let listing = listing::list(&root)?;
        let state = watch::Sender::new(Arc::new(State::default()));
        let mut directory = Self { root, options, watcher, state, stamp: None, judged: None, good: None };
        directory.stamp = Some(listing.stamp);
        let content = listing.read();
        directory.judge(Judged::of(content, None));
        let receiver = directory.state.subscribe();
        Ok((receiver, tokio::spawn(directory.follow())))
    }

    async fn follow(mut self) {
        let changed = Arc::clone(&self.watcher.changed);
        let mut poll = tokio::time::interval_at(Instant::now() + self.options.poll, self.options.poll);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = changed.notified() => self.settle().await,
                _ = poll.tick() => if self.looks_the_same().await { continue },
                () = self.state.closed() => return,
            }
            self.refresh().await;
        }
    }

    /// Waits until the bell has been silent for `quiet`, or rung for `at_most`.
    async fn settle(&self) {
        let deadline = Instant::now() + self.options.at_most;
        loop {
            let quiet = (Instant::now() + self.options.quiet).min(deadline);
            if tokio::time::timeout_at(quiet, self.watcher.changed.notified()).await.is_err() {
                return;
            }
        }
    }

    async fn list(&self) -> io::Result<Listing> {
        let root = self.root.clone();
        blocking(move || listing::list(&root)).await.and_then(|listing| listing)
    }

    async fn looks_the_same(&self) -> bool {
        self.list().await.ok().map(|listing| listing.stamp) == self.stamp && self.stamp.is_some()
    }

    async fn refresh(&mut self) {
        let mut listing = self.list().await;
        if self.has_emptied(&listing) {
            tokio::time::sleep(self.options.empty).await;
            listing = self.list().await;
        }
        let listing = match listing {
            Ok(listing) => listing,
            Err(error) => return self.vanished(&error),
        };
        // What is new must be watched before it is read, or its next change would be missed.
        self.watcher.watch(&listing.directories);
        self.stamp = Some(listing.stamp);
        let (root, judged) = (self.root.clone(), self.judged);
        let good = self.good.clone();
        let outcome = blocking(move || {
            let content = listing.read();
            // Written to while it was read: what was read may be half a save. The event for the write is on its way.
            let torn = listing::list(&root).map(|after| after.stamp).ok() != Some(listing.stamp);
            let judged = (judged != Some(content.hash)).then(|| Judged::of(content, good.as_deref()));
            (torn, judged)
        })
        .await;
        match outcome {
            Ok((torn, judged)) => {
                if torn {
                    // Rings again even if the file system reports nothing.
                    self.watcher.changed.notify_one();
                }
                match judged {
                    // A torn read that looks bad is not worth reporting: the next read comes at once and tells the truth.
                    Some(judged) if !(torn && judged.outcome.is_err()) => self.judge(judged),
                    _ => {}
                }
            }
            Err(error) => self.vanished(&error),
        }
    }

    fn has_emptied(&self, listing: &io::Result<Listing>) -> bool {
        listing.as_ref().is_ok_and(Listing::is_empty) && self.good.as_ref().is_some_and(|good| !good.filled.is_empty())
    }

    fn judge(&mut self, judged: Judged) {
        self.judged = Some(judged.hash);
        let before = self.state.borrow().clone();
        if self.good.as_ref().is_some_and(|good| good.hash == judged.hash) && judged.outcome.is_ok() {
            tracing::info!("the policy files are as they were before the rejected change");
            self.state.send_replace(Arc::new(State { current: before.current.clone(), rejected: None }));
            return;
        }
        match judged.outcome {
            Ok((set, warnings)) => {
                let generation = before.current.as_ref().map_or(1, |current| current.generation + 1);
                for warning in warnings.iter().take(MAX_LOGGED) {
                    tracing::warn!(at = %warning.at, "{}", warning.message);
                }
                let files = judged.filled.len();
                tracing::info!(generation, files, "policy set accepted");
                let update = Arc::new(Update { set: Arc::new(set), files, warnings, generation });
                self.good =
                    Some(Arc::new(Good { hash: judged.hash, filled: judged.filled, update: Arc::clone(&update) }));
                self.state.send_replace(Arc::new(State { current: Some(update), rejected: None }));
            }
            Err(errors) => self.reject(errors),
        }
    }

    fn vanished(&mut self, error: &io::Error) {
        // Whatever comes back is read anew, and its watch is gone with the old one.
        self.stamp = None;
        self.watcher.watch(&BTreeSet::new());
        if self.judged.take().is_some() {
            self.reject(vec![listing::io_error(&self.root.display().to_string(), &format!("cannot be read: {error}"))]);
        }
    }

    fn reject(&self, errors: Vec<PolicyError>) {
        for error in errors.iter().take(MAX_LOGGED) {
            tracing::error!(at = %error.at, "policy rejected: {error}");
        }
        let rejected = Arc::new(Rejected { errors, at: OffsetDateTime::now_utc() });
        let current = self.state.borrow().current.clone();
        self.state.send_replace(Arc::new(State { current, rejected: Some(rejected) }));
    }
}

/// Reads and judges a directory once, without following it; the errors are those that would keep a set from being served.
///
/// # Errors
/// `path` is no directory, or cannot be read.
pub fn read(path: &Path) -> io::Result<Verdict> {
    Ok(Judged::of(listing::list(path)?.read(), None).outcome)
}

/// A content and the verdict on it.
struct Judged {
    hash: [u8; 32],
    filled: BTreeMap<String, [u8; 32]>,
    outcome: Verdict,
}

impl Judged {
    fn of(content: Content, good: Option<&Good>) -> Self {
        let empty = content.empty_files();
        let filled: BTreeMap<_, _> = content.hashes.into_iter().filter(|(name, _)| !empty.contains(name)).collect();
        let mut errors = content.errors;
        let mut notes = Vec::new();
        for name in empty {
            if good.is_some_and(|good| good.filled.contains_key(&name)) {
                let error = listing::io_error(&name, "the file holds nothing and had policies before");
                errors.push(error.with_help("remove the file if its policies are no longer wanted"));
            } else {
                notes.push(Warning::new(Origin::new(name, 1, 1), "the file holds nothing"));
            }
        }
        if filled.is_empty() && good.is_some_and(|good| !good.filled.is_empty()) {
            let message = "the last policy file was removed: the mesh falls back to its defaults";
            notes.push(Warning::new(Origin::new(".", 1, 1), message));
        }
        let (none, before) = (PolicySet::default(), good.map(|good| &good.update));
        let (set, warned) = before.map_or((&none, &[][..]), |update| (&update.set, &update.warnings));
        // A policy file is parsed again when its text has changed only.
        let is_new = |name: &String| good.is_none_or(|good| good.filled.get(name) != filled.get(name));
        let documents =
            content.files.iter().map(|(name, text)| (name, (text.is_empty() || is_new(name)).then_some(text.as_str())));
        let parsed = parse_set_after(set, warned, documents);
        let outcome = match parsed {
            Ok((set, mut warnings)) if errors.is_empty() => {
                warnings.extend(notes);
                warnings.sort();
                Ok((set, warnings))
            }
            Ok(_) => Err(errors),
            Err(more) => {
                errors.extend(more);
                Err(errors)
            }
        };
        Self { hash: content.hash, filled, outcome }
    }
}

/// File systems block; a worker of the runtime must not.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}
