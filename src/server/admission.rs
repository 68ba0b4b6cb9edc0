//! First pushes: the streams between their first request and their first acknowledgement, of which a fleet that comes back would
//! make as many as it has proxies. They queue, so that memory and CPU go to those who are being answered. Each identity has a queue
//! of its own before the common one: who opens streams without end holds up itself.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use crate::identity::SpiffeId;

/// The places among the first pushes.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    places: Arc<Semaphore>,
    of_each: usize,
    /// Of those identities that have a place or wait for one. Streams without an identity are as one.
    identities: Arc<DashMap<Option<SpiffeId>, Arc<Semaphore>>>,
    time: Duration,
}

/// A place; it is given up when this is dropped, or after the admission's time: a client that does not read keeps nobody out.
#[derive(Debug)]
pub(super) struct Admitted {
    _done: oneshot::Sender<()>,
}

/// One identity's share of the places, as long as somebody uses it.
struct Share {
    identities: Arc<DashMap<Option<SpiffeId>, Arc<Semaphore>>>,
    identity: Option<SpiffeId>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Share {
    fn drop(&mut self) {
        drop(self.permit.take());
        // Who looks last has let go of its own before.
        self.identities.remove_if(&self.identity, |_, places| Arc::strong_count(places) == 1);
    }
}

impl Admission {
    /// So many places, of which one identity has at most `of_each`; each for at most this time.
    pub(super) fn new(places: usize, of_each: usize, time: Duration) -> Self {
        let places = places.min(Semaphore::MAX_PERMITS);
        let (semaphore, of_each) = (Arc::new(Semaphore::new(places)), of_each.min(places));
        Self { places: semaphore, of_each, identities: Arc::default(), time }
    }

    /// A place, in the order of asking.
    pub(super) async fn enter(&self, identity: Option<&SpiffeId>) -> Admitted {
        let share = self.share(identity).await;
        let permit = Arc::clone(&self.places).acquire_owned().await;
        let (done, gone) = oneshot::channel();
        let time = self.time;
        tokio::spawn(async move {
            let _ = timeout(time, gone).await;
            drop((permit, share));
        });
        Admitted { _done: done }
    }

    async fn share(&self, identity: Option<&SpiffeId>) -> Share {
        let identity = identity.cloned();
        let mut share = Share { identities: Arc::clone(&self.identities), identity: identity.clone(), permit: None };
        let places = {
            let entry = self.identities.entry(identity).or_insert_with(|| Arc::new(Semaphore::new(self.of_each)));
            Arc::clone(&entry)
        };
        // The semaphore is never closed.
        share.permit = places.acquire_owned().await.ok();
        share
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn id(name: &str) -> SpiffeId {
        format!("spiffe://td/ns/shop/sa/{name}").parse().unwrap()
    }

    #[tokio::test]
    async fn a_fleet_queues_and_everyone_gets_a_turn() {
        let admission = Admission::new(3, 3, Duration::from_secs(600));
        let most = Arc::new(Mutex::new((0_usize, 0_usize)));
        let fleet = (0..200).map(|number| {
            let (admission, most) = (admission.clone(), Arc::clone(&most));
            tokio::spawn(async move {
                let admitted = admission.enter(Some(&id(&format!("sa-{}", number % 7)))).await;
                {
                    let (now, peak) = &mut *most.lock().unwrap();
                    *now += 1;
                    *peak = (*peak).max(*now);
                }
                tokio::task::yield_now().await;
                most.lock().unwrap().0 -= 1;
                drop(admitted);
            })
        });
        for one in fleet.collect::<Vec<_>>() {
            one.await.unwrap();
        }
        let (now, peak) = *most.lock().unwrap();
        assert!(now == 0 && peak <= 3, "{peak}");
    }

    #[tokio::test]
    async fn who_never_acknowledges_gives_up_its_place() {
        let admission = Admission::new(1, 1, Duration::from_millis(20));
        let silent = admission.enter(Some(&id("a"))).await;
        let next = admission.enter(Some(&id("a"))).await;
        drop((silent, next));
    }

    /// It holds its share, has a thousand more in its queue, and another identity is let in at once.
    #[tokio::test]
    async fn an_identity_that_opens_streams_without_end_holds_up_itself() {
        let admission = Admission::new(4, 2, Duration::from_secs(600));
        let greedy = [admission.enter(Some(&id("greedy"))).await, admission.enter(Some(&id("greedy"))).await];
        let waiting: Vec<_> = (0..1000)
            .map(|_| {
                let admission = admission.clone();
                tokio::spawn(async move { admission.enter(Some(&id("greedy"))).await })
            })
            .collect();
        tokio::task::yield_now().await;
        for other in [None, Some(id("honest"))] {
            drop(timeout(Duration::from_secs(60), admission.enter(other.as_ref())).await.expect("it does not wait"));
        }
        assert!(waiting.iter().all(|task| !task.is_finished()));
        // Those who wait are let in when there is room, and who goes away while it waits leaves nothing behind.
        waiting.iter().skip(3).for_each(tokio::task::JoinHandle::abort);
        drop(greedy);
        for task in waiting {
            drop(task.await);
        }
        timeout(Duration::from_secs(60), async {
            while !admission.identities.is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("nothing is kept of identities that are gone");
    }
}
