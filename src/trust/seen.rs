//! Which workloads' proxies were connected, and when last.

use std::collections::HashMap;
use std::sync::PoisonError;

use time::OffsetDateTime;

use super::{Trust, TrustError};

/// When a proxy was last there is known to within this: nothing is written for a proxy that was seen as lately.
const SEEN_WITHIN: time::Duration = time::Duration::minutes(10);

impl Trust {
    /// Remembers that these workloads' proxies are connected at `now`.
    pub fn saw(&self, workloads: &[String], now: OffsetDateTime) -> Result<(), TrustError> {
        let mut books = self.books();
        let is_fresh = |at: &OffsetDateTime| (time::Duration::ZERO..SEEN_WITHIN).contains(&(now - *at));
        let stale: Vec<_> =
            workloads.iter().filter(|name| !books.seen.get(*name).is_some_and(is_fresh)).cloned().collect();
        if !stale.is_empty() {
            self.store.save_seen(&stale, now)?;
            books.seen.extend(stale.into_iter().map(|name| (name, now)));
        }
        Ok(())
    }

    /// Forgets workloads whose proxy was last connected at `before` or earlier, and some minutes later those of whom that is not known
    /// so exactly.
    pub fn forget_seen(&self, before: OffsetDateTime) -> Result<(), TrustError> {
        let before = before - SEEN_WITHIN;
        let mut books = self.books();
        if self.store.forget_seen(before)? > 0 {
            books.seen.retain(|_, at| *at > before);
        }
        Ok(())
    }

    /// Workloads whose proxy was last connected, or given a certificate, at `since` or later, with that time. Some that left up to ten
    /// minutes before `since` are among them.
    pub fn seen_since(&self, since: OffsetDateTime) -> HashMap<String, OffsetDateTime> {
        let mut seen = self.books().seen.clone();
        for (workload, certificate) in self.issued.read().unwrap_or_else(PoisonError::into_inner).iter() {
            let at = seen.entry(workload.clone()).or_insert(certificate.issued_at);
            *at = (*at).max(certificate.issued_at);
        }
        seen.retain(|_, at| *at >= since - SEEN_WITHIN);
        seen
    }
}
