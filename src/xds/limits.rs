//! What one stream may take.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Status;

/// What one stream may ask of the server. A stream beyond a rate waits, and one beyond a size ends with
/// `RESOURCE_EXHAUSTED`; either way the others do not notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest request message, in bytes. A real one is 61 KB.
    pub request_bytes: usize,
    /// Names that a stream may be subscribed to in one type, and that one request may hold.
    pub names: usize,
    /// Requests a second that are read from a stream in the long run; the rest waits in the client's flow-control window.
    pub requests_per_second: u32,
    /// Requests that are read at once from a stream that was quiet.
    pub request_burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { request_bytes: 4 * 1024 * 1024, names: 20_000, requests_per_second: 500, request_burst: 1000 }
    }
}

/// The longest name, in bytes. Names here are those of hosts and ports, SPIFFE IDs (2,048 at most) and pairs of file paths.
const NAME_BYTES: usize = 4096;
/// What all names of a subscription may take, in bytes for each name that it may have: a real one has some 60.
const NAME_BYTES_ON_AVERAGE: usize = 256;
/// What is kept of a text that a client sends for people to read, in bytes.
pub(super) const TEXT_BYTES: usize = 2048;

/// The beginning of a client's text.
pub(super) fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES {
        let end = (0..=TEXT_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.shrink_to_fit();
    }
    text
}

impl Limits {
    /// # Errors
    /// `RESOURCE_EXHAUSTED` for a name that is longer than any real one.
    pub(super) fn check_length(names: &[String]) -> Result<(), Status> {
        match names.iter().map(String::len).max() {
            Some(longest) if longest > NAME_BYTES => {
                Err(Status::resource_exhausted(format!("a name of {longest} bytes, and the limit is {NAME_BYTES}")))
            }
            _ => Ok(()),
        }
    }

    /// # Errors
    /// `RESOURCE_EXHAUSTED` for names that take more than those that a stream may have.
    pub(super) fn check_bytes(&self, bytes: usize) -> Result<(), Status> {
        let limit = self.names.saturating_mul(NAME_BYTES_ON_AVERAGE);
        match bytes > limit {
            true => Err(Status::resource_exhausted(format!(
                "the names of one subscription take {bytes} bytes, and the limit is {limit}"
            ))),
            false => Ok(()),
        }
    }

    /// # Errors
    /// `RESOURCE_EXHAUSTED` for more names than a stream may have.
    pub(super) fn check_names(&self, names: usize) -> Result<(), Status> {
        match names > self.names {
            true => Err(Status::resource_exhausted(format!(
                "{names} names in one subscription, and the server's limit is {}: see xds.limits.names",
                self.names
            ))),
            false => Ok(()),
        }
    }
}

/// Names that cost as much as one request: a request is weighed by what it takes to look at it.
const NAMES_A_REQUEST: usize = 64;

/// The rate at which one stream's requests are read: the generic cell rate algorithm (ITU-T I.371), which needs one point
/// in time for its state.
#[derive(Debug)]
pub(super) struct Pace {
    each: Duration,
    tolerance: Duration,
    /// When the requests read so far would have come, had they come at the rate.
    due: Instant,
}

impl Pace {
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        let each = Duration::from_secs(1) / limits.requests_per_second.max(1);
        Self { each, tolerance: each * limits.request_burst.max(1), due: now }
    }

    /// When the next request may be read.
    pub(super) fn next(&self) -> Instant {
        self.due.checked_sub(self.tolerance).unwrap_or(self.due)
    }

    /// Counts a request with this many names.
    pub(super) fn spend(&mut self, names: usize, now: Instant) {
        let cost = u32::try_from(1 + names / NAMES_A_REQUEST).unwrap_or(u32::MAX);
        self.due = self.due.max(now) + self.each.saturating_mul(cost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(now: Instant) -> Pace {
        Pace::new(&Limits { requests_per_second: 10, request_burst: 5, ..Limits::default() }, now)
    }

    #[test]
    fn a_burst_is_free_and_what_follows_has_the_rate() {
        let start = Instant::now() + Duration::from_secs(100);
        let mut pace = pace(start);
        let (mut now, mut read) = (start, 0);
        while now < start + Duration::from_secs(10) {
            pace.spend(0, now);
            read += 1;
            now = now.max(pace.next());
        }
        // The burst, and then ten a second.
        assert_eq!(read, 105);
        // A stream that was quiet has its burst again, and no more than that.
        now += Duration::from_secs(1000);
        let burst = (0..100).take_while(|_| {
            pace.spend(0, now);
            pace.next() <= now
        });
        assert_eq!(burst.count(), 5);
    }

    #[test]
    fn many_names_weigh_as_many_requests() {
        let start = Instant::now() + Duration::from_secs(100);
        let mut pace = pace(start);
        pace.spend(64 * 100, start);
        assert_eq!(pace.next(), start + Duration::from_millis(100 * 101 - 500));
    }
}
