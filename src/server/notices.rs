//! Lines about what known clients do. Each client can cause as many as it likes, so each kind has so many at once, and then so many a
//! second: enough for a fleet of which every proxy has something to say, and no way to fill a disk. What is held back is counted by the
//! metrics all the same.

use std::time::{Duration, Instant};

use crate::telemetry::Throttle;

/// At once, of a kind.
const BURST: u32 = 1000;
/// The time for one more.
const EVERY: Duration = Duration::from_millis(100);

/// The kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// A proxy has come.
    Here,
    /// A node that this identity may not speak for.
    Node,
    /// A secret that this identity may not have.
    Secret,
    /// A response that a client has refused.
    Response,
    /// A stream that broke a rule or a limit.
    Stream,
    /// A certificate that is asked for and not given.
    Certificate,
}

const KINDS: usize = 6;

/// The lines of every kind.
#[derive(Debug)]
pub(super) struct Notices([Throttle; KINDS]);

impl Default for Notices {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Throttle::with_burst(EVERY, BURST)))
    }
}

impl Notices {
    /// Whether a line of this kind may be written now: then, how many were held back since the last.
    pub(super) fn pass(&self, notice: Notice) -> Option<u64> {
        self.0[notice as usize].pass(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_kind_does_not_use_up_the_lines_of_another() {
        let notices = Notices::default();
        assert_eq!((0..BURST).filter(|_| notices.pass(Notice::Node).is_some()).count(), BURST as usize);
        // It may take longer than the time for one more to write so many.
        let more = (0..100_000).filter(|_| notices.pass(Notice::Node).is_some()).count();
        assert!(more < 1000, "{more}");
        assert_eq!(notices.pass(Notice::Secret), Some(0));
    }
}
