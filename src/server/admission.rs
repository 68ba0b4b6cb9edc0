//! First pushes: the streams between their first request and their first acknowledgement, of which a fleet that comes back would
//! make as many as it has proxies. They queue, so that memory and CPU go to those who are being answered.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

/// The places among the first pushes.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    places: Arc<Semaphore>,
    time: Duration,
}

/// A place; it is given up when this is dropped, or after the admission's time: a client that does not read keeps nobody out.
#[derive(Debug)]
pub(super) struct Admitted {
    _done: oneshot::Sender<()>,
}

impl Admission {
    /// So many places, each for at most this time.
    pub(super) fn new(places: usize, time: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))), time }
    }

    /// A place, in the order of asking.
    pub(super) async fn enter(&self) -> Admitted {
        let permit = Arc::clone(&self.places).acquire_owned().await;
        let (done, gone) = oneshot::channel();
        let time = self.time;
        tokio::spawn(async move {
            let _ = timeout(time, gone).await;
            drop(permit);
        });
        Admitted { _done: done }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fleet_queues_and_everyone_gets_a_turn() {
        let admission = Admission::new(3, Duration::from_secs(600));
        let most = Arc::new(std::sync::Mutex::new((0_usize, 0_usize)));
        let fleet = (0..200).map(|_| {
            let (admission, most) = (admission.clone(), Arc::clone(&most));
            tokio::spawn(async move {
                let admitted = admission.enter().await;
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
        let admission = Admission::new(1, Duration::from_millis(20));
        let silent = admission.enter().await;
        let next = admission.enter().await;
        drop((silent, next));
    }
}
