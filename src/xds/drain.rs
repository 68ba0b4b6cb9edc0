//! Ending streams without sending a whole fleet away in the same instant.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Held by whoever may end streams: all of the server, or those of one connection.
#[derive(Debug)]
pub struct Drain {
    over: Duration,
    reason: &'static str,
    sender: watch::Sender<Option<Instant>>,
}

/// Held by each stream.
#[derive(Clone, Debug)]
pub struct DrainSignal {
    server: Part,
    connection: Option<Part>,
}

#[derive(Clone, Debug)]
struct Part {
    over: Duration,
    reason: &'static str,
    receiver: watch::Receiver<Option<Instant>>,
}

impl Drain {
    /// A drain that, once begun, ends streams spread evenly over this time, and tells them why.
    pub fn new(over: Duration, reason: &'static str) -> Self {
        Self { over, reason, sender: watch::Sender::new(None) }
    }

    /// What a stream waits on.
    pub fn signal(&self) -> DrainSignal {
        let server = Part { over: self.over, reason: self.reason, receiver: self.sender.subscribe() };
        DrainSignal { server, connection: None }
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
    /// The same signal, which a drain of the stream's connection may be ahead of.
    #[must_use]
    pub fn or(self, connection: Option<DrainSignal>) -> Self {
        Self { connection: connection.map(|signal| signal.server), ..self }
    }

    /// Resolves to the reason when this stream's turn to end has come: at a random moment of the drain. Never resolves while
    /// no drain begins.
    pub async fn turn(&mut self) -> &'static str {
        match &mut self.connection {
            None => self.server.turn().await,
            Some(connection) => tokio::select! {
                reason = self.server.turn() => reason,
                reason = connection.turn() => reason,
            },
        }
    }
}

impl Part {
    async fn turn(&mut self) -> &'static str {
        let begun = match self.receiver.wait_for(Option::is_some).await {
            Ok(begun) => *begun,
            // Whoever could begin one is gone, and so is what it would end.
            Err(_) => None,
        };
        match begun {
            Some(begun) => sleep_until(self.moment(begun)).await,
            None => std::future::pending().await,
        }
        self.reason
    }

    /// A random moment of the drain that began then.
    fn moment(&self, begun: Instant) -> Instant {
        begun + self.over.mul_f64(rand::random::<f64>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_streams_end_spread_over_the_drain() {
        let signal = Drain::new(Duration::from_secs(10), "over").signal();
        let begun = Instant::now();
        let mut ended = [0; 10];
        for _ in 0..10_000 {
            ended[signal.server.moment(begun).duration_since(begun).as_secs() as usize] += 1;
        }
        // Each second has its thousand, give or take: ten standard deviations are 300.
        assert!(ended.iter().all(|count| (700..=1300).contains(count)), "{ended:?}");
    }

    #[tokio::test]
    async fn a_connection_ends_its_own_streams_only() {
        let (server, connection) = (Drain::new(Duration::ZERO, "server"), Drain::new(Duration::ZERO, "connection"));
        let mut own = server.signal().or(Some(connection.signal()));
        let mut other = server.signal();
        connection.begin();
        assert_eq!(own.turn().await, "connection");
        assert!(tokio::time::timeout(Duration::from_millis(50), other.turn()).await.is_err());
        server.begin();
        assert_eq!(other.turn().await, "server");
    }
}
