//! Ending streams without sending a whole fleet away in the same instant.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Held by whoever may end every stream.
#[derive(Debug)]
pub struct Drain {
    over: Duration,
    sender: watch::Sender<Option<Instant>>,
}

/// Held by each stream.
#[derive(Clone, Debug)]
pub struct DrainSignal {
    over: Duration,
    receiver: watch::Receiver<Option<Instant>>,
}

impl Drain {
    /// A drain that, once begun, ends streams spread evenly over this time.
    pub fn over(over: Duration) -> Self {
        Self { over, sender: watch::Sender::new(None) }
    }

    /// What a stream waits on.
    pub fn signal(&self) -> DrainSignal {
        DrainSignal { over: self.over, receiver: self.sender.subscribe() }
    }

    /// Begins to end streams. Later calls change nothing.
    pub fn begin(&self) {
        self.sender.send_if_modified(|begun| {
            let first = begun.is_none();
            begun.get_or_insert_with(Instant::now);
            first
        });
    }
}

impl DrainSignal {
    /// Resolves when this stream's turn to end has come: at a random moment of the drain. Never resolves while no drain
    /// begins.
    pub async fn turn(&mut self) {
        let begun = match self.receiver.wait_for(Option::is_some).await {
            Ok(begun) => *begun,
            // Whoever could begin one is gone, and so is the server.
            Err(_) => None,
        };
        if let Some(begun) = begun {
            sleep_until(begun + self.over.mul_f64(rand::random::<f64>())).await;
        }
    }
}
