//! Connections that have not finished TLS: so many, and none of them for long while others wait.
//!
//! A place costs memory, so there is a fixed number. Those who never finish must not keep out those who would: when all places are
//! taken, the oldest gives way once it has had its grace. An honest client needs milliseconds of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout};

/// The places.
#[derive(Clone)]
pub(super) struct Handshakes(Arc<Inner>);

struct Inner {
    places: Arc<Semaphore>,
    grace: Duration,
    taken: Mutex<Taken>,
}

/// Who has a place, oldest first.
#[derive(Default)]
struct Taken {
    next: u64,
    by: BTreeMap<u64, (Instant, oneshot::Sender<()>)>,
}

/// A place; dropping it gives it up.
pub(super) struct Place {
    inner: Arc<Inner>,
    number: u64,
    told: oneshot::Receiver<()>,
    _permit: OwnedSemaphorePermit,
}

/// Why a handshake was not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It took longer than it may.
    Late,
    /// Its place was needed.
    Displaced,
}

impl Handshakes {
    pub(super) fn new(places: usize, grace: Duration) -> Self {
        let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        Self(Arc::new(Inner { places, grace, taken: Mutex::default() }))
    }

    /// A place, as soon as there is one.
    pub(super) async fn enter(&self) -> Place {
        loop {
            let wait = match Arc::clone(&self.0.places).try_acquire_owned() {
                Ok(permit) => return self.0.take(permit),
                Err(_) => self.0.displace_oldest(Instant::now()),
            };
            let permit = Arc::clone(&self.0.places).acquire_owned();
            // The semaphore is never closed.
            if let Ok(Ok(permit)) = timeout(wait, permit).await {
                return self.0.take(permit);
            }
        }
    }
}

impl Inner {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Place {
        let (tell, told) = oneshot::channel();
        let mut taken = self.taken();
        taken.next += 1;
        let number = taken.next;
        taken.by.insert(number, (Instant::now(), tell));
        Place { inner: Arc::clone(self), number, told, _permit: permit }
    }

    /// Tells the oldest to go if it has had its grace. Returns when to look again.
    fn displace_oldest(&self, now: Instant) -> Duration {
        let mut taken = self.taken();
        let Some(oldest) = taken.by.first_entry() else { return Duration::from_millis(1) };
        let had = now.saturating_duration_since(oldest.get().0);
        match self.grace.checked_sub(had) {
            Some(left) if !left.is_zero() => left,
            _ => {
                let (_, (_, tell)) = oldest.remove_entry();
                let _ = tell.send(());
                // Its place is free as soon as its task has noticed; were that one stuck, the next is looked at.
                Duration::from_millis(10)
            }
        }
    }
}

impl Place {
    /// Runs the handshake for at most this time, or until the place is needed.
    pub(super) async fn run<T>(&mut self, limit: Duration, handshake: impl Future<Output = T>) -> Result<T, Ended> {
        tokio::select! {
            done = timeout(limit, handshake) => done.map_err(|_| Ended::Late),
            _ = &mut self.told => Err(Ended::Displaced),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.inner.taken().by.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn threat_01_who_never_finishes_gives_way_and_who_finishes_does_not() {
        let handshakes = Handshakes::new(4, Duration::from_millis(20));
        let stuck = |mut place: Place| {
            tokio::spawn(async move { place.run(Duration::from_secs(600), std::future::pending::<()>()).await })
        };
        let mut never = Vec::new();
        // Ten times as many as there are places, one after the other: each is let in, and the oldest leave.
        for _ in 0..40 {
            never.push(stuck(handshakes.enter().await));
        }
        let mut place = handshakes.enter().await;
        assert_eq!(place.run(Duration::from_secs(600), async { "done" }).await, Ok("done"));
        drop(place);
        let displaced = never.into_iter().take(37);
        for task in displaced {
            assert_eq!(task.await.unwrap(), Err(Ended::Displaced));
        }
        assert!(handshakes.0.taken().by.len() <= 4);
    }

    #[tokio::test]
    async fn nobody_is_displaced_within_the_grace() {
        let handshakes = Handshakes::new(1, Duration::from_secs(3600));
        let mut first = handshakes.enter().await;
        let mut second = tokio::spawn({
            let handshakes = handshakes.clone();
            async move { handshakes.enter().await }
        });
        assert!(timeout(Duration::from_millis(50), &mut second).await.is_err(), "it waits");
        assert_eq!(first.run(Duration::from_millis(1), std::future::pending::<()>()).await, Err(Ended::Late));
        drop(first);
        second.await.unwrap();
    }
}
