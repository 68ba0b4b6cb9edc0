//! When: renewals, and new trials after failures.

use std::time::Duration;

use time::OffsetDateTime;

use crate::policy::Certificate;

/// After the first failure it waits an hour, then twice as long each time, up to 32 hours: cert-manager's times.
const FIRST_WAIT: time::Duration = time::Duration::HOUR;
const MOST_DOUBLINGS: u32 = 5;

/// When a certificate of this life is renewed.
pub(super) fn renewal(spec: &Certificate, not_before: OffsetDateTime, not_after: OffsetDateTime) -> OffsetDateTime {
    let life = Duration::try_from(not_after - not_before).unwrap_or_default();
    not_after - spec.renew_before(life)
}

/// When it is tried again after so many failures.
pub(super) fn retry(failed_at: OffsetDateTime, failures: u32) -> OffsetDateTime {
    failed_at.saturating_add(FIRST_WAIT * 2_i32.pow(failures.saturating_sub(1).min(MOST_DOUBLINGS)))
}
