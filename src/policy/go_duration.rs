//! Durations as Go writes them (`time.ParseDuration`): `168h`, `1h30m`, `1.5h`, `300ms`. There are no days in it.

use std::time::Duration;

use super::Located;
use super::report::Report;

/// A hundred years: what is longer is a mistake, and what is not can be added to any time that there is.
const LONGEST: f64 = 100.0 * 365.25 * 24.0 * 3600.0;

/// The duration that is written, or an error at its place. Negative ones are refused: no field that is read here has a use for them.
pub(super) fn check(written: &Located<String>, field: &str, report: &Report) -> Option<Duration> {
    let parsed = parse(&written.value);
    if parsed.is_none() {
        let help = "numbers with units, such as 24h, 1h30m or 45m; there is no unit for days: 90 days are 2160h";
        report.error_with_help(&written.at, field, "not a duration", help);
    }
    parsed
}

/// Reads one that is not negative. `None`: it is none, or longer than a hundred years.
pub(super) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut seconds) = (text.strip_prefix('+').unwrap_or(text), 0.0);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|sign: char| !sign.is_ascii_digit() && sign != '.').filter(|end| *end > 0)?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|sign: char| sign.is_ascii_digit() || sign == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number * unit;
        rest = &rest[end..];
    }
    (seconds <= LONGEST).then(|| Duration::from_nanos((seconds * 1e9).round() as u64))
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

/// The same without trailing parts that are zero, as SPIRE prints it: `168h`, `1h30m`, `1.5s`.
pub(super) fn show(duration: Duration) -> String {
    let whole = print(duration);
    let minutes = whole.strip_suffix("m0s").map_or(whole.clone(), |minutes| format!("{minutes}m"));
    minutes.strip_suffix("h0m").map_or(minutes.clone(), |hours| format!("{hours}h"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let seconds = |text| parse(text).map(|it| it.as_secs_f64());
        assert_eq!(seconds("168h"), Some(604_800.0));
        assert_eq!(seconds("1h30m"), Some(5400.0));
        assert_eq!(seconds("1.5h"), Some(5400.0));
        assert_eq!(seconds("300ms"), Some(0.3));
        assert_eq!(seconds("0"), Some(0.0));
        for bad in ["", "1", "1d", "h", "-1h", "1h ", "1 h", "1hh", "..h", "1e9h", "9999999999h", "+"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn they_are_shown_as_they_are_written() {
        for text in ["168h", "1h30m", "45s", "1.5s", "2m5s", "0s"] {
            assert_eq!(show(parse(text).unwrap()), text);
        }
    }
}
