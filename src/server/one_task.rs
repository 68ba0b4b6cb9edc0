//! A connection and its streams in one task.
//!
//! hyper gives each stream's answer to an executor, and an executor that makes a task of it pays for each response and each
//! acknowledgement with two turns of the scheduler more, and with the task's own memory. Here the connection polls its streams itself.
//! What wakes it says which half has something to do, so that the other one is left alone.

use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::stream::{FuturesUnordered, Stream};
use futures_util::task::AtomicWaker;

#[cfg(test)]
mod tests;

type Answer = Pin<Box<dyn Future<Output = ()> + Send>>;

const CONNECTION: u8 = 1;
const STREAMS: u8 = 2;
/// Both are being polled: whoever wakes one of them need not wake the task.
const POLLED: u8 = 4;

/// How often both take turns before other tasks have theirs.
const TURNS: usize = 8;

/// Takes the streams' futures from the connection.
#[derive(Clone, Default)]
pub(super) struct Nursery(Arc<Mutex<Vec<Answer>>>);

impl Nursery {
    fn take(&self) -> Vec<Answer> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<F> hyper::rt::Executor<F> for Nursery
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, answer: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::pin(answer));
    }
}

/// Which half is to be polled, and whom to wake for it.
#[derive(Default)]
struct Signal {
    due: AtomicU8,
    task: AtomicWaker,
}

struct Half {
    signal: Arc<Signal>,
    bit: u8,
}

impl Wake for Half {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.signal.due.fetch_or(self.bit, Ordering::AcqRel) == 0 {
            self.signal.task.wake();
        }
    }
}

/// A connection that was given the nursery as its executor. It ends when the connection does, and its streams with it.
pub(super) struct OneTask<C> {
    connection: Pin<Box<C>>,
    streams: FuturesUnordered<Answer>,
    nursery: Nursery,
    signal: Arc<Signal>,
    wakers: [Waker; 2],
}

impl<C: Future> OneTask<C> {
    pub(super) fn new(connection: C, nursery: Nursery) -> Self {
        let signal = Arc::new(Signal { due: AtomicU8::new(CONNECTION), task: AtomicWaker::new() });
        let wakers = [CONNECTION, STREAMS].map(|bit| Waker::from(Arc::new(Half { signal: Arc::clone(&signal), bit })));
        Self { connection: Box::pin(connection), streams: FuturesUnordered::new(), nursery, signal, wakers }
    }

    /// The connection itself.
    pub(super) fn connection(&mut self) -> Pin<&mut C> {
        // It may have something to do after what is done to it.
        self.wakers[0].wake_by_ref();
        self.connection.as_mut()
    }
}

impl<C: Future> Future for OneTask<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<C::Output> {
        let this = &mut *self;
        this.signal.task.register(context.waker());
        for _ in 0..TURNS {
            let due = this.signal.due.swap(POLLED, Ordering::AcqRel);
            // The streams first: what they have to say goes out with what the connection writes.
            if due & STREAMS != 0 {
                let mut streams = Context::from_waker(&this.wakers[1]);
                while let Poll::Ready(Some(())) = Pin::new(&mut this.streams).poll_next(&mut streams) {}
            }
            if due & CONNECTION != 0 {
                let mut connection = Context::from_waker(&this.wakers[0]);
                if let Poll::Ready(end) = this.connection.as_mut().poll(&mut connection) {
                    return Poll::Ready(end);
                }
                let new = this.nursery.take();
                if !new.is_empty() {
                    this.streams.extend(new);
                    this.signal.due.fetch_or(STREAMS, Ordering::AcqRel);
                }
            }
            if this.signal.due.compare_exchange(POLLED, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Poll::Pending;
            }
        }
        // What is due stays so, without the mark that it is being polled.
        this.signal.due.fetch_and(!POLLED, Ordering::AcqRel);
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
