//! Durations as Go writes them, which is how Kubernetes writes `metav1.Duration`: `24h`, `1h30m`, `2160h0m0s`, `1.5h`.

use std::time::Duration;

use super::Located;
use super::report::Report;

const UNITS: [(&str, f64); 8] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
/// Go counts nanoseconds in 63 bits: some 292 years.
const MAX_NANOSECONDS: f64 = i64::MAX as f64;

/// The duration that is written, or an error at its place. Negative ones are refused: no field that is read here has a use for them.
pub(super) fn check(written: &Located<String>, field: &str, report: &Report) -> Option<Duration> {
    let parsed = parse(&written.value);
    if parsed.is_none() {
        let help = "numbers with units, such as 24h, 1h30m or 45m; there is no unit for days: 90 days are 2160h";
        report.error_with_help(&written.at, field, "not a duration", help);
    }
    parsed
}

/// Go's `time.ParseDuration`, without a sign.
pub(super) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let (_, nanoseconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total += number.parse::<f64>().ok()? * nanoseconds;
        rest = after;
    }
    (!text.is_empty() && total < MAX_NANOSECONDS).then(|| Duration::from_nanos(total as u64))
}

/// As Go prints it: `24h0m0s`, `5m0s`, `1.5s`.
pub(crate) fn print(duration: Duration) -> String {
    let (whole, fraction) = (duration.as_secs(), duration.subsec_nanos());
    let seconds = match fraction {
        0 => (whole % 60).to_string(),
        _ => format!("{}.{fraction:09}", whole % 60).trim_end_matches('0').to_owned(),
    };
    match (whole / 3600, whole / 60 % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}
