//! Lines that strangers can cause are written at most so often.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets one line through in each interval, after a quiet time some more at once, and counts the others.
#[derive(Debug)]
pub struct Throttle {
    every: Duration,
    burst: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the lines so far would have come, had each had its interval.
    due: Option<Instant>,
    held_back: u64,
}

impl Throttle {
    /// One line in this time.
    pub const fn new(every: Duration) -> Self {
        Self::with_burst(every, 1)
    }

    /// One line in this time in the long run, and up to `burst` at once; at least 1.
    pub const fn with_burst(every: Duration, burst: u32) -> Self {
        Self { every, burst, state: Mutex::new(State { due: None, held_back: 0 }) }
    }

    /// Whether a line may be written now: then, how many were held back since the last.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let due = state.due.map_or(now, |due| due.max(now));
        if due.saturating_duration_since(now) > self.every * self.burst.saturating_sub(1) {
            state.held_back += 1;
            return None;
        }
        state.due = Some(due + self.every);
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_and_a_count_of_the_rest() {
        let throttle = Throttle::new(Duration::from_secs(1));
        let start = Instant::now();
        assert_eq!(throttle.pass(start), Some(0));
        for ms in 0..999 {
            assert_eq!(throttle.pass(start + Duration::from_millis(ms)), None);
        }
        assert_eq!(throttle.pass(start + Duration::from_secs(1)), Some(999));
        assert_eq!(throttle.pass(start + Duration::from_secs(2)), Some(0));
    }

    #[test]
    fn a_burst_after_a_quiet_time_and_then_the_rate() {
        let throttle = Throttle::with_burst(Duration::from_secs(1), 5);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let passed = |from: u64, to: u64| (from..to).filter(|ms| throttle.pass(at(*ms)).is_some()).count();
        assert_eq!(passed(0, 999), 5);
        assert_eq!(throttle.pass(at(1_000)), Some(994));
        assert_eq!(passed(1_001, 11_001), 10);
        assert_eq!(passed(1_000_000, 1_000_999), 5, "the burst is there again, and no more than that");
    }
}
